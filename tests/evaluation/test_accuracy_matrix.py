"""The month by golden set table."""

from pipeline.evaluation.accuracy_matrix import accuracy_matrix
from pipeline.evaluation.golden import GoldenRow, GoldenSet
from pipeline.evaluation.scorecard import GoldenScore, score, scorecard


def scored(name: str, right: int) -> GoldenScore:
    golden = GoldenSet(name, tuple(GoldenRow(str(i), f"t{i}", "a", "") for i in range(10)))
    return score(golden, None, ["a"] * right + ["b"] * (10 - right), confidence=0.95)


def test_rows_are_months_and_columns_are_golden_sets() -> None:
    matrix = accuracy_matrix(
        {
            "2026-01": scorecard(scored("2026-01", 9), [], confidence=0.95),
            "2026-02": scorecard(scored("2026-02", 8), [scored("2026-01", 7)], confidence=0.95),
        }
    )
    assert matrix.months == ("2026-01", "2026-02")
    assert matrix.golden_sets == ("2026-01", "2026-02")
    assert matrix.accuracies == ((90.0, None), (70.0, 80.0))


def test_no_scorecards_make_an_empty_table() -> None:
    assert accuracy_matrix({}).accuracies == ()
