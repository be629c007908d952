"""The same from outside: strace sees every rename and flush of the process, and kills it there."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.disturbance import MONTH, QUICK, copy_of
from tests.faults.outcome import Undisturbed, assert_converges, assert_nothing_is_lost

STRACE = shutil.which("strace")
SYSCALLS = "fsync,fdatasync,rename,renameat,renameat2"
STRIDE = 17
PROGRAM = """
import os, sys
from cli import options
from pipeline.modeling import trainer_checkpoints
from pipeline.store import environment
from tests.faults.disturbance import StandingClock
options.datetime = StandingClock
environment._git_state = lambda: (None, None)
trainer_checkpoints.CHECKPOINT_SECONDS = 0.0
from cli.main import run_retrain
# set here, for the tests clear such variables away when they are imported
os.environ["RETRAIN_WORKSPACE"] = sys.argv[1]
sys.argv = ["retrain", *sys.argv[2:]]
run_retrain()
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(STRACE is None, reason="strace is not installed (Debian package strace)"),
]


def traced(workspace: Path, log: Path, *more: str) -> int:
    """Run the month in a process of its own below strace; its exit code, -9 when it was killed."""
    command = [str(STRACE), "-f", "-y", "-qq", "-e", f"trace={SYSCALLS}", "-e", "signal=none", "-o", str(log)]
    done = subprocess.run(
        [*command, *more, sys.executable, "-c", PROGRAM, str(workspace), "run", "--month", MONTH, *QUICK],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    if "ptrace" in done.stderr:
        pytest.skip(f"processes cannot be traced here: {done.stderr.strip()}")
    return done.returncode


def calls(log: Path, workspace: Path) -> list[str]:
    """The traced calls on paths inside the workspace, in order."""
    lines = log.read_text(errors="replace").splitlines()
    return [line.split(maxsplit=1)[1] for line in lines if str(workspace) in line]


@pytest.fixture(scope="module")
def plain(_launched: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, list[str], Path]:
    """Exit code, calls and workspace of a month that is only watched."""
    folder = tmp_path_factory.mktemp("watched")
    workspace = copy_of(_launched, folder / "workspace")
    return traced(workspace, folder / "log"), calls(folder / "log", workspace), workspace


def test_no_rename_and_no_flush_escapes_the_fault_points(
    plain: tuple[int, list[str], Path], undisturbed: Undisturbed
) -> None:
    code, seen, _ = plain
    assert code == 0
    flushes = [call for call in seen if re.match(r"f(data)?sync\(", call)]
    # safetensors renames what it saves, in a folder that is not there until it is renamed itself
    renames = [c for c in seen if c.startswith("rename") and not re.search(r"/\.tmp\w{6}\", .*\.partial/", c)]
    assert len(flushes) == sum(step.startswith("fsync ") for step in undisturbed.steps)
    assert len(renames) == sum(step.startswith("rename ") for step in undisturbed.steps)


def test_killed_by_the_kernel_at_some_renames_and_flushes(
    plain: tuple[int, list[str], Path], launched: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    for syscall in ("fsync", "rename"):
        count = sum(call.startswith(f"{syscall}(") for call in plain[1])
        for number in range(1, count + 1, STRIDE):
            workspace = copy_of(launched, tmp_path / f"{syscall}-{number}")
            fault = f"inject={syscall}:signal=SIGKILL:when={number}"
            assert traced(workspace, tmp_path / "log", "-e", fault) == -signal.SIGKILL
            assert_nothing_is_lost(workspace, undisturbed)
            assert_converges(workspace, undisturbed)
