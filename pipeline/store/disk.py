"""Is there room? Asked before hours of work, so that the disk does not fill up at their end."""

import shutil
from pathlib import Path

from pipeline.errors import CannotWrite
from pipeline.store.refusals import explained


def require_free_space(folder: Path, needed_bytes: int, *, purpose: str) -> None:
    """Refuse to begin work that would fill the disk.

    Args:
        folder: an existing folder on the disk that is to be written.
        needed_bytes: an upper estimate of what will be written.
        purpose: what for, as in `fine-tuning needs ...`.

    Raises:
        CannotWrite: there is less room than needed.
        AccessDenied: the operating system does not tell.
    """
    with explained("ask for the free space of it", folder):
        free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise CannotWrite(
            f"{folder}: {purpose} needs {_mebibytes(needed_bytes)} of free space, there are {_mebibytes(free)}. "
            "Free some space, then run the same command again"
        )


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
