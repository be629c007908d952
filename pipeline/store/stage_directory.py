"""A stage's folder: written beside its place, hashed, recorded, renamed; and verified when read.

While a stage works, `.NAME.partial` holds `identity.json` (what the work is for), the outputs so far, and
`resume/` (what the work can go on from). The finished folder holds the outputs and `record.json`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.errors import ArtifactCorrupt, NoInput, UsageError
from pipeline.store import atomic, reading
from pipeline.store.hashing import FISHER_FILE, sha256_file, sha256_json
from pipeline.store.records import StageRecord, read_record, write_record
from pipeline.store.refusals import explained
from pipeline.store.remaking import remaking
from pipeline.store.removed_weights import removed_weights

RECORD_FILE = "record.json"
IDENTITY_FILE = "identity.json"
RESUME_FOLDER = "resume"


def partial_folder(target: Path) -> Path:
    """Where a stage works until it is finished: a sibling of its place."""
    return target.with_name(f".{target.name}.partial")


def open_stage(target: Path, identity: Mapping[str, object], *, resumable: bool = False) -> Path:
    """Make the folder in which a stage works.

    Args:
        target: the stage's finished place, which must not exist.
        identity: `StageRecord.identity()` of the work that begins.
        resumable: make a `resume/` folder in it, and keep what an interrupted stage left there when its
            identity was the same; everything else that it left is removed.

    Returns:
        The folder to write into; `commit_stage` finishes it.

    Raises:
        UsageError: the stage is finished already; finished folders are never written again.
        AccessDenied, CannotWrite: as `atomic.write_file`.
    """
    if reading.kind_of(target) != "nothing":
        raise UsageError(
            f"{target}: is finished, and finished stages are not written again. {_again(target)}"
        )
    partial = partial_folder(target)
    if resumable and _is_same_work(partial, identity):
        for left_over in sorted(partial.iterdir()):
            if left_over.name not in (IDENTITY_FILE, RESUME_FOLDER):
                atomic.remove_tree(left_over)
    else:
        # the identity goes first: a removal that is cut short must not leave half of resume/ under its name
        if reading.kind_of(partial) == "folder":
            atomic.remove_tree(partial / IDENTITY_FILE)
        atomic.remove_tree(partial)
        atomic.make_folder(partial)
        atomic.write_json(partial / IDENTITY_FILE, dict(identity))
    if resumable:
        atomic.make_folder(partial / RESUME_FOLDER)
    return partial


def commit_stage(partial: Path, target: Path, planned: StageRecord) -> StageRecord:
    """Finish a stage: hash its outputs, make all durable, write the record last, rename into place.

    Args:
        partial: the folder from `open_stage`, with every output in it.
        target: the stage's finished place.
        planned: the record without outputs.

    Returns:
        The record with the SHA-256 of every output.

    Raises:
        ArtifactCorrupt: a symbolic link or a device is among the outputs.
        UsageError: the target exists.
        AccessDenied, CannotWrite: as `atomic.write_file`.
    """
    if reading.kind_of(target) != "nothing":
        raise UsageError(
            f"{target}: is finished, and finished stages are not written again. {_again(target)}"
        )
    atomic.sweep(partial)
    outputs = {
        name: sha256_file(partial / name)
        for name in _files(partial, target)
        if name not in (IDENTITY_FILE, RECORD_FILE) and not name.startswith(f"{RESUME_FOLDER}/")
    }
    record = planned.model_copy(update={"outputs": outputs})
    atomic.remove_tree(partial / IDENTITY_FILE)
    atomic.remove_tree(partial / RESUME_FOLDER)
    atomic.sync_tree(partial)
    write_record(partial / RECORD_FILE, record, read_only=True)
    atomic.rename_folder(partial, target)
    return record


def read_stage(target: Path) -> StageRecord | None:
    """The record of a finished stage, None where the stage is not finished; outputs are not looked at.

    Raises:
        ArtifactCorrupt: the folder is there without a sound record.
    """
    kind = reading.kind_of(target)
    if kind == "nothing":
        return None
    if kind != "folder":
        raise ArtifactCorrupt(f"{target}: expected a folder, found a {kind}. Remove it and run again")
    try:
        return read_record(target / RECORD_FILE, StageRecord, mend=_again(target))
    except NoInput:
        raise ArtifactCorrupt(
            f"{target / RECORD_FILE}: is missing from a finished stage. {_again(target)}"
        ) from None


def require_stage(target: Path) -> StageRecord:
    """The record of a stage that must be finished.

    Raises:
        NoInput: it is not finished. ArtifactCorrupt: as `read_stage`.
    """
    record = read_stage(target)
    if record is None:
        raise NoInput(
            f"{target}: there is no finished stage. Run: {remaking(target.parent.parent, force=False)}"
        )
    return record


def require_output(target: Path, name: str) -> Path:
    """A file of a finished stage, after proving that it is what the stage recorded: what is read is what was made.

    Args:
        target: the stage's folder.
        name: the file in it, with / between folders.

    Raises:
        NoInput: the stage is not finished.
        ArtifactCorrupt: the file is changed, missing or was never recorded; names the file and both hashes.
    """
    recorded = require_stage(target).outputs.get(name)
    path = target / name
    if recorded is None:
        raise ArtifactCorrupt(f"{path}: is not among the recorded outputs. {_again(target)}")
    _require_hash(path, recorded, target)
    return path


def find_output(target: Path, name: str) -> Path | None:
    """`require_output`, or None where the stage is not finished or recorded no such file."""
    record = read_stage(target)
    return require_output(target, name) if record is not None and name in record.outputs else None


def verify_stage(target: Path) -> StageRecord:
    """Prove that a finished stage holds exactly what it recorded.

    A `fisher.safetensors` beside a recorded checkpoint is permitted; it is bound by its own metadata. Weights that were
    removed on purpose are not missed.

    Raises:
        NoInput: the stage is not finished.
        ArtifactCorrupt: a file is changed, missing, or should not be there; names the file and both hashes.
    """
    record = require_stage(target)
    found = [
        name for name in _files(target, target) if name != RECORD_FILE and not _is_permitted(name, record)
    ]
    for name in found:
        if name not in record.outputs:
            raise ArtifactCorrupt(
                f"{target / name}: is not among the recorded outputs. Remove it, or: {_again(target)}"
            )
    removed = removed_weights(target.parent)
    for name, recorded in sorted(record.outputs.items()):
        if f"{target.name}/{name}" not in removed:
            _require_hash(target / name, recorded, target)
    return record


def _require_hash(path: Path, recorded: str, target: Path) -> None:
    mend = f"Restore it from a backup, or: {_again(target)}"
    if reading.kind_of(path) != "file":
        raise ArtifactCorrupt(f"{path}: is missing; recorded with the hash {recorded}. {mend}")
    actual = sha256_file(path)
    if actual != recorded:
        raise ArtifactCorrupt(f"{path}: damaged: recorded with the hash {recorded}, has {actual}. {mend}")


def _is_same_work(partial: Path, identity: Mapping[str, object]) -> bool:
    if reading.kind_of(partial) != "folder" or reading.kind_of(partial / RESUME_FOLDER) == "symbolic link":
        return False
    try:
        return sha256_json(reading.read_json(partial / IDENTITY_FILE)) == sha256_json(dict(identity))
    except (NoInput, ArtifactCorrupt):
        return False


def _is_permitted(name: str, record: StageRecord) -> bool:
    folder, _, file = name.rpartition("/")
    if atomic.is_temporary(file):
        # left by a process that was killed while it put a Fisher there; the next run sweeps it away
        return True
    return file == FISHER_FILE and name not in record.outputs and f"{folder}/config.json" in record.outputs


def _files(folder: Path, target: Path, prefix: str = "") -> Iterator[str]:
    """The names of all files below a folder, relative, in sorted order."""
    with explained("read it", folder):
        paths = sorted(folder.iterdir())
    for path in paths:
        kind = reading.kind_of(path)
        if kind not in ("file", "folder"):
            raise ArtifactCorrupt(f"{path}: expected a file or folder, found a {kind}. {_again(target)}")
        if kind == "folder":
            yield from _files(path, target, f"{prefix}{path.name}/")
        else:
            yield prefix + path.name


def _again(target: Path) -> str:
    return f"Run the month again in a new attempt: {remaking(target.parent.parent)}"
