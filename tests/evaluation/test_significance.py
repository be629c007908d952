"""McNemar's exact test and the paired interval, against published figures and by enumeration."""

from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.significance import (
    detectable_drop,
    loss_p_value,
    mcnemar_exact,
    paired_difference_interval,
    rate_p_value,
    rows_needed,
    total_interval,
)


def test_mcnemar_is_one_when_no_row_changed() -> None:
    assert mcnemar_exact(0, 0) == 1.0


@pytest.mark.parametrize(("lost", "gained"), [(1, 0), (0, 6), (3, 9), (5, 5), (40, 12)])
def test_mcnemar_is_the_doubled_binomial_tail(lost: int, gained: int) -> None:
    changed = lost + gained
    tail = sum(comb(changed, k) for k in range(min(lost, gained) + 1)) / 2**changed
    assert mcnemar_exact(lost, gained) == pytest.approx(min(1.0, 2 * tail), rel=1e-12)


def test_mcnemar_refuses_negative_counts() -> None:
    with pytest.raises(ValueError, match="negative"):
        mcnemar_exact(-1, 3)


def test_interval_matches_the_published_bronchial_hyperreactivity_example() -> None:
    # Fagerland, Lydersen and Laake 2014, table 1: 21 children, 7 changed one way and 1 the other;
    # Tango's interval is given as -0.517 to -0.026.
    low, high = paired_difference_interval(21, lost=7, gained=1)
    assert low == pytest.approx(-51.7, abs=0.05)
    assert high == pytest.approx(-2.6, abs=0.05)


@pytest.mark.parametrize("n", [1, 50, 540])
def test_interval_without_a_changed_row_has_the_closed_form_width(n: int) -> None:
    z2 = 3.841458820694124
    low, high = paired_difference_interval(n, 0, 0)
    assert high == pytest.approx(100 * z2 / (n + z2), rel=1e-9)
    assert low == -high


def test_interval_of_a_total_change_reaches_the_end_of_the_range() -> None:
    low, high = paired_difference_interval(10, lost=0, gained=10)
    assert high == 100.0
    assert 0 < low < 100


@given(st.integers(1, 400), st.data())
def test_interval_holds_the_estimate_and_mirrors_when_the_models_swap(n: int, data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, n))
    gained = data.draw(st.integers(0, n - lost))
    low, high = paired_difference_interval(n, lost, gained)
    assert -100 <= low <= 100 * (gained - lost) / n <= high <= 100
    assert paired_difference_interval(n, gained, lost) == (-high, -low)


@given(st.integers(20, 400), st.data())
def test_interval_excludes_zero_exactly_when_the_score_test_rejects(n: int, data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, n))
    gained = data.draw(st.integers(0, n - lost))
    low, high = paired_difference_interval(n, lost, gained)
    rejected = (gained - lost) ** 2 > 3.841458820694124 * (lost + gained)
    assert (low > 0 or high < 0) == rejected


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    n, p_lost, p_gained = 60, 0.08, 0.05
    covered = 0.0
    for lost, gained in product(range(25), range(25)):
        chance = (
            comb(n, lost)
            * comb(n - lost, gained)
            * p_lost**lost
            * p_gained**gained
            * (1 - p_lost - p_gained) ** (n - lost - gained)
        )
        low, high = paired_difference_interval(n, lost, gained)
        covered += chance * (low <= 100 * (p_gained - p_lost) <= high)
    assert 0.935 < covered < 0.97


def test_a_higher_confidence_widens_the_interval() -> None:
    low95, high95 = paired_difference_interval(200, 9, 4)
    low99, high99 = paired_difference_interval(200, 9, 4, confidence=0.99)
    assert low99 < low95 < high95 < high99


