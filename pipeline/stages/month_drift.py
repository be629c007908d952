"""How a month's rows differ from the launch's and from the month before: measured at ingest, told in its summary."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.label_changes import present_rows
from pipeline.recorded.names import VALIDATION_FILE
from pipeline.recorded.rows import rows_of, training_rows
from pipeline.rows import Row
from pipeline.seeded import rank
from pipeline.stages.stage import RunContext
from pipeline.store.records import CheckpointRef

if TYPE_CHECKING:
    from pipeline.drift import LabelShift, TextShift

TEXTS_TESTED = 500
"""Of each month in a test of texts: the time of the test grows with its square."""
ROWS_OF_WORDS = 5000
"""Of the month, whose words are looked up among all of the compared month's."""
FEWEST_TEXTS = 10
"""Of fewer, a test of texts could tell next to nothing."""
MOST_NAMED = 8
"""Labels and words that the summary names."""
LARGEST_P = 0.01
"""A shift is told where it would come by chance this often, at most."""
LEAST_V = 0.1
"""Cramer's V of a shift of labels that is told: Cohen's small effect. Of many rows, less would show, too, and matter little."""
logger = logging.getLogger("retrain")


def month_drift(context: RunContext, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What a month's training rows differ in from those of the launch and of the last month of the line of descent.

    Labels are compared under their present names, without the rows of retired ones. Which texts are tested, and how they
    are permuted, follows from the rows and the configuration's seed alone.

    Args:
        rows: those that the month is trained on; their order does not matter.

    Returns:
        Records for the summary, one for each compared month; one alone where the month before is the launch, none at a
        launch. `shifts` says in words what is beyond chance.

    Raises:
        ArtifactCorrupt: a compared month's rows are not what its ingest recorded.
    """
    if not context.line:
        return []
    launch, last = context.line[0], context.line[-1]
    now = _ranked(rows, context.config.seed)
    found = [_compared(context, now, "launch", launch)]
    if last != launch:
        found.append(_compared(context, now, "month before", last))
    for record in found:
        if record["shifts"]:
            logger.info(
                "ingest: against %s (%s) the rows have %s",
                record["month"],
                record["against"],
                "; ".join(record["shifts"]),
            )
    return found


def _ranked(rows: Sequence[Row], seed: int) -> list[Row]:
    """The rows in an order that depends on the seed and each row alone."""
    return sorted(rows, key=lambda row: (rank(row.id, seed=seed, purpose="drift"), row.text, row.label))


def _compared(context: RunContext, now: Sequence[Row], against: str, ref: CheckpointRef) -> dict[str, Any]:
    from pipeline.drift import label_shift, text_shift

    seed = context.config.seed
    attempt = context.workspace.attempt(ref.attempt)
    recorded = training_rows(attempt)
    changes = context.label_changes
    before = _ranked(present_rows(recorded, changes) if changes.changes else recorded, seed)
    record: dict[str, Any] = {
        "against": against,
        "month": ref.month,
        "attempt": ref.attempt,
        "rows": len(recorded),
        "labels": None,
        "texts": None,
        "texts_of_like_labels": None,
    }
    if before:  # every label may be retired since
        labels = label_shift(
            Counter(row.label for row in now), Counter(row.label for row in before), seed=seed
        )
        record["labels"] = _label_record(labels)
    record["words"] = _word_record(
        now[:ROWS_OF_WORDS], recorded, rows_of(attempt.stage("ingest"), VALIDATION_FILE)
    )
    first, second = now[:TEXTS_TESTED], before[:TEXTS_TESTED]
    if min(len(first), len(second)) >= FEWEST_TEXTS:
        shift = text_shift([row.text for row in first], [row.text for row in second], seed=seed)
        record["texts"] = _text_record(shift, len(first), len(second))
    first, second = _alike(now, before)
    if len(first) >= FEWEST_TEXTS:
        strata = [row.label for row in first], [row.label for row in second]
        shift = text_shift(
            [row.text for row in first], [row.text for row in second], seed=seed, strata=strata
        )
        record["texts_of_like_labels"] = _text_record(shift, len(first), len(second))
    return record | {"shifts": _shifts(record)}


def _alike(now: Sequence[Row], before: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """As many rows of each label from both, at most `TEXTS_TESTED` each: what differs in them is not the labels' shares."""
    waiting: dict[str, list[Row]] = defaultdict(list)
    for row in reversed(before):
        waiting[row.label].append(row)
    pairs = [(row, waiting[row.label].pop()) for row in now if waiting[row.label]][:TEXTS_TESTED]
    return [row for row, _ in pairs], [row for _, row in pairs]


def _label_record(shift: LabelShift) -> dict[str, Any]:
    return {
        "cramers_v": _kept(shift.cramers_v),
        "total_variation": _kept(shift.total_variation),
        "p": _kept(shift.p),
        "by_permutation": shift.by_permutation,
        "changed": [
            {"label": label, "before": _kept(before), "now": _kept(now)}
            for label, before, now in shift.changed[:MOST_NAMED]
            if before != now
        ],
    }


def _word_record(now: Sequence[Row], before: Sequence[Row], held_out: Sequence[Row]) -> dict[str, Any]:
    """Any other rows have some new words: how many is usual, the compared month's own held-out rows tell."""
    from pipeline.drift import new_words, vocabulary

    known = vocabulary(row.text for row in before)
    found = new_words((row.text for row in now), known)
    usual = new_words((row.text for row in held_out), known).share if held_out else None
    return {
        "new_share": _kept(found.share),
        "usual_share": None if usual is None else _kept(usual),
        "new_distinct": found.distinct,
        "new_in_rows": dict(found.rows[:MOST_NAMED]),
        "rows": len(now),
    }


def _text_record(shift: TextShift, now: int, before: int) -> dict[str, Any]:
    return {"mmd2": round(shift.mmd2, 6), "p": _kept(shift.p), "rows": now, "rows_before": before}


def _kept(figure: float) -> float:
    """To three digits, which no rounding on another machine changes."""
    return float(f"{figure:.3g}")


def _shifts(record: dict[str, Any]) -> list[str]:
    """In words, what is beyond chance."""
    shifts = []
    labels, texts, alike = record["labels"], record["texts"], record["texts_of_like_labels"]
    if labels is not None and labels["p"] <= LARGEST_P and labels["cramers_v"] >= LEAST_V:
        shifts.append(f"other shares of labels (Cramer's V {labels['cramers_v']:.2f}, p {labels['p']:.2g})")
    if alike is not None and alike["p"] <= LARGEST_P:
        shifts.append(f"other texts of the same labels (p {alike['p']:.2g})")
    elif not shifts and texts is not None and texts["p"] <= LARGEST_P:  # other labels alone make other texts
        shifts.append(f"other texts (p {texts['p']:.2g})")
    return shifts
