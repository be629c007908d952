"""Checkpoints inside a training run: written whole or not at all, and taken up again only when proven.

The Trainer writes its checkpoints in place and takes the one of the highest number unchecked; without an
optimizer, scheduler or RNG file it goes on silently with other weights. So a record with the SHA-256 of every
file is written last, and a checkpoint without a sound record, or with a file missing, is passed over.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from pipeline.errors import ArtifactCorrupt, CannotWrite, NoInput
from pipeline.store import atomic, reading
from pipeline.store.hashing import sha256_file
from pipeline.store.records import Record, RelativePath, Sha256, read_record, write_record

RECORD_FILE = "complete.json"
REQUIRED = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
KEPT = 2
"""Complete checkpoints that are kept: should the newest be damaged, the one before it serves."""

MetricRow = dict[str, int | float]
_NAME = re.compile(r"\Acheckpoint-([0-9]{1,12})\Z")


@dataclass(frozen=True)
class LossesSoFar:
    """The task losses that a Trainer has summed.

    Attributes:
        since_log: of the steps after `last_logged`.
        before: of the steps up to it.
        last_logged: the step of the last row of metrics.
    """

    since_log: float
    before: float
    last_logged: int


class ResumeRecord(Record):
    """What a checkpoint of a running training holds beside the Trainer's files."""

    step: int
    accumulation: int
    """Micro-batches per optimizer step: more than configured once memory had run out."""
    fingerprint: str
    """Of machine, versions, starting weights and penalty; with another one the bits would differ."""
    loss_since_log: float
    """Sum of the task losses of the steps after `last_logged`."""
    loss_before: float
    """Sum of the task losses of the steps up to `last_logged`."""
    last_logged: int
    metrics: tuple[MetricRow, ...]
    files: dict[RelativePath, Sha256]

    @property
    def losses(self) -> LossesSoFar:
        """What the Trainer has to be given back."""
        return LossesSoFar(self.loss_since_log, self.loss_before, self.last_logged)


@dataclass(frozen=True)
class Resumption:
    """Where a training run saves its state, and what it may go on from.

    Attributes:
        folder: an existing folder of this run alone.
        fingerprint: of all that the bits depend on beside what identifies the run's stage.
        tell: says what happens, in a sentence.
    """

    folder: Path
    fingerprint: str
    tell: Callable[[str], None]

    def newest(self) -> tuple[Path, ResumeRecord] | None:
        """The newest checkpoint that is proven to be what was written; all that are not are removed."""
        found: tuple[Path, ResumeRecord] | None = None
        for path in self._checkpoints():
            try:
                record = _verified(path)
            except (ArtifactCorrupt, NoInput) as error:
                self.tell(f"passed over a checkpoint of the interrupted training: {error}")
                atomic.remove_tree(path)
                continue
            if record.fingerprint != self.fingerprint:
                self.tell(
                    f"{path.name}: made on another machine or with other versions; training does not resume from it"
                )
                atomic.remove_tree(path)
            elif found is None:
                found = path, record
        return found

    def complete(self, path: Path, record: ResumeRecord) -> None:
        """Make a checkpoint durable, write its record, and remove those that are no longer kept.

        Args:
            path: the checkpoint's folder with the Trainer's files in it.
            record: all but the files.

        Raises:
            AccessDenied, CannotWrite: as `atomic.write_file`.
        """
        atomic.sync_tree(path)
        files = {file.name: sha256_file(file) for file in sorted(path.iterdir())}
        write_record(path / RECORD_FILE, record.model_copy(update={"files": files}), read_only=True)
        for old in self._checkpoints()[KEPT:]:
            atomic.remove_tree(old)

    def clear(self) -> None:
        """Remove every checkpoint."""
        for path in self._checkpoints():
            atomic.remove_tree(path)

    def _checkpoints(self) -> list[Path]:
        """The folders of all checkpoints, complete or not, newest first."""
        numbered = [
            (int(match[1]), path) for path in self.folder.iterdir() if (match := _NAME.match(path.name))
        ]
        return [path for _, path in sorted(numbered, reverse=True)]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell of failures of libraries that write below `path` as a write that the disk refused.

    Raises:
        CannotWrite: torch reports a full disk as a RuntimeError, safetensors as an error of its own.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CannotWrite(
            f"{path}: cannot write it: {str(error)[:300]}. Free some space, then run the same command again"
        ) from error


def _verified(path: Path) -> ResumeRecord:
    record = read_record(path / RECORD_FILE, ResumeRecord, mend="It is passed over")
    missing = [name for name in REQUIRED if name not in record.files]
    if missing:
        raise ArtifactCorrupt(f"{path}: holds no {', '.join(missing)}")
    for name, recorded in record.files.items():
        if reading.kind_of(path / name) != "file":
            raise ArtifactCorrupt(f"{path / name}: is missing; recorded with the hash {recorded}")
        found = sha256_file(path / name)
        if found != recorded:
            raise ArtifactCorrupt(f"{path / name}: damaged: recorded with the hash {recorded}, has {found}")
    if path.name != f"checkpoint-{record.step}":
        raise ArtifactCorrupt(f"{path}: its record is of step {record.step}")
    return record
