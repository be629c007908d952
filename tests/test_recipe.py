"""Which parts each arm is made of."""

from dataclasses import replace

import pytest

from pipeline.config import load_config
from pipeline.recipe import recipe_for


def recipe(*overrides: str):  # type: ignore[no-untyped-def]
    return recipe_for(load_config(overrides=list(overrides)))


def test_the_default_replays_distils_balances_and_holds_the_encoder() -> None:
    chosen = recipe()
    assert chosen.replayed_per_step == 16
    assert chosen.balanced
    assert chosen.distills
    assert chosen.probes
    assert chosen.ewc_lambda == load_config().ewc.replay_lambda
    assert not chosen.protects_head


@pytest.mark.parametrize("off", ["replay.per_step=0", "replay={launch_rows: 0, month_rows: 0}"])
def test_the_default_without_replay_leans_on_a_stronger_penalty(off: str) -> None:
    chosen = recipe(off)
    assert chosen.replayed_per_step == 0
    assert chosen.ewc_lambda == load_config().ewc.lambda_
    assert chosen.protects_head
    assert "without replay" in chosen.why


def test_the_ewc_arm_is_the_penalty_alone() -> None:
    chosen = recipe("arm=ewc", "ewc.lambda=7")
    assert (chosen.ewc_lambda, chosen.replayed_per_step, chosen.balanced, chosen.distills) == (
        7.0,
        0,
        False,
        False,
    )


def test_the_l2sp_arm_holds_all_weights_alike_and_does_nothing_else() -> None:
    chosen = recipe("arm=l2sp", "l2sp.lambda=0.2")
    assert chosen.l2sp_lambda == 0.2
    assert recipe("arm=plain") == replace(chosen, why="plain: no protection", l2sp_lambda=0.0)


@pytest.mark.parametrize("arm", ["plain", "head", "joint", "freeze", "l2sp"])
def test_other_arms_need_no_fisher(arm: str) -> None:
    assert recipe(f"arm={arm}").ewc_lambda == 0.0


def test_the_joint_arm_trains_as_the_launch_does() -> None:
    chosen = recipe("arm=joint", "launch.layers=all")
    assert chosen.from_scratch
    assert chosen.layers == "all"


def test_only_the_frozen_arm_does_not_train() -> None:
    assert [
        arm
        for arm in ("freeze", "plain", "head", "ewc", "joint", "default")
        if not recipe(f"arm={arm}").trains
    ] == ["freeze"]
