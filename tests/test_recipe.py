"""Which parts each arm is made of."""

from dataclasses import replace

import pytest

from pipeline.config_loading import load_config
from pipeline.recipe import MonthContents, Recipe, recipe_for, unprotected_growth

GROWING, SETTLED = MonthContents(rows=240, new_labels=3), MonthContents(rows=240, new_labels=0)


def recipe(*overrides: str, contents: MonthContents | None = None) -> Recipe:
    return recipe_for(load_config(overrides=list(overrides)), contents)


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


def test_the_default_says_what_the_month_brings_and_holds_a_growing_one_as_configured() -> None:
    words = ("ewc.replay_lambda=0.25", "ewc.growth_lambda=0.125")
    assert recipe(*words, contents=SETTLED).ewc_lambda == 0.25
    assert "240 rows, no new label" in recipe(*words, contents=SETTLED).why
    growing = recipe(*words, contents=GROWING)
    assert growing.ewc_lambda == 0.125
    assert "240 rows, 3 new label(s)" in growing.why
    assert "EWC on the encoder, ewc.growth_lambda 0.125" in growing.why


@pytest.mark.parametrize(
    ("new_rows", "words", "replayed"),
    [
        (0, [], 16),
        (120, [], 16),  # 16 of 32: 16 rows of the month's own and 16 replayed ones stand beside them
        (130, [], 32),  # 17 of 32: 34 - 15 = 19
        (170, [], 48),  # 22 of 32: 44 - 10 = 34
        (240, [], 64),
        (240, ["replay.per_step=24"], 72),
        (240, ["replay.per_step=20"], 80),
        (240, ["train.gradient_accumulation=16"], 64),
        (240, ["replay.per_step=0"], 0),
    ],
)
def test_two_rows_of_old_labels_stand_beside_each_row_of_a_new_label(
    new_rows: int, words: list[str], replayed: int
) -> None:
    contents = MonthContents(rows=240, new_labels=3, new_label_rows=new_rows)
    chosen = recipe(*words, contents=contents)
    assert chosen.replayed_per_step == replayed
    told = f"{replayed} replayed rows a step, as {new_rows} of the month's rows have new labels"
    assert (told in chosen.why) == (replayed > load_config(overrides=words).replay.per_step)


@pytest.mark.parametrize(("rows", "factor"), [(18, 150 / 18), (75, 2.0), (150, 1.0), (600, 1.0), (0, 1.0)])
def test_few_rows_make_the_penalty_stronger_in_inverse_proportion(rows: int, factor: float) -> None:
    settled = recipe(contents=MonthContents(rows=rows, new_labels=0))
    assert settled.ewc_lambda == 0.3
    assert settled.ewc_factor == pytest.approx(factor)
    assert (f"times {factor:.3g}, as the month is small" in settled.why) == (factor > 1)
    for words in (["ewc.replay_lambda=0"], ["arm=ewc"], ["replay.per_step=0"]):
        assert recipe(*words, contents=MonthContents(rows=rows, new_labels=0)).ewc_factor == 1.0
    assert recipe("ewc.growth_lambda=1", contents=MonthContents(rows=rows, new_labels=1)).ewc_factor == 1.0


@pytest.mark.parametrize(
    ("rows", "epochs"), [(1, 24), (18, 24), (67, 8), (128, 6), (129, 5), (600, 5), (0, 5)]
)
def test_a_month_of_few_rows_takes_two_dozen_steps(rows: int, epochs: int) -> None:
    chosen = recipe(contents=MonthContents(rows=rows, new_labels=0))
    assert chosen.epochs == epochs
    assert (f"{epochs} epochs, so that there are 24 steps" in chosen.why) == (epochs > 5)
    assert recipe("replay.least_steps=0", contents=MonthContents(rows=rows, new_labels=0)).epochs == 5
    assert recipe("train.epochs=30", contents=MonthContents(rows=18, new_labels=0)).epochs == 30
    for words in ("arm=plain", "arm=ewc", "replay.per_step=0"):
        assert recipe(words, contents=MonthContents(rows=18, new_labels=0)).epochs is None


def test_a_month_without_penalty_keeps_its_fisher_for_the_months_after_it() -> None:
    growing = recipe("ewc.growth_lambda=0", contents=GROWING)
    assert growing.ewc_lambda == 0.0
    assert growing.needs_fisher
    assert "no penalty, as ewc.growth_lambda is 0" in growing.why
    assert not recipe("ewc.growth_lambda=0", "ewc.replay_lambda=0").needs_fisher


@pytest.mark.parametrize(
    ("refusals", "settled", "growing"), [(0, 0.3, 0.0), (1, 0.3, 0.0), (2, 0.9, 0.3), (3, 2.7, 0.9)]
)
def test_refusals_beyond_the_patience_make_the_penalty_stronger(
    refusals: int, settled: float, growing: float
) -> None:
    config = load_config(overrides=["ewc.replay_lambda=0.3", "ewc.growth_lambda=0", "gate.patience=2"])
    for contents, strength in ((SETTLED, settled), (GROWING, growing)):
        chosen = recipe_for(config, contents, refusals=refusals)
        assert chosen.ewc_lambda == pytest.approx(strength)
        assert ("were refused for losses (gate.patience 2)" in chosen.why) == (refusals >= 2)


@pytest.mark.parametrize(
    ("overrides", "before", "after"),
    [
        (["arm=l2sp", "l2sp.lambda=0.1"], (0.0, 0.1), (0.0, 0.3)),
        (["arm=ewc", "ewc.lambda=0.5"], (0.5, 0.0), (1.5, 0.0)),
        (["arm=ewc", "ewc.lambda=0.5", "gate.patience=0"], (0.5, 0.0), (0.5, 0.0)),
        (["arm=plain"], (0.0, 0.0), (0.0, 0.0)),
        (["ewc.replay_lambda=0", "ewc.growth_lambda=0"], (0.0, 0.0), (0.0, 0.0)),
    ],
)
def test_only_what_has_a_penalty_gets_a_stronger_one(
    overrides: list[str], before: tuple[float, float], after: tuple[float, float]
) -> None:
    config = load_config(overrides=overrides)
    for refusals, expected in ((0, before), (2, after)):
        chosen = recipe_for(config, SETTLED, refusals=refusals)
        assert (chosen.ewc_lambda, chosen.l2sp_lambda) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("overrides", "warns"),
    [
        (["arm=plain"], True),
        (["arm=ewc"], True),
        (["arm=head"], True),
        (["replay.per_step=0"], True),
        ([], False),
        (["arm=joint"], False),
        (["arm=freeze"], False),
    ],
)
def test_new_labels_without_replay_are_warned_of(overrides: list[str], warns: bool) -> None:
    chosen = recipe(*overrides, contents=GROWING)
    warning = unprotected_growth(chosen, GROWING)
    assert (warning is not None) == warns
    assert warning is None or "3 new label(s) are learned without replay" in warning
    assert unprotected_growth(chosen, SETTLED) is None


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
