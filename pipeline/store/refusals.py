"""The operating system's refusals, told in the project's words."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import AccessDenied, CannotWrite, RetrainError

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space, then run the same command again",
    errno.EDQUOT: "the disk quota is used up: free some space, then run the same command again",
    errno.EFBIG: "it is larger than the limit on file sizes (ulimit -f): raise it and run the same command again",
    errno.EROFS: "the file system is read-only: mount it writable and run the same command again",
    errno.ENOENT: "its folder does not exist",
    errno.ENOTDIR: "a file is where a folder should be",
    errno.EEXIST: "something with that name is already there",
    errno.ELOOP: "it is a symbolic link, which is never followed here",
}


@contextmanager
def explained(action: str, path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into the project's errors, with the path and what to do.

    Args:
        action: what is done to the path, as in `cannot {action}`.
        path: what it is done to.

    Raises:
        AccessDenied: for EACCES and EPERM. CannotWrite: for every other OSError.
    """
    try:
        yield
    except RetrainError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.EACCES, errno.EPERM):
            raise AccessDenied(
                f"{path}: cannot {action}: {reason}. Check the owner and permissions of {path.parent}"
            ) from error
        advice = _ADVICE.get(error.errno or 0, "the disk or file system failed; see the system's log")
        raise CannotWrite(f"{path}: cannot {action}: {reason}; {advice}") from error
