"""Runs started together: one works, the other is told at once by whom the workspace is held."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.disturbance import QUICK, copy_of
from tests.faults.outcome import Undisturbed, assert_nothing_is_lost

LOCKED = 75
# says which heavy libraries the loser had loaded when it gave up
PROGRAM = """
import atexit, sys
atexit.register(lambda: print(sorted({"torch", "transformers", "pyarrow", "numpy"} & sys.modules.keys())))
sys.argv = ["retrain", *sys.argv[1:]]
from cli.main import run_retrain
run_retrain()
"""


def started(workspace: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PROGRAM, "run", "--month", "2026-02", "-w", str(workspace), *QUICK]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def race(count: int, launched: Path, tmp_path: Path, undisturbed: Undisturbed) -> None:
    for number in range(count):
        workspace = copy_of(launched, tmp_path / f"pair-{number}")
        pair = [started(workspace), started(workspace)]
        told = [process.communicate(timeout=120) for process in pair]
        codes = [process.returncode for process in pair]
        assert sorted(codes) == [0, LOCKED], told
        loser, winner = codes.index(LOCKED), codes.index(0)
        out, err = told[loser]
        assert f"process {pair[winner].pid} on " in err
        assert "--wait SECONDS" in err
        assert out.splitlines()[-1] == "[]"
        assert_nothing_is_lost(workspace, undisturbed)


def test_of_a_pair_started_together_one_wins(
    launched: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    race(2, launched, tmp_path, undisturbed)


@pytest.mark.slow
def test_of_fifty_pairs_started_together_one_wins_each(
    launched: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    race(50, launched, tmp_path, undisturbed)


def test_reading_commands_do_not_wait_for_the_holder(promoted: Path) -> None:
    from pipeline.store.lock import workspace_lock
    from tests.conftest import call

    with workspace_lock(promoted):
        for command in (("status",), ("show", "2026-02"), ("verify",), ("gc", "--keep", "1", "--dry-run")):
            assert call(*command, "-w", promoted).code == 0, command
        assert call("gc", "--keep", "1", "-w", promoted).code == LOCKED
