"""The gate refuses what it says it refuses, and tells every check."""

import random
from dataclasses import replace

import pytest

from pipeline.evaluation.gate import Check, GateLimits, Verdict, judge
from pipeline.evaluation.golden import GoldenRow, GoldenSet
from pipeline.evaluation.scorecard import GoldenScore, Scorecard, comparison_of_counts, score, scorecard


def changed(name: str, n: int, *, lost: int = 0, gained: int = 0) -> GoldenScore:
    """A golden score of n rows of which the first are lost and the last gained."""
    golden = GoldenSet(name, tuple(GoldenRow(str(i), f"text {i}", "right", "") for i in range(n)))
    before = ["right"] * (n - gained) + ["wrong"] * gained
    after = ["wrong"] * lost + ["right"] * (n - lost)
    return score(golden, before, after, confidence=0.95)


def card(own: GoldenScore | None, *prior: GoldenScore) -> Scorecard:
    return scorecard(own, prior, confidence=0.95)


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


def test_a_candidate_that_keeps_and_gains_passes_every_check() -> None:
    verdict = judge(card(changed("2026-02", 200, gained=20), changed("2026-01", 200)), GateLimits())
    assert verdict.passed
    assert verdict.reasons == ()
    assert [check.name for check in verdict.checks] == ["present", "rows", "rows", "pooled", "label", "gain"]


def test_a_drop_refuses_where_chance_does_not_explain_it() -> None:
    own = changed("2026-02", 200, gained=20)
    by_chance = judge(card(own, changed("2026-01", 200, lost=6)), GateLimits())
    assert by_chance.passed  # 1/2^6 = 0.0156, above (4 + 1) / 7 of 0.016
    (told,) = (check.text for check in by_chance.checks if check.name == "pooled")
    assert "p = 0.016, above 0.011 (a drop of 6.8 would be seen nine times in ten)" in told
    assert told.endswith(": these rows cannot tell it from chance")
    refused = judge(card(own, changed("2026-01", 200, lost=7)), GateLimits())
    assert failed(refused) == ["pooled"]
    assert "100.00 -> 96.50 (-3.50, 95% interval" in refused.reasons[0]
    assert "7 rows lost and 0 gained come by chance with p = 0.0078" in refused.reasons[0]


def test_a_sure_drop_of_no_more_than_the_limit_passes() -> None:
    own = changed("2026-02", 200, gained=20)
    many = changed("2026-01", 2000, lost=10)
    assert judge(card(own, many), GateLimits(max_drop=0.5)).passed
    assert failed(judge(card(own, many), GateLimits(max_drop=0.49))) == ["pooled"]


def test_what_the_rows_cannot_tell_refuses_where_it_is_asked_to() -> None:
    own = changed("2026-02", 200, gained=20)
    verdict = judge(card(own, changed("2026-01", 200, lost=2)), GateLimits(unsure="refuse"))
    assert failed(verdict) == ["pooled"]
    assert verdict.reasons[0].endswith("cannot tell it from chance; gate.unsure is refuse")


def test_gains_on_rows_that_could_not_be_lost_do_not_make_good_a_loss() -> None:
    """The champion lacked the labels of the later set; what it lost of the first one counts alone."""
    first, later = changed("2026-01", 300, lost=12), changed("2026-02", 300, gained=40)
    own = changed("2026-03", 100, gained=5)
    assert "pooled" not in failed(judge(card(own, first, later), GateLimits()))
    assert failed(judge(card(own, first, later), GateLimits(), held=card(None, first))) == ["pooled"]


def test_small_drops_that_add_up_are_seen_beside_the_reference() -> None:
    held = card(None, changed("2026-01", 700, lost=3, gained=1), changed("2026-02", 700, lost=2))
    worn = card(None, changed("2026-01", 700, lost=14, gained=1), changed("2026-02", 700, lost=9))
    own = changed("2026-03", 100, gained=5)
    assert judge(card(own, *held.prior), GateLimits(), held=held).passed
    verdict = judge(card(own, *held.prior), GateLimits(), held=held, worn=worn)
    assert set(failed(verdict)) == {"drift"}
    assert verdict.reasons[0].startswith("all prior golden rows beside their reference: ")
    assert judge(card(own, *held.prior), GateLimits(max_drift=3), held=held, worn=worn).passed


