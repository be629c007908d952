"""Copying a checkpoint that was made elsewhere into the workspace."""

import logging
from pathlib import Path

from pipeline.errors import NoInput
from pipeline.store import atomic
from pipeline.store.hashing import checkpoint_files, checkpoint_hash, left_behind
from pipeline.store.refusals import explained

NAMES_SHOWN = 5
"""How many names of what stays behind a message shows."""
logger = logging.getLogger("retrain")


def copy_checkpoint(source: Path, target: Path) -> None:
    """Copy a checkpoint's files, as `checkpoint_files` names those of one that was made elsewhere.

    A Hub cache keeps its files as links, so the source may hold them; the copy never does. What is no part of the model is
    left behind, and named in the log.

    Args:
        source: a folder with config.json.
        target: a folder that does not exist yet, inside a stage's partial folder.

    Raises:
        NoInput: the source is no checkpoint.
        AccessDenied, CannotWrite: as `atomic.copy_file`.
    """
    require_checkpoint_folder(source)
    names = checkpoint_files(source, follow_links=True, model_alone=True)
    behind = left_behind(source)
    if behind:
        shown = ", ".join(behind[:NAMES_SHOWN]) + (" ..." if len(behind) > NAMES_SHOWN else "")
        logger.info("%s: %d name(s) are no part of the model and stay behind: %s", source, len(behind), shown)
    atomic.make_folder(target)
    for name in names:
        atomic.make_folder((target / name).parent)
        atomic.copy_file(source / name, target / name)


def adopted_hash(source: Path) -> str:
    """The hash that a copy of a checkpoint has."""
    return checkpoint_hash(source, follow_links=True, model_alone=True)


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