@pytest.mark.parametrize(("n", "lost", "gained"), [(0, 0, 0), (5, 3, 3), (5, -1, 0)])
def test_interval_refuses_counts_that_do_not_fit(n: int, lost: int, gained: int) -> None:
    with pytest.raises(ValueError, match="expected n >= 1"):
        paired_difference_interval(n, lost, gained)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_interval_refuses_a_confidence_outside_zero_to_one(confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        paired_difference_interval(10, 1, 1, confidence)


def test_total_interval_of_one_set_is_the_one_of_its_mean() -> None:
    parts = [0.01 * value for value in (1, 0, 0, -1, 0, 1, 1, 0, 0, 0)]
    low, high = total_interval([parts])
    error = 0.01 * (10 * 0.4) ** 0.5  # ten rows, sample variance 0.4
    assert (low + high) / 2 == pytest.approx(0.02)
    assert (high - low) / 2 == pytest.approx(1.959963984540054 * error)


def test_total_interval_adds_sets_that_were_drawn_apart() -> None:
    low, high = total_interval([[1.0, 0.0], [1.0, 0.0]])
    alone = total_interval([[1.0, 0.0]])
    assert (high - low) == pytest.approx(2**0.5 * (alone[1] - alone[0]))
    assert total_interval([[0.0, 0.0], [0.0]]) == (0.0, 0.0)


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (0, 5), (5, 0), (7, 3), (3, 7), (40, 20)])
@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_the_one_sided_p_value_of_equal_weights_is_the_binomial_tail(
    lost: int, gained: int, weight: float
) -> None:
    n = lost + gained
    tail = sum(comb(n, k) for k in range(lost, n + 1)) / 2**n
    assert loss_p_value([weight] * lost, [weight] * gained) == pytest.approx(tail)


def test_the_one_sided_p_value_is_the_share_of_all_signs_that_look_as_bad() -> None:
    lost, gained = [0.9, 0.5, 0.24], [0.3, 0.12]
    weights = [*lost, *gained]
    sums = [sum(w for w, on in zip(weights, signs, strict=True) if on) for signs in product((0, 1), repeat=5)]
    as_bad = sum(total >= sum(lost) - 1e-9 for total in sums) / len(sums)
    assert loss_p_value(lost, gained) == pytest.approx(as_bad)


def test_sure_rows_that_were_lost_beside_wavering_ones_are_seen_sooner() -> None:
    wavering = [0.2] * 7
    assert loss_p_value([0.5] * 14 + wavering, wavering) < 0.1 * loss_p_value([1.0] * 21, [1.0] * 7)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.02, 1.0), max_size=30), st.integers(0, 30))
def test_the_one_sided_p_value_of_chance_alone_is_seldom_small(weights: list[float], seed: int) -> None:
    """Of all signs of these weights, a share of at most 0.1 has p <= 0.1."""
    draw = np.random.default_rng(seed)
    small = 0
    for _ in range(200):
        is_lost = draw.random(len(weights)) < 0.5
        lost = [w for w, on in zip(weights, is_lost, strict=True) if on]
        gained = [w for w, on in zip(weights, is_lost, strict=True) if not on]
        small += loss_p_value(lost, gained) <= 0.1
    assert small <= 20 + 5 * (200 * 0.1 * 0.9) ** 0.5


@pytest.mark.parametrize("weight", [0.0, -0.1, 1.1, float("nan")])
def test_the_one_sided_p_value_refuses_weights_out_of_range(weight: float) -> None:
    with pytest.raises(ValueError, match="expected more than 0 and at most 1"):
        loss_p_value([weight], [0.5])


def test_the_rate_p_value_is_the_binomial_tail() -> None:
    tail = sum(comb(12, k) * 0.25**k * 0.75 ** (12 - k) for k in range(8, 13))
    assert rate_p_value(8, 12, 0.25) == pytest.approx(tail)
    assert rate_p_value(0, 12, 0.25) == 1.0


@pytest.mark.parametrize(
    ("n", "churn", "chance"), [(700, 0.01, 0.0133), (216, 0.03, 0.01), (2592, 0.01, 0.003)]
)
def test_the_detectable_drop_is_seen_about_nine_times_in_ten(n: int, churn: float, chance: float) -> None:
    draws = np.random.default_rng(0)
    drop = detectable_drop(n, churn * n, chance) / 100
    lost, gained = draws.binomial(n, churn + drop, 3000), draws.binomial(n, churn, 3000)
    seen = np.mean(
        [loss_p_value([1.0] * int(x), [1.0] * int(y)) <= chance for x, y in zip(lost, gained, strict=True)]
    )
    # a normal approximation of a discrete test
    assert 0.83 <= seen <= 0.97


@pytest.mark.parametrize("share", [0.0, 0.0025, 0.01])
def test_so_many_rows_as_are_needed_show_the_drop(share: float) -> None:
    n = rows_needed(2.0, share, 0.005)
    assert detectable_drop(n, share * n, 0.005) <= 2.0
    assert detectable_drop(n - 1, share * (n - 1), 0.005) > 2.0
