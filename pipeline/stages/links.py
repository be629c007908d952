"""Symbolic links to inputs are followed, and said: a log must tell which files a month was made from."""

import logging
from collections.abc import Iterable
from pathlib import Path

from pipeline.store.workspace import Workspace

MOST_SHOWN = 5
logger = logging.getLogger("retrain")


def tell_links(workspace: Workspace, stage: str, paths: Iterable[Path]) -> None:
    """Log where paths lead that are symbolic links, or lie behind one; of many, the first few."""
    led = [(path, path.resolve()) for path in dict.fromkeys(paths)]
    shown = [f"{shown_path(workspace, path)} -> {target}" for path, target in led if target != path]
    if shown:
        more = f", and {len(shown) - MOST_SHOWN} more" if len(shown) > MOST_SHOWN else ""
        logger.info("%s: reads through symbolic links: %s%s", stage, ", ".join(shown[:MOST_SHOWN]), more)


def shown_path(workspace: Workspace, path: Path) -> str:
    """A path as messages name it: from the workspace where it lies in it, else whole."""
    return path.relative_to(workspace.root).as_posix() if path.is_relative_to(workspace.root) else str(path)
