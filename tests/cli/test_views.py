"""Accuracy matrices as text: all of them where they fit, and what tells the most where there are years of them."""

from cli.views import matrix_text
from pipeline.evaluation.accuracy_matrix import AccuracyMatrix
from pipeline.months import Month


def matrix(months: int) -> AccuracyMatrix:
    """Model i answers golden set j, up to its own month, with 90 - (i - j) points."""
    names = tuple(str(Month(2026, 1).shifted(i)) for i in range(months))
    rows = tuple(tuple(90.0 - (i - j) if j <= i else None for j in range(months)) for i in range(months))
    return AccuracyMatrix(names, names, rows)


def test_a_few_golden_sets_are_all_shown() -> None:
    lines = matrix_text(matrix(8)).splitlines()
    assert lines[0].split() == ["model", "of", *matrix(8).golden_sets]
    assert lines[-1].split() == ["2026-08", *(f"{83.0 + j:.2f}" for j in range(8))]
    assert len(lines) == 9


def test_of_three_years_the_launch_the_mean_between_and_the_newest_are_shown() -> None:
    lines = matrix_text(matrix(37)).splitlines()
    newest = [str(Month(2028, 8).shifted(i)) for i in range(6)]
    assert lines[0].split() == ["model", "of", "2026-01", "mean", *newest]
    mean = sum(54.0 + j for j in range(1, 31)) / 30
    assert lines[37].split() == ["2029-01", "54.00", f"{mean:.2f}", *(f"{85.0 + j:.2f}" for j in range(6))]
    assert lines[1].split() == ["2026-01", "90.00", *"-------"]
    assert lines[3].split() == ["2026-03", "88.00", "89.50", *"------"]  # of the two that it was scored on
    assert "30 golden sets 2026-02 to 2028-07" in lines[38]
    assert "retrain status --json" in lines[38]
    assert max(map(len, lines[:38])) <= 80
