"""Copying a checkpoint that was made elsewhere into the workspace."""

from pathlib import Path

from pipeline.errors import NoInput
from pipeline.store import atomic
from pipeline.store.hashing import FISHER_FILE, MOST_FOLDERS
from pipeline.store.refusals import explained


def copy_checkpoint(source: Path, target: Path) -> None:
    """Copy a checkpoint's files, without hidden files and Fisher sidecars; links are replaced by what they name.

    A Hub cache keeps its files as links, so the source may hold them; the copy never does.

    Args:
        source: a folder with config.json.
        target: a folder that does not exist yet, inside a stage's partial folder.

    Raises:
        NoInput: the source is no checkpoint.
        AccessDenied, CannotWrite: as `atomic.copy_file`.
    """
    require_checkpoint_folder(source)
    _copy_folder(source, target, depth=0)


def require_checkpoint_folder(folder: Path) -> None:
    """Refuse a folder without config.json before anything below it is looked at: it may be a home folder, or all of a disk.

    Raises:
        NoInput: it is no checkpoint, or an adapter.
    """
    with explained("read it", folder):
        refuse_adapter(folder)
        if not (folder / "config.json").is_file():
            raise NoInput(f"{folder}: expected a checkpoint folder, found no config.json")


def refuse_adapter(folder: Path) -> None:
    """Say what a folder is that holds an adapter in place of a model.

    Raises:
        NoInput: it does.
    """
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise NoInput(
            f"{folder}: is an adapter (adapter_config.json), expected a whole model. Merge it into its base with "
            "peft's merge_and_unload(), save the result with its tokenizer, and name that folder"
        )


def _copy_folder(source: Path, target: Path, *, depth: int) -> None:
    if depth > MOST_FOLDERS:
        raise NoInput(
            f"{source}: folders are nested too deeply for a checkpoint; a link may lead in a circle"
        )
    atomic.make_folder(target)
    with explained("read it", source):
        paths = sorted(source.iterdir())
    for path in paths:
        if path.name.startswith(".") or (depth == 0 and path.name == FISHER_FILE):
            continue
        if path.is_dir():
            _copy_folder(path, target / path.name, depth=depth + 1)
        elif path.is_file():
            atomic.copy_file(path, target / path.name)
