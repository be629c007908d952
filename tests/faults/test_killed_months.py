"""A whole month, killed or refused by the disk anywhere: nothing is lost, and the next run ends in the same bits."""

import errno
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.disturbance import KILLED, copy_of, failing, forked, killing, run_month, run_with
from tests.faults.outcome import Undisturbed, assert_converges, assert_nothing_is_lost

STRIDE = 71
"""Of the shortened sets; prime, so that they meet every kind of step."""
CANNOT_WRITE = 74


def disturbed(launched: Path, tmp_path: Path, name: object) -> Path:
    return copy_of(launched, tmp_path / f"disturbed-{name}")


def kill_at(numbers: range, launched: Path, tmp_path: Path, undisturbed: Undisturbed) -> None:
    for number in numbers:
        workspace = disturbed(launched, tmp_path, number)
        assert run_with(workspace, killing(number)) == KILLED, undisturbed.steps[number]
        assert_nothing_is_lost(workspace, undisturbed)
        assert_converges(workspace, undisturbed)


def refuse_at(numbers: range, error: int, launched: Path, tmp_path: Path, undisturbed: Undisturbed) -> None:
    for number in numbers:
        workspace = disturbed(launched, tmp_path, number)
        code = run_with(workspace, failing(number, error))
        # what only informs (the note of the lock's holder, the report) may fail without failing the run
        assert code in (0, CANNOT_WRITE), undisturbed.steps[number]
        assert_nothing_is_lost(workspace, undisturbed)
        assert_converges(workspace, undisturbed)


def test_a_month_changes_the_disk_in_many_places(undisturbed: Undisturbed) -> None:
    assert len(undisturbed.steps) > 150
    for step in ("rename registry.json", "rename champion", "rename finetune", "fsync complete.json"):
        assert any(s.startswith(step.split()[0]) and step.split()[1] in s for s in undisturbed.steps), step


def test_killed_at_some_changes_to_the_disk(launched: Path, tmp_path: Path, undisturbed: Undisturbed) -> None:
    kill_at(range(3, len(undisturbed.steps), STRIDE), launched, tmp_path, undisturbed)


@pytest.mark.slow
def test_killed_at_every_change_to_the_disk(launched: Path, tmp_path: Path, undisturbed: Undisturbed) -> None:
    kill_at(range(len(undisturbed.steps)), launched, tmp_path, undisturbed)


@pytest.mark.parametrize(("error", "begin"), [(errno.EIO, 11), (errno.ENOSPC, 20)])
def test_refused_at_some_changes_to_the_disk(
    launched: Path, tmp_path: Path, undisturbed: Undisturbed, error: int, begin: int
) -> None:
    refuse_at(range(begin, len(undisturbed.steps), 2 * STRIDE), error, launched, tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_refused_at_every_change_to_the_disk(
    launched: Path, tmp_path: Path, undisturbed: Undisturbed, error: int
) -> None:
    refuse_at(range(len(undisturbed.steps)), error, launched, tmp_path, undisturbed)


def test_killed_before_its_report_the_next_run_writes_it(
    launched: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    workspace = disturbed(launched, tmp_path, "unreported")
    last = max(number for number, step in enumerate(undisturbed.steps) if step == "rename report.html")
    assert run_with(workspace, killing(last)) == KILLED
    report = workspace / "runs" / "2026-02" / "001" / "report.html"
    assert not report.exists()
    assert_converges(workspace, undisturbed)
    assert "2026-02" in report.read_text(encoding="utf-8")


def kill_at_instants(count: int, launched: Path, tmp_path: Path, undisturbed: Undisturbed) -> None:
    draw = random.Random(6)
    started = time.monotonic()
    run_month(disturbed(launched, tmp_path, "timed"))
    seconds = time.monotonic() - started
    killed = 0
    for number in range(count):
        workspace = disturbed(launched, tmp_path, f"instant-{number}")
        while True:
            code = killed_after(draw.uniform(0.0, seconds), workspace)
            if code == 0:
                break
            killed += 1
            assert_nothing_is_lost(workspace, undisturbed)
            if draw.random() < 0.5:  # else it is killed again
                break
        assert_converges(workspace, undisturbed)
    assert killed >= count // 3


def killed_after(seconds: float, workspace: Path) -> int:
    """Run the month in a process that is killed after some time; -9, or its exit code if it ended before."""

    def work() -> int:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

        def die(*_: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        signal.signal(signal.SIGALRM, die)
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
        return run_month(workspace).code

    return forked(work)


def test_killed_at_three_random_instants(launched: Path, tmp_path: Path, undisturbed: Undisturbed) -> None:
    kill_at_instants(3, launched, tmp_path, undisturbed)


@pytest.mark.slow
def test_killed_at_two_hundred_random_instants(
    launched: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    kill_at_instants(200, launched, tmp_path, undisturbed)
