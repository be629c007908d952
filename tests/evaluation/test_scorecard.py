"""Scores, slices, flips and the pooled comparison."""

import json
from dataclasses import asdict

import pytest

from pipeline.errors import ArtifactCorrupt
from pipeline.evaluation.golden import GoldenRow, GoldenSet
from pipeline.evaluation.scorecard import Comparison, Flip, score, scorecard, scorecard_from_record
from pipeline.evaluation.significance import mcnemar_exact, paired_difference_interval

GOLDEN = GoldenSet(
    "2026-02",
    (
        GoldenRow("a", "reset it", "password", "settled"),
        GoldenRow("b", "no wifi", "wifi", "settled"),
        GoldenRow("c", "passkey gone", "password", "drifted"),
        GoldenRow("d", "token lost", "token", ""),
    ),
)
BEFORE = ["password", "wifi", "wifi", "wifi"]
AFTER = ["password", "vpn", "password", "token"]


def test_overall_counts_accuracy_and_flips_both_ways() -> None:
    overall = score(GOLDEN, BEFORE, AFTER, confidence=0.95).overall
    low, high = paired_difference_interval(4, 1, 2)
    assert overall == Comparison(4, 50.0, 75.0, 25.0, low, high, mcnemar_exact(1, 2), 1, 2)


def test_slices_hold_their_own_rows_and_leave_out_rows_without_one() -> None:
    slices = score(GOLDEN, BEFORE, AFTER, confidence=0.95).slices
    assert sorted(slices) == ["drifted", "settled"]
    assert (slices["settled"].n, slices["settled"].difference) == (2, -50.0)
    assert (slices["drifted"].n, slices["drifted"].difference) == (1, 100.0)


def test_flips_name_set_row_label_and_both_answers() -> None:
    flips = score(GOLDEN, BEFORE, AFTER, confidence=0.95).flips
    assert flips[0] == Flip("2026-02", "b", "settled", "wifi", "wifi", "vpn")
    assert [flip.is_loss for flip in flips] == [True, False, False]


def test_a_wrong_answer_that_becomes_another_wrong_answer_is_no_flip() -> None:
    item = score(GOLDEN, ["x"] * 4, ["y"] * 4, confidence=0.95)
    assert item.flips == ()
    assert (item.overall.difference, item.overall.p) == (0.0, 1.0)


def test_without_a_model_before_only_the_accuracy_after_is_known() -> None:
    item = score(GOLDEN, None, AFTER, confidence=0.95)
    assert item.overall == Comparison(4, None, 75.0, None, None, None, None, 0, 0)
    assert item.slices["settled"].accuracy_after == 50.0
    assert item.flips == ()


def test_an_empty_golden_set_has_no_accuracy() -> None:
    item = score(GoldenSet("2026-02", ()), [], [], confidence=0.95)
    assert item.overall == Comparison(0, None, None, None, None, None, None, 0, 0)
    assert item.slices == {}


def test_predictions_must_cover_every_row() -> None:
    with pytest.raises(ValueError, match="3 predictions after for 4 rows"):
        score(GOLDEN, BEFORE, AFTER[:3], confidence=0.95)


def test_pooling_counts_rows_and_not_sets() -> None:
    small = GoldenSet("2026-01", GOLDEN.rows[:1])
    card = scorecard(
        None,
        [
            score(small, ["password"], ["vpn"], confidence=0.95),
            score(GOLDEN, BEFORE, AFTER, confidence=0.95),
        ],
        confidence=0.95,
    )
    assert card.pooled is not None
    assert (card.pooled.n, card.pooled.right_to_wrong, card.pooled.wrong_to_right) == (5, 2, 2)
    assert (card.pooled.accuracy_before, card.pooled.accuracy_after) == (60.0, 60.0)
    assert (card.pooled.low, card.pooled.high) == paired_difference_interval(5, 2, 2)


def test_pooling_survives_accuracies_that_are_no_round_numbers() -> None:
    rows = tuple(GoldenRow(str(i), f"t{i}", "a", "") for i in range(7))
    sevenths = score(GoldenSet("x", rows), ["a"] * 7, ["a"] * 5 + ["b"] * 2, confidence=0.9)
    card = scorecard(None, [sevenths] * 3, confidence=0.9)
    assert card.pooled is not None
    assert card.pooled.accuracy_after == 100 * 15 / 21


def test_without_prior_sets_nothing_is_pooled() -> None:
    assert scorecard(score(GOLDEN, None, AFTER, confidence=0.95), [], confidence=0.95).pooled is None


def test_an_empty_set_among_the_prior_ones_does_not_hide_the_others() -> None:
    empty = score(GoldenSet("2026-01", ()), [], [], confidence=0.95)
    card = scorecard(None, [empty, score(GOLDEN, BEFORE, AFTER, confidence=0.95)], confidence=0.95)
    assert card.pooled is not None
    assert card.pooled.difference == 25.0


def test_a_scorecard_lists_flips_of_all_sets_prior_first() -> None:
    prior = score(GOLDEN, BEFORE, AFTER, confidence=0.95)
    own = score(GoldenSet("2026-03", GOLDEN.rows), BEFORE, AFTER, confidence=0.95)
    card = scorecard(own, [prior], confidence=0.95)
    assert [flip.golden for flip in card.flips] == ["2026-02"] * 3 + ["2026-03"] * 3


def test_a_scorecard_comes_back_from_json_as_it_was() -> None:
    item = score(GOLDEN, BEFORE, AFTER, confidence=0.95)
    card = scorecard(item, [item], confidence=0.95)
    assert scorecard_from_record(json.loads(json.dumps(asdict(card))), where="scorecard.json") == card


def test_a_damaged_scorecard_names_the_key() -> None:
    record = asdict(scorecard(score(GOLDEN, BEFORE, AFTER, confidence=0.95), [], confidence=0.95))
    record["own"]["overall"]["n"] = "many"
    with pytest.raises(ArtifactCorrupt, match=r"scorecard.json: own.overall.n: "):
        scorecard_from_record(record, where="scorecard.json")
