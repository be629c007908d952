"""Backtests: arms side by side, resumable, and never near the champion."""

import json
from pathlib import Path

import pytest

from pipeline.experiments.backtest_result import advice
from tests.arm_results import made_up
from tests.conftest import call


def test_the_arm_that_ends_highest_among_those_that_forget_little_is_shipped() -> None:
    said = advice([made_up("plain", -4.0, 99.0), made_up("ewc", -0.1, 90.0), made_up("default", -0.2, 93.0)])
    assert said.startswith("Ship default")


def test_when_every_arm_forgets_none_is_shipped() -> None:
    assert advice([made_up("plain", -4.0, 80.0), made_up("ewc", -0.9, 90.0)]).startswith("No arm keeps")


def test_joint_training_is_the_ceiling_and_not_a_candidate() -> None:
    said = advice([made_up("joint", 0.0, 97.0, seconds=40.0), made_up("default", -0.1, 95.0)])
    assert said.startswith("Ship default")
    assert "97.00 at 4.0 times" in said


@pytest.mark.slow
def test_a_backtest_compares_arms_and_leaves_the_champion_alone(launched: Path) -> None:
    registry = (launched / "registry.json").read_bytes()
    words = (
        "backtest",
        "-w",
        launched,
        "--months",
        "2026-02..2026-03",
        "--arms",
        "freeze,default,joint",
        "--json",
    )
    done = call(*words)
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert [arm["arm"] for arm in document["arms"]] == ["freeze", "default", "joint"]
    assert document["arms"][0]["prior_change"] == 0.0
    assert (launched / "registry.json").read_bytes() == registry
    again = call(*words)
    assert again.code == 0, again.err
    assert json.loads(again.out) == document


def test_an_unknown_arm_is_a_usage_error(launched: Path) -> None:
    done = call("backtest", "-w", launched, "--months", "2026-02..2026-02", "--arms", "magic")
    assert (done.code, "magic" in done.err) == (2, True)


def test_the_months_must_be_a_range(launched: Path) -> None:
    assert call("backtest", "-w", launched, "--months", "2026-02").code == 2


def test_a_workspace_without_launch_needs_data(new_workspace: Path) -> None:
    assert call("backtest", "-w", new_workspace, "--months", "2026-02..2026-02").code == 66


def test_a_launch_month_without_golden_set_is_refused_before_anything_is_trained(launched: Path) -> None:
    (launched / "golden/2026-01.jsonl").unlink()
    done = call("backtest", "-w", launched, "--months", "2026-02..2026-02", "--arms", "freeze")
    assert done.code == 66
    assert "2026-01: no golden set of the launch month" in done.err
    assert "golden/2026-01.jsonl" in done.err
    assert not (launched / "backtest/seed-1").exists()


def test_plain_needs_validation_rows_to_choose_its_learning_rate(launched: Path) -> None:
    words = ("--months", "2026-02..2026-02", "--arms", "plain", "-o", "ingest.validation=0")
    done = call("backtest", "-w", launched, *words)
    assert done.code == 2
    assert "2026-02: no validation rows, and plain's learning rate is chosen on them" in done.err


def test_months_run_the_right_way_round(launched: Path) -> None:
    done = call("backtest", "-w", launched, "--months", "2026-03..2026-02")
    assert (done.code, "ends before it begins" in done.err) == (2, True)


def test_a_month_without_feedback_is_refused_before_anything_is_trained(launched: Path) -> None:
    done = call("backtest", "-w", launched, "--months", "2026-02..2026-04", "--arms", "freeze")
    assert done.code == 66
    assert "2026-04: no feedback" in done.err
    assert "--allow-empty" not in done.err
    assert not (launched / "backtest/seed-1").exists()


def test_a_month_that_is_recorded_as_empty_is_passed_over(launched: Path) -> None:
    (launched / "feedback/2026-02.jsonl").unlink()
    assert call("run", "--month", "2026-02", "--allow-empty", "-w", launched).code == 0
    words = ("--months", "2026-02..2026-03", "--arms", "head,plain", "--json")
    done = call("backtest", "-w", launched, *words)
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["months"] == ["2026-03"]
    assert [arm["arm"] for arm in document["arms"]] == ["head", "plain"]


def test_an_adopted_launch_is_adopted_by_the_backtest_too(launched: Path, new_workspace: Path) -> None:
    checkpoint = launched / "runs/2026-01/001/finetune/checkpoint"
    words = ("--data", new_workspace / "launch.jsonl", "--month", "2026-01", "-w", new_workspace)
    assert call("launch", "--checkpoint", checkpoint, *words).code == 0
    (new_workspace / "base").rename(new_workspace / "gone")
    done = call("backtest", "-w", new_workspace, "--months", "2026-02..2026-02", "--arms", "head")
    assert done.code == 0, done.err
    made = new_workspace / "backtest/seed-1/launch/runs/2026-01/001/finetune/checkpoint/model.safetensors"
    assert made.read_bytes() == (checkpoint / "model.safetensors").read_bytes()


def test_a_finished_backtest_that_is_run_again_changes_no_registry(promoted: Path) -> None:
    words = ("--months", "2026-02..2026-03", "--arms", "freeze,head", "-w", promoted)
    assert call("backtest", *words).code == 0
    files = sorted((promoted / "backtest").rglob("registry.json"))
    before = {file: file.read_bytes() for file in files}
    assert len(before) >= 2
    assert call("backtest", *words).code == 0
    assert {file: file.read_bytes() for file in files} == before
