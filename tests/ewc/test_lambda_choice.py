"""Which lambda is taken, and which is trained next."""

import math

import pytest
import torch

from pipeline.ewc.lambda_choice import Measured, bootstrap_interval, choose, next_to_train


def point(lambda_: float, prior: float, new: float, *, width: float = 0.01) -> Measured:
    """A measured lambda whose interval is `width` either way."""
    return Measured(lambda_, prior, prior - width, prior + width, new, 90.0, 90.0)


PLAIN = point(0.0, 0.5, -1.0)


def test_smallest_harmless_lambda_that_keeps_enough_is_chosen() -> None:
    trained = [point(10, 0.0, -0.7), point(1, 0.005, -0.9), point(0.1, 0.2, -1.0)]
    choice = choose(trained, plain=PLAIN, keep=0.8)
    assert choice.lambda_ == 1
    assert "keeps 90%" in choice.reason


def test_nothing_is_chosen_where_every_lambda_harms() -> None:
    choice = choose([point(1, 0.3, -0.9), point(10, 0.05, -0.5)], plain=PLAIN, keep=0.8)
    assert choice.lambda_ is None
    assert "no lambda does both: at lambda 10" in choice.reason
    spared = choose([point(1, 0.3, -0.9), point(10, 0.05, -0.85)], plain=PLAIN, keep=0.8)
    assert spared.lambda_ is None
    assert "the least harm is +0.0500 nats" in spared.reason


def test_nothing_is_chosen_where_sparing_costs_too_much_gain() -> None:
    choice = choose([point(1, 0.3, -0.9), point(10, 0.0, -0.5)], plain=PLAIN, keep=0.8)
    assert choice.lambda_ is None
    assert "lambda 10 keeps the most of the plain gain, 50%" in choice.reason
    assert choose([point(10, 0.0, -0.5)], plain=PLAIN, keep=0.5).lambda_ == 10


def test_nothing_is_chosen_where_plain_gains_nothing() -> None:
    choice = choose([point(1, 0.0, 0.0)], plain=point(0.0, 0.5, 0.1), keep=0.8)
    assert choice.lambda_ is None
    assert "gains nothing" in choice.reason


def test_improving_the_prior_months_counts_as_harmless() -> None:
    choice = choose([point(1, -0.3, -0.9)], plain=PLAIN, keep=0.8)
    assert choice.lambda_ == 1
    assert "is a gain" in choice.reason
    assert "cannot be told from zero" in choose([point(1, 0.0, -0.9)], plain=PLAIN, keep=0.8).reason


def test_ratio_is_prior_loss_for_new_gain() -> None:
    assert point(1, 0.3, -0.6).ratio == pytest.approx(0.5)
    assert point(1, 0.3, 0.1).ratio is None


def test_bootstrap_interval_covers_like_the_normal_one() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(1)) + 0.2
    low, high = bootstrap_interval(values, confidence=0.95, seed=0)
    half = 1.96 * float(values.std()) / math.sqrt(400)
    assert low == pytest.approx(float(values.mean()) - half, abs=0.015)
    assert high == pytest.approx(float(values.mean()) + half, abs=0.015)
    assert (low, high) == bootstrap_interval(values, confidence=0.95, seed=0)
    assert bootstrap_interval(torch.zeros(5), confidence=0.95, seed=0) == (0.0, 0.0)


def curve(harm: list[float]) -> list[Measured]:
    return [point(10.0**i, value, -0.5) for i, value in enumerate(harm)]


def search(truth: list[Measured], predicted: list[Measured], plain: Measured = PLAIN) -> dict[int, Measured]:
    """Train what is asked for until nothing is."""
    trained: dict[int, Measured] = {}
    while (index := next_to_train(predicted, trained, plain=plain)) is not None:
        assert index not in trained
        trained[index] = truth[index]
    return trained


def first_harmless(points: list[Measured]) -> int | None:
    return next((i for i, p in enumerate(points) if p.is_harmless), None)