@pytest.mark.parametrize("sets", [1, 12])
@pytest.mark.parametrize("churn", [0.01, 0.03])
def test_a_candidate_that_lost_nothing_is_refused_no_more_often_than_stated(sets: int, churn: float) -> None:
    draw, refused, years = random.Random(0), 0, 300
    limits = GateLimits(max_drop=0.0, false_refusals=0.1)
    for _ in range(years):
        scores = []
        for index in range(sets + 1):
            lost, gained = (sum(draw.random() < churn for _ in range(216)) for _ in range(2))
            overall = comparison_of_counts(216, 200, 200 - lost + gained, lost, gained, 0.95)
            scores.append(GoldenScore(f"set {index}", overall, {}, ()))
        refused += not judge(card(scores[0], *scores[1:]), limits).passed
    # three standard errors above the stated share
    assert refused / years <= 0.1 + 3 * (0.1 * 0.9 / years) ** 0.5


def test_rows_that_waver_count_less_than_rows_that_were_sure() -> None:
    own, prior = changed("2026-02", 200, gained=20), changed("2026-01", 200, lost=12, gained=5)
    assert judge(card(own, prior), GateLimits()).passed

    def weighed(lost: float, gained: float) -> GoldenScore:
        flips = [
            replace(flip, probability_before=0.8, probability_after=lost if flip.is_loss else gained)
            for flip in prior.flips
        ]
        return replace(prior, flips=tuple(flips))

    assert judge(card(own, weighed(lost=0.8, gained=0.8)), GateLimits()).passed
    assert failed(judge(card(own, weighed(lost=0.8, gained=0.2)), GateLimits())) == ["pooled"]


def labelled(name: str, before: str, after: str, slices: str = "") -> GoldenScore:
    """A golden score of rows of the label x, answered x or y, and 100 rows of other labels that stay."""
    rest = [f"z{i % 10}" for i in range(100)]
    labels, parts = ["x"] * len(before) + rest, [*slices.ljust(len(before), "-"), *"-" * 100]
    rows = [
        GoldenRow(str(i), f"text {i}", label, part)
        for i, (label, part) in enumerate(zip(labels, parts, strict=True))
    ]
    return score(GoldenSet(name, tuple(rows)), [*before, *rest], [*after, *rest], confidence=0.95)


def test_a_label_that_collapsed_refuses_though_the_pool_holds() -> None:
    own = changed("2026-02", 200, gained=20)
    collapsed = labelled("2026-01", "x" * 8, "y" * 8)
    verdict = judge(card(own, collapsed), GateLimits(max_drop=50, max_drift=50))
    assert failed(verdict) == ["label"]
    assert verdict.reasons == (
        "label 'x': 8 -> 0 right of 8 prior golden rows; a drop of 25 points is allowed, and this is surely more",
    )
    assert judge(card(own, collapsed), GateLimits(max_drop=50, max_label_drop=100)).passed


def test_a_label_that_lost_some_rows_is_told_and_does_not_refuse() -> None:
    own = changed("2026-02", 200, gained=20)
    verdict = judge(card(own, labelled("2026-01", "xxxx", "xxyy")), GateLimits())
    assert verdict.passed
    assert (
        Check(
            "label",
            True,
            "label 'x': 4 -> 2 right of 4 prior golden rows; a drop of 25 points is allowed; "
            "no label lost a larger share",
        )
        in verdict.checks
    )


def test_a_slice_has_its_own_limit() -> None:
    own = changed("2026-02", 200, gained=20)
    prior = labelled("2026-01", "x" * 12 + "y" * 10, "y" * 12 + "x" * 10, slices="v" * 12)
    lenient = GateLimits(max_label_drop=100)
    assert judge(card(own, prior), lenient).passed
    verdict = judge(card(own, prior), replace(lenient, slices={"v": 1.0}))
    assert failed(verdict) == ["slice"]
    assert verdict.reasons[0].startswith("slice 'v' of the prior golden rows: 100.00 -> 0.00")
    absent = judge(card(own, prior), replace(lenient, slices={"w": 1.0}))
    assert absent.reasons == ("slice 'w': no prior golden row belongs to it",)
    assert (verdict.refused_for_losses, absent.refused_for_losses) == (True, False)


def test_a_small_sets_drop_within_chance_does_not_refuse_when_the_pool_holds() -> None:
    prior = (changed("2026-01", 60, lost=1), changed("2026-02", 400, gained=1))
    assert judge(card(changed("2026-03", 100, gained=5), *prior), GateLimits()).passed


