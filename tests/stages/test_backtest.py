"""Backtests: arms side by side, resumable, and never near the champion."""

import json
from pathlib import Path

import pytest

from pipeline.stages.backtest_result import ArmResult, advice
from tests.conftest import call


def result(arm: str, prior: float, end: float, seconds: float = 10.0) -> ArmResult:
    return ArmResult(
        arm=arm,
        prior_change=prior,
        low=prior - 0.1,
        high=prior + 0.1,
        prior_by_seed={1: prior},
        worst_cycle=prior,
        worst_by_seed={1: prior},
        launch_change=0.0,
        gain=1.0,
        gain_by_slice={},
        own_by_slice={},
        final_accuracy=end,
        seconds=seconds,
        learning_rates={1: 1e-4},
        launch_accuracies={1: [90.0, 90.0]},
    )


def test_the_arm_that_ends_highest_among_those_that_forget_little_is_shipped() -> None:
    said = advice([result("plain", -4.0, 99.0), result("ewc", -0.1, 90.0), result("default", -0.2, 93.0)])
    assert said.startswith("Ship default")


def test_when_every_arm_forgets_none_is_shipped() -> None:
    assert advice([result("plain", -4.0, 80.0), result("ewc", -0.9, 90.0)]).startswith("No arm keeps")


def test_joint_training_is_the_ceiling_and_not_a_candidate() -> None:
    said = advice([result("joint", 0.0, 97.0, seconds=40.0), result("default", -0.1, 95.0)])
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
