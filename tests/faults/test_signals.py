"""SIGTERM and SIGINT in every stage: the exit code says so, nothing is lost, and the next run resumes to the same bits."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.disturbance import QUICK, copy_of, run_with, signalling
from tests.faults.outcome import Undisturbed, assert_converges, assert_nothing_is_lost

# the first change to the disk of each stage, of its commit, of the promotion, and of the last manifest
PLACES = (
    "mkdir .ingest.partial",
    "rename ingest",
    "rename fisher.safetensors",
    "rename fisher",
    "mkdir .finetune.partial",
    "rename finetune",
    "rename predictions.parquet",
    "rename eval",
    "rename registry.json",
    "rename champion",
)
SHORT = ("rename ingest", "rename fisher.safetensors", "mkdir .finetune.partial", "rename registry.json")


@pytest.mark.parametrize(
    "place", [place if place in SHORT else pytest.param(place, marks=pytest.mark.slow) for place in PLACES]
)
def test_sigterm_outside_of_training_stops_at_once(
    launched: Path, tmp_path: Path, undisturbed: Undisturbed, place: str
) -> None:
    workspace = copy_of(launched, tmp_path / "disturbed")
    assert run_with(workspace, signalling(undisturbed.steps.index(place), signal.SIGTERM)) == 143
    assert_nothing_is_lost(workspace, undisturbed)
    assert_converges(workspace, undisturbed)


@pytest.mark.parametrize(
    ("step", "signum"), [(1, signal.SIGINT), (2, signal.SIGTERM), (3, signal.SIGINT), (4, signal.SIGTERM)]
)
def test_a_signal_while_training_finishes_the_step_and_saves_it(
    launched: Path, tmp_path: Path, undisturbed: Undisturbed, step: int, signum: signal.Signals
) -> None:
    if step == 4:
        assert not any("checkpoint-5" in name for name in undisturbed.steps), "4 is the last step"
    workspace = copy_of(launched, tmp_path / "disturbed")
    place = undisturbed.steps.index(f"fsync checkpoint-{step}")
    assert run_with(workspace, signalling(place, signum)) == 128 + signum
    kept = workspace / "runs" / "2026-02" / "001" / ".finetune.partial" / "resume"
    saved = sorted(int(path.name.removeprefix("checkpoint-")) for path in kept.iterdir())
    # the signal came while this step was being saved
    assert saved[-1] == step
    assert_nothing_is_lost(workspace, undisturbed)
    assert_converges(workspace, undisturbed)


def test_a_second_signal_stops_at_once(launched: Path, tmp_path: Path, undisturbed: Undisturbed) -> None:
    workspace = copy_of(launched, tmp_path / "disturbed")
    place = undisturbed.steps.index("fsync checkpoint-2")
    left = place

    def twice(step: str, path: Path) -> None:
        nonlocal left
        left -= 1
        if left in (-1, -2):
            os.kill(os.getpid(), signal.SIGTERM)

    assert run_with(workspace, twice) == -signal.SIGTERM
    assert_nothing_is_lost(workspace, undisturbed)
    assert_converges(workspace, undisturbed)


SLOW = """
import sys, time
from pipeline.modeling import trainer
step = trainer.ConsolidatingTrainer.training_step
def slow(self, *a, **k):
    print("training", flush=True)
    time.sleep(0.5)
    return step(self, *a, **k)
trainer.ConsolidatingTrainer.training_step = slow
from cli.main import run_retrain
sys.argv = ["retrain", *sys.argv[1:]]
run_retrain()
"""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_process_that_trains_answers_a_signal_with_a_checkpoint_and_its_exit_code(
    launched: Path, signum: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-c", SLOW, "run", "--month", "2026-02", "-w", str(launched), *QUICK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "training\n"
        process.send_signal(signum)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert f"stopped by {signum.name} after step 1 of fine-tuning, which is saved" in err
    assert "Traceback" not in err
    saved = launched / "runs" / "2026-02" / "001" / ".finetune.partial" / "resume"
    assert [path.name for path in saved.iterdir()] == ["checkpoint-1"]