def test_a_set_that_surely_dropped_refuses_though_the_pool_holds() -> None:
    prior = (changed("2026-01", 100, lost=12), changed("2026-02", 400, gained=12))
    verdict = judge(card(changed("2026-03", 100, gained=5), *prior), GateLimits())
    assert failed(verdict) == ["prior"]
    assert verdict.reasons[0].startswith("golden set 2026-01: 100.00 -> 88.00")


def test_a_set_with_too_few_rows_of_known_labels_refuses_and_names_what_is_lacking() -> None:
    scores = card(changed("2026-02", 60), changed("2026-01", 60))
    assert judge(scores, GateLimits(), unknown={"2026-01": ["Right"] * 10}).passed
    verdict = judge(scores, GateLimits(), unknown={"2026-01": ["Right"] * 10 + ["b"]})
    assert verdict.reasons == (
        "golden set 2026-01: 60 rows, 49 of them with a label that the candidate knows (it lacks 'Right', 'b'), "
        "at least 50 needed",
    )


def test_a_gain_below_the_minimum_refuses() -> None:
    verdict = judge(
        card(changed("2026-02", 200, gained=3), changed("2026-01", 200)), GateLimits(min_gain=9.0)
    )
    assert failed(verdict) == ["gain"]
    assert "it is surely below" in verdict.reasons[0]


def test_a_gain_of_exactly_the_minimum_passes() -> None:
    own = changed("2026-02", 300, gained=1)
    assert judge(card(own, changed("2026-01", 200)), GateLimits(min_gain=100 / 300)).passed


def test_a_loss_on_the_own_month_refuses_when_it_is_sure() -> None:
    prior = changed("2026-01", 200)
    assert judge(card(changed("2026-02", 200, lost=1), prior), GateLimits()).passed
    verdict = judge(card(changed("2026-02", 200, lost=12), prior), GateLimits())
    assert failed(verdict) == ["gain"]


def test_a_missing_golden_set_refuses_and_is_named() -> None:
    verdict = judge(
        card(changed("2026-03", 200, gained=9), changed("2026-01", 200)), GateLimits(), missing=["2026-02"]
    )
    assert failed(verdict) == ["present"]
    assert verdict.reasons == ("golden set 2026-02: missing",)


def test_no_prior_golden_set_refuses() -> None:
    assert failed(judge(card(changed("2026-02", 200, gained=9)), GateLimits())) == ["present"]


def test_the_months_own_golden_set_is_required_unless_only_prior_months_were_asked_about() -> None:
    only_prior = card(None, changed("2026-01", 200))
    assert failed(judge(only_prior, GateLimits())) == ["present"]
    assert judge(only_prior, GateLimits(), own_required=False).passed


def test_a_golden_set_with_too_few_rows_refuses() -> None:
    verdict = judge(card(changed("2026-02", 49, gained=9), changed("2026-01", 50)), GateLimits(min_rows=50))
    assert failed(verdict) == ["rows"]
    assert verdict.reasons == ("golden set 2026-02: 49 rows, at least 50 needed",)


@pytest.mark.parametrize("min_rows", [0, 50])
def test_an_empty_golden_set_never_passes(min_rows: int) -> None:
    limits = GateLimits(min_rows=min_rows)
    assert failed(judge(card(changed("2026-02", 0), changed("2026-01", 200)), limits)) == ["rows"]
    assert failed(judge(card(changed("2026-02", 200), changed("2026-01", 0)), limits)) == ["rows"]


def test_a_set_without_a_model_before_refuses() -> None:
    golden = GoldenSet("2026-01", tuple(GoldenRow(str(i), f"t{i}", "a", "") for i in range(60)))
    alone = score(golden, None, ["a"] * 60, confidence=0.95)
    verdict = judge(card(changed("2026-02", 200), alone), GateLimits())
    assert failed(verdict) == ["rows"]
    assert "no model before" in verdict.reasons[0]


def test_another_confidence_than_the_limits_ask_for_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"confidence is 0\.95, the gate asks for 0\.9"):
        judge(card(changed("2026-02", 60), changed("2026-01", 60)), GateLimits(confidence=0.9))


def test_checks_that_held_are_told_too() -> None:
    verdict = judge(card(changed("2026-02", 200, gained=20), changed("2026-01", 200)), GateLimits())
    assert Check("present", True, "every golden set is there: 2026-01, 2026-02") in verdict.checks
    assert verdict.checks[-1].text.startswith(
        "golden set 2026-02 (the month itself): 90.00 -> 100.00 (+10.00"
    )
