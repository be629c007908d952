"""One writer per workspace: a lock that the kernel frees when its holder dies.

Imports nothing heavy: the lock is taken before torch, pydantic or pyarrow are loaded.
"""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import AccessDenied, CannotWrite, NoInput, RetrainError, WorkspaceLocked
from pipeline.store import atomic, reading

LOCK_FILE = ".retrain.lock"
HOLDER_FILE = ".retrain.lock.json"

_HOLDER_WAIT_SECONDS = 0.5


@contextmanager
def workspace_lock(workspace: os.PathLike[str], *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the workspace for writing; commands that only read need no lock.

    Args:
        workspace: a `Workspace` or the path of its folder, which must exist.
        wait_seconds: how long to wait for another holder, 0 for not at all.

    Raises:
        WorkspaceLocked: another process holds it; names the process, its host and since when.
        NoInput: there is no such folder.
        AccessDenied, CannotWrite: the lock's file cannot be made.
    """
    root = Path(workspace)
    if reading.kind_of(root) == "nothing":
        raise NoInput(f"{root}: there is no such workspace. Run: retrain init {root}")
    path = root / LOCK_FILE
    lock = FileLock(path, mode=0o600)
    try:
        lock.acquire(timeout=max(0.0, wait_seconds), poll_interval=0.1)
    except Timeout:
        raise WorkspaceLocked(
            f"{root}: {_holder(root)} is at work in this workspace. "
            f"Wait for it, or let this command wait: --wait SECONDS"
        ) from None
    except PermissionError as error:
        raise AccessDenied(
            f"{path}: cannot lock it: {error.strerror}. Check its owner and permissions"
        ) from error
    except OSError as error:
        raise CannotWrite(f"{path}: cannot lock it: {error.strerror}") from error
    try:
        atomic.write_json(root / HOLDER_FILE, _myself())
        yield
    finally:
        # a note that cannot be removed names a process that is gone, which readers of the note notice
        with suppress(RetrainError):
            atomic.remove_tree(root / HOLDER_FILE)
        lock.release()


def _myself() -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": [word.encode("utf-8", "backslashreplace").decode() for word in sys.argv],
    }


def holder_of(root: Path) -> str | None:
    """Who holds a workspace's lock, in words; None for nobody, whatever note a killed process left."""
    holder = _noted(root)
    if holder is None:
        return None
    # a number of a process that is gone is soon another's: the kernel alone knows whether the lock is held
    lock = FileLock(root / LOCK_FILE, mode=0o600)
    try:
        lock.acquire(timeout=0.0)
    except (Timeout, OSError):
        return holder
    lock.release()
    return None


def _noted(root: Path) -> str | None:
    """Who says to hold a workspace's lock and may be alive, in words; None for nobody."""
    with suppress(RetrainError):
        found = reading.read_json(root / HOLDER_FILE)
        if isinstance(found, dict) and _may_be_alive(found):
            return f"process {found.get('pid')} on {found.get('host')}, since {found.get('since')},"
    return None


def _holder(root: Path) -> str:
    """Who holds the lock, in words; waits a moment for a holder that has not yet written who it is."""
    deadline = time.monotonic() + _HOLDER_WAIT_SECONDS
    while True:
        holder = _noted(root)
        if holder is not None:
            return holder
        if time.monotonic() > deadline:
            return "another process"
        time.sleep(0.02)


def _may_be_alive(holder: dict[str, object]) -> bool:
    """False for a killed process's note that its successor has not yet replaced."""
    pid = holder.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return False
    if holder.get("host") != socket.gethostname():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