@pytest.mark.parametrize("shift", range(-6, 7))
@pytest.mark.parametrize("size", [2, 5, 13])
def test_search_finds_where_harm_ends_however_wrong_the_prediction(shift: int, size: int) -> None:
    for threshold in range(size + 1):
        truth = curve([0.3 * 0.5 ** (i - threshold) if i < threshold else 0.0 for i in range(size)])
        at = threshold + shift
        predicted = curve([0.3 * 0.5 ** (i - at) if i < at else 0.0 for i in range(size)])
        trained = search(truth, predicted)
        found = first_harmless([trained[i] for i in sorted(trained)])
        expected = threshold if threshold < size else None
        assert (None if found is None else sorted(trained)[found]) == expected


def test_right_prediction_needs_two_trainings() -> None:
    truth = curve([0.4, 0.3, 0.2, 0.1, 0.005, 0.0, 0.0])
    assert sorted(search(truth, truth)) == [3, 4]


def test_prediction_that_is_shifted_costs_half_of_a_sweep_at_most() -> None:
    truth = curve([0.5, 0.4, 0.3, 0.2, 0.1, 0.005, 0.002, 0.001, 0.0, 0.0])
    predicted = curve([0.2, 0.1, 0.005, 0.002, 0.001, 0.0, 0.0, 0.0, 0.0, 0.0])
    trained = search(truth, predicted)
    assert {4, 5} <= trained.keys()
    assert len(trained) <= 5


def test_harmless_plain_training_asks_for_the_smallest_lambda_alone() -> None:
    truth = curve([0.0, 0.0, 0.0])
    assert list(search(truth, truth, plain=point(0.0, 0.005, -1.0))) == [0]


def kept(truth: list[Measured], predicted: list[Measured], keep: float = 0.8) -> dict[int, Measured]:
    """The search with a share of the gain that must stay."""
    trained: dict[int, Measured] = {}
    while (index := next_to_train(predicted, trained, plain=PLAIN, keep=keep)) is not None:
        assert index not in trained
        trained[index] = truth[index]
    return trained


def test_search_ends_between_harm_and_too_little_gain() -> None:
    truth = [point(10.0**i, 0.4 - 0.02 * i, -1.0 + 0.05 * i) for i in range(13)]
    trained = kept(truth, truth)
    assert sorted(trained)[0] == 4
    assert len(trained) <= 4
    assert choose(list(trained.values()), plain=PLAIN, keep=0.8).lambda_ is None


def test_harm_that_no_lambda_holds_does_not_hide_a_smaller_one() -> None:
    """Rows of new labels cost the prior months something at every lambda; their narrow interval shows it late."""
    harm = [(0.3, 0.1), (0.2, 0.1), (0.05, 0.07), (0.02, 0.03), (0.014, 0.01), (0.016, 0.008), (0.016, 0.008)]
    gain = [-1.0, -0.99, -0.97, -0.9, -0.65, -0.6, -0.57]
    truth = [point(10.0**i, h, g, width=w) for i, ((h, w), g) in enumerate(zip(harm, gain, strict=True))]
    predicted = [point(10.0**i, 0.3, -1.0 + 0.01 * i) for i in range(7)]
    trained = kept(truth, predicted)
    assert choose(list(trained.values()), plain=PLAIN, keep=0.8).lambda_ in (10.0**2, 10.0**3)


def test_two_trained_points_say_how_fast_harm_falls() -> None:
    harm = [0.4 * 0.7**i for i in range(20)]
    truth = [point(10.0**i, value, -0.9, width=0.02) for i, value in enumerate(harm)]
    predicted = curve([0.4 * 0.1**i for i in range(20)])
    trained: dict[int, Measured] = {}
    while (index := next_to_train(predicted, trained, plain=PLAIN)) is not None:
        trained[index] = truth[index]
    assert first_harmless(truth) == 9
    assert {8, 9} <= trained.keys()
    assert len(trained) <= 6
