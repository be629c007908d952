"""Results as text: scorecards, verdicts and matrices in columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.render import points, table

if TYPE_CHECKING:
    from pipeline.evaluation.accuracy_matrix import AccuracyMatrix
    from pipeline.evaluation.gate import Verdict
    from pipeline.evaluation.scorecard import Comparison, Scorecard

SHOWN_LABELS = 3
"""Labels that lost the most."""


def scorecard_text(card: Scorecard) -> str:
    """One line per golden set and slice: n, accuracy before and after, difference with interval, p, flips; then the
    labels that lost the most."""
    rows = []
    for golden in card.scores:
        rows.append(_row(golden.name, "all", golden.overall))
        rows += [_row("", name, item) for name, item in golden.slices.items()]
    if card.pooled is not None and len(card.prior) > 1:
        rows.append(_row("prior, pooled", "all", card.pooled))
    percent = f"{100 * card.confidence:g}% interval"
    header = ["golden set", "slice", "n", "before", "after", "change", percent, "p", "right>wrong"]
    return "\n".join([table(header, rows, left=2), *_beyond_accuracy(card)])


def _beyond_accuracy(card: Scorecard) -> list[str]:
    lines = []
    if card.quality is not None:
        q = card.quality
        lines.append(
            f"prior rows: macro-F1 {points(q.macro_f1_before)} -> {points(q.macro_f1_after)}, calibration error "
            f"{points(q.calibration_error_before)} -> {points(q.calibration_error_after)}"
        )
    lines += [f"label {name!r}: {item}" for name, item in card.worst_labels[:SHOWN_LABELS]]
    return lines


def _row(name: str, part: str, item: Comparison) -> list[str]:
    interval = (
        "-" if item.low is None else f"{points(item.low, signed=True)} to {points(item.high, signed=True)}"
    )
    return [
        name,
        part,
        str(item.n),
        points(item.accuracy_before),
        points(item.accuracy_after),
        points(item.difference, signed=True),
        interval,
        "-" if item.p is None else f"{item.p:.2g}",
        str(item.right_to_wrong),
    ]


def verdict_text(verdict: Verdict) -> str:
    """The gate's answer and each check with its figures."""
    lines = ["gate: passed" if verdict.passed else "gate: refused"]
    lines += [f"  {'ok     ' if check.passed else 'REFUSED'} {check.text}" for check in verdict.checks]
    return "\n".join(lines)


SHOWN_SETS = 8
"""Columns of accuracies that fit on 80 characters."""


def matrix_text(matrix: AccuracyMatrix) -> str:
    """Models in rows, golden sets in columns; of many sets the first, the mean of those between, and the newest."""
    head, lines = list(matrix.golden_sets), [list(values) for values in matrix.accuracies]
    between = range(1, len(head) - (SHOWN_SETS - 2))
    if len(head) > SHOWN_SETS:
        lines = [[line[0], _mean([line[i] for i in between]), *line[between.stop :]] for line in lines]
        head = [head[0], "mean", *head[between.stop :]]
    rows = [
        [month, *(points(value) for value in values)]
        for month, values in zip(matrix.months, lines, strict=True)
    ]
    text = table(["model of", *head], rows)
    if len(head) == len(matrix.golden_sets):
        return text
    first, last = matrix.golden_sets[1], matrix.golden_sets[between.stop - 1]
    note = f"(mean: of the {len(between)} golden sets {first} to {last}, as far as a model was scored on them; each in"
    return f"{text}\n{note} retrain status --json)"


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
