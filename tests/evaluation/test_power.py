"""What the golden rows are able to show."""

from dataclasses import replace

from pipeline.evaluation.gate import GateLimits, judge
from pipeline.evaluation.golden import GoldenRow, GoldenSet
from pipeline.evaluation.power import power_of
from pipeline.evaluation.scorecard import Scorecard, score, scorecard


def card(rows: int, lost: int, labels: int = 10) -> Scorecard:
    """A scorecard of one prior set whose first rows are lost, surely, and of which no row was gained."""
    names = [f"label {i % labels}" for i in range(rows)]
    golden = GoldenSet("2026-01", tuple(GoldenRow(str(i), f"t{i}", name, "") for i, name in enumerate(names)))
    after = ["wrong"] * lost + names[lost:]
    sure = [(0.64, 0.64)] * rows
    prior = score(golden, names, after, confidence=0.95, probabilities=sure)
    return scorecard(None, [prior], confidence=0.95)


def test_the_drop_that_is_shown_is_refused_and_a_third_of_it_is_not() -> None:
    limits = GateLimits(max_label_drop=100)
    power = power_of(card(700, 0), limits)
    assert power is not None
    rows = round(power.shown * 7)
    refused = {
        lost: not judge(card(700, lost), limits, worn=card(700, 0), own_required=False).passed
        for lost in (rows, rows // 3)
    }
    assert refused == {rows: True, rows // 3: False}


def test_more_rows_show_a_smaller_drop_and_what_is_needed_shows_what_is_allowed() -> None:
    few, many = (power_of(card(rows, 0), GateLimits()) for rows in (216, 2160))
    assert few is not None
    assert many is not None
    assert many.shown < few.shown
    assert few.needed >= 2160
    assert "216 prior golden rows show a drop of" in few.text
    assert f"; {few.needed:,} rows would show 0.5, which is allowed" in few.text


def test_labels_with_too_few_rows_to_show_a_loss_are_named() -> None:
    power = power_of(card(40, 0), GateLimits())
    assert power is not None
    assert power.per_label > 4
    assert len(power.thin) == 10
    assert f"10 of 10 labels have fewer than the {power.per_label} rows" in power.text
    enough = power_of(card(200, 0), GateLimits())
    assert enough is not None
    assert enough.thin == ()


def test_of_so_many_rows_of_a_label_all_must_be_lost_to_refuse() -> None:
    power = power_of(card(200, 0), GateLimits())
    assert power is not None
    rows = [GoldenRow(str(i), f"t{i}", "x" if i < power.per_label else f"z{i % 9}", "") for i in range(200)]
    labels = [row.label for row in rows]
    lost = ["y" if label == "x" else label for label in labels]
    limits = replace(GateLimits(), max_drop=50, max_drift=50)
    for answers, passes in ((lost, False), (["x", *lost[1:]], True)):
        item = score(GoldenSet("2026-01", tuple(rows)), labels, answers, confidence=0.95)
        verdict = judge(scorecard(None, [item], confidence=0.95), limits, own_required=False)
        assert verdict.passed == passes


def test_without_a_model_before_nothing_can_be_said() -> None:
    golden = GoldenSet("2026-01", (GoldenRow("1", "t", "a", ""),))
    alone = scorecard(None, [score(golden, None, ["a"], confidence=0.95)], confidence=0.95)
    assert power_of(alone, GateLimits()) is None
