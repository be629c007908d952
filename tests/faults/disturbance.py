"""A month in seconds, run as the command line runs it, in forked processes that faults may end."""

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from pipeline.store import atomic
from tests.conftest import Done, call
from tests.store.samples import KILLED as KILLED
from tests.store.samples import forked as forked
from tests.store.samples import tree

MONTH = "2026-02"
QUICK = ("-o", "train.epochs=2", "-o", "fisher.samples=8", "--device", "cpu")
NOT_RECORDED = ("run.log", "events.jsonl", ".retrain.lock", "report.html")
"""What tells of times and of interruptions."""

Fault = Callable[[str, Path], None]


class StandingClock(datetime):
    """A clock that stands, so that two runs write the same times."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "StandingClock":
        return cls(2026, 3, 1, 2, 0, 0, tzinfo=tz or UTC)


def run_month(workspace: Path, *more: str, month: str = MONTH) -> Done:
    """Run the month in this process; the workspace is named by the environment, as the command is recorded."""
    before = os.environ.get("RETRAIN_WORKSPACE")
    os.environ["RETRAIN_WORKSPACE"] = str(workspace)
    try:
        return call("run", "--month", month, *QUICK, *more)
    finally:
        del os.environ["RETRAIN_WORKSPACE"]
        if before is not None:
            os.environ["RETRAIN_WORKSPACE"] = before


def run_with(workspace: Path, fault: Fault, *more: str) -> int:
    """Run the month in a forked process with a fault planted at every change to the disk; its exit code."""

    def work() -> int:
        atomic.fault_point = fault
        return run_month(workspace, *more).code

    return forked(work)


def steps_of(workspace: Path) -> list[str]:
    """The changes to the disk that a month makes, in order; it is run for that."""
    steps: list[str] = []
    before = atomic.fault_point
    atomic.fault_point = lambda step, path: steps.append(f"{step} {path.name}")
    try:
        done = run_month(workspace)
    finally:
        atomic.fault_point = before
    assert done.code == 0, done.err
    return steps


def killing(number: int) -> Fault:
    """The process dies, as by kill -9, just before change `number` to the disk."""
    left = number

    def fault(step: str, path: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os._exit(KILLED)

    return fault


def failing(number: int, error: int) -> Fault:
    """The operating system refuses change `number` to the disk, once."""
    left = number

    def fault(step: str, path: Path) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise OSError(error, os.strerror(error), str(path))

    return fault


def signalling(number: int, signum: int) -> Fault:
    """The process gets a signal just before change `number` to the disk."""
    left = number

    def fault(step: str, path: Path) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            os.kill(os.getpid(), signum)

    return fault


def copy_of(workspace: Path, target: Path) -> Path:
    return Path(shutil.copytree(workspace, target, symlinks=True))


def artifacts(workspace: Path) -> dict[str, bytes]:
    """Everything in a workspace that is recorded, with modes."""
    return {name: content for name, content in tree(workspace).items() if not name.endswith(NOT_RECORDED)}


def finished_month(workspace: Path) -> dict[str, bytes]:
    """The launch's artifacts without the Fisher that may be put beside its checkpoint."""
    return {
        name: content
        for name, content in artifacts(workspace / "runs" / "2026-01").items()
        if "fisher.safetensors" not in name and not atomic.is_temporary(Path(name).name)
    }
