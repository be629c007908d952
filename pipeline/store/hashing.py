"""SHA-256 of files, of JSON values, and of checkpoints: what the store takes for identity."""

import hashlib
import json
import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline.errors import ArtifactCorrupt, NoInput
from pipeline.store import reading
from pipeline.store.refusals import explained

MOST_FOLDERS = 8
"""How deep folders may be nested in a checkpoint."""
FISHER_FILE = "fisher.safetensors"
"""The sidecar that may be put beside a finished checkpoint; it is no part of the checkpoint."""
_NO_PART = (
    *("checkpoint-*", "runs", "global_step*", "onnx", "openvino"),
    *(
        "optimizer.pt",
        "scheduler.pt",
        "scaler.pt",
        "rng_state*.pth",
        "trainer_state.json",
        "training_args.bin",
    ),
    *("events.out.tfevents.*", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.onnx", "*.gguf"),
)
"""What lies beside a model in a trainer's output folder or on the Hub: a training's state, and weights in other forms."""


def sha256_bytes(data: bytes) -> str:
    """The SHA-256 of some bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's content, 64 hexadecimal digits.

    Raises:
        NoInput: there is no such file.
        AccessDenied, CannotWrite: the operating system refuses, or the disk fails.
    """
    with explained("read it", path):
        try:
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            raise NoInput(f"{path}: there is no such file") from None


def sha256_json(value: object) -> str:
    """The SHA-256 of a JSON value in canonical form: sorted keys, no spaces, ASCII.

    Raises:
        ValueError: for NaN and infinite numbers.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return sha256_bytes(text.encode("ascii"))


def checkpoint_files(folder: Path, *, follow_links: bool = False, model_alone: bool = False) -> list[str]:
    """The names of a checkpoint's files, relative and sorted, without sidecars and hidden or unfinished files.

    Args:
        folder: the checkpoint's.
        follow_links: take a link inside for what it leads to. A Hub cache keeps its files as links; a checkpoint of the
            runs never does.
        model_alone: leave out what `left_behind` names.

    Raises:
        NoInput: there is no such folder, or nothing in it, or a link leads nowhere.
        ArtifactCorrupt: a symbolic link or device is inside.
        AccessDenied, CannotWrite: the operating system refuses, or the disk fails.
    """
    names: list[str] = []
    _collect(folder, "", names, follow_links)
    if model_alone:
        names = [name for name in names if not _is_no_part(name.split("/")[0])]
    if not names:
        raise NoInput(
            f"{folder}: an empty folder, expected a checkpoint with config.json and model.safetensors"
        )
    return sorted(names)


def left_behind(folder: Path) -> list[str]:
    """The names in a checkpoint that was made elsewhere which are no part of the model, sorted."""
    with explained("read it", folder):
        return sorted(name for name in os.listdir(folder) if _is_no_part(name))


def _is_no_part(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in _NO_PART)


def require_safetensors(folder: Path) -> None:
    """Prove that every index of weights in a folder names safetensors files that lie beside it.

    transformers follows an index wherever it leads: to a pickled file, which runs code, or out of the folder, to weights
    that are no part of the checkpoint's hash.

    Raises:
        ArtifactCorrupt: an index is no JSON object, or names anything else; with index and entry.
    """
    for index in sorted(folder.glob("*.index.json")):
        content = reading.read_json(index, follow_links=True)
        places = content.get("weight_map") if isinstance(content, dict) else None
        if not isinstance(places, dict) or not places:
            raise ArtifactCorrupt(f"{index}: expected a weight_map of tensors to files, found none")
        for name in sorted({str(file) for file in places.values()}):
            inside = name.endswith(".safetensors") and not {"/", "\\"} & set(name)
            if not inside or not (folder / name).is_file():
                raise ArtifactCorrupt(
                    f"{index}: names {name!r}, expected *.safetensors files in the same folder. "
                    "Save the model anew with save_pretrained(..., safe_serialization=True)"
                )


def checkpoint_hash(folder: Path, *, follow_links: bool = False, model_alone: bool = False) -> str:
    """A checkpoint's identity: the SHA-256 over the sorted pairs (relative name, SHA-256 of the content).

    Args:
        folder: the checkpoint's.
        follow_links, model_alone: as for `checkpoint_files`; the hash is that of a copy so made.

    Raises:
        NoInput, ArtifactCorrupt, AccessDenied: as `checkpoint_files`.
    """
    files = checkpoint_files(folder, follow_links=follow_links, model_alone=model_alone)
    return hash_of_files({name: sha256_file(folder / name) for name in files})


def hash_of_files(files: Mapping[str, str]) -> str:
    """A checkpoint's identity from the SHA-256 of each of its files, by relative name."""
    return sha256_json([[name, files[name]] for name in sorted(files)])


def _collect(folder: Path, prefix: str, names: list[str], follow_links: bool) -> None:
    if prefix.count("/") > MOST_FOLDERS:
        raise NoInput(
            f"{folder}: folders are nested too deeply for a checkpoint; a link may lead in a circle"
        )
    with explained("read it", folder):
        try:
            entries = sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            raise NoInput(f"{folder}: there is no such folder, expected a checkpoint") from None
    for entry in entries:
        name = prefix + entry
        if entry.startswith(".") or name == FISHER_FILE:
            continue
        kind = reading.kind_of(folder / entry)
        if follow_links and kind == "symbolic link":
            kind = reading.kind_of((folder / entry).resolve())
        if kind == "folder":
            _collect(folder / entry, f"{name}/", names, follow_links)
        elif kind == "file":
            names.append(name)
        elif kind == "nothing":
            raise NoInput(f"{folder / entry}: the symbolic link leads to no file. Fetch the checkpoint again")
        else:
            raise ArtifactCorrupt(
                f"{folder / entry}: a checkpoint holds regular files only; this is a {kind}. "
                f"Copy the checkpoint with: cp -rL SOURCE TARGET"
            )
