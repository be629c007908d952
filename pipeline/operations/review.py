"""Write a month's doubtful rows for a person, each with what makes it doubtful."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import NoInput, UsageError
from pipeline.floods import jumping_labels
from pipeline.normal_text import normalise
from pipeline.operations.opinion import Opinion, champions_opinion, likely_errors
from pipeline.operations.review_rows import RowsUnderReview, rows_under_review
from pipeline.operations.review_sheet import SheetRow, sheet_of
from pipeline.recorded.decisions import decisions_file, read_decisions
from pipeline.reviewed import Decision
from pipeline.row_policies import losers
from pipeline.stages.flood_watch import labels_before, user_cap
from pipeline.stages.stage import RunContext
from pipeline.store import atomic, reading

REASONS = ("conflict", "near_golden", "label_jump", "flood", "improbable", "label_error")
"""Why a row is doubtful, in the order in which they are told."""
IMPROBABLE = 0.01
"""A label to which the champion gives less is doubted."""
logger = logging.getLogger("retrain")


@dataclass(frozen=True)
class Review:
    """What was written.

    Attributes:
        file: where.
        rows: how many; looked_at: of how many.
        reasons: each of `REASONS` to how many rows have it; a row may have several.
    """

    file: str
    rows: int
    looked_at: int
    reasons: Mapping[str, int]


def write_review(context: RunContext, file: Path) -> Review:
    """Write the doubtful rows of a month's own files as a sheet, with the decisions that were taken before filled in.

    Args:
        context: of the month; its base is the champion that is asked.
        file: ends in .csv; one that holds something else is left as it is.

    Raises:
        UsageError: the file is there and holds something else, or has another suffix.
        NoInput: there is no feedback, or no folder for the file. BadData: the feedback cannot be read.
    """
    if file.suffix.lower() != ".csv":
        raise UsageError(f"--review {file}: expected a name that ends in .csv")
    if not file.parent.is_dir():
        raise NoInput(f"{file.parent}: there is no such folder. Make it, or name another file")
    month = rows_under_review(context)
    opinion = champions_opinion(context, [row.text for row in month.rows])
    reasons = _reasons(context, month, opinion)
    decisions = read_decisions(decisions_file(context.workspace, context.config, context.month))
    sheet = sheet_of(
        [
            _sheet_row(context, month, opinion, place, reasons[place], decisions)
            for place in _order(month, reasons)
        ]
    )
    if file.exists() and reading.read_file(file, follow_links=True) != sheet:
        raise UsageError(
            f"--review {file}: is there and holds something else, such as what a person filled in. Move it away, or name "
            "another file"
        )
    atomic.write_file(file, sheet)
    counts = Counter(reason for told in reasons.values() for reason in told)
    return Review(str(file), len(reasons), len(month.rows), {reason: counts[reason] for reason in REASONS})


def _reasons(context: RunContext, month: RowsUnderReview, opinion: Opinion) -> dict[int, tuple[str, ...]]:
    """Places of the doubtful rows, each with its reasons."""
    rows, settings = month.rows, context.config.ingest
    texts = [normalise(row.text) for row in rows]
    learned = month.judge(
        conflicts=settings.conflicts,
        duplicates=settings.duplicates,
        near_duplicates=settings.near_duplicates,
        cap=user_cap(context),
        near=month.golden,
        refuse_near=settings.near_golden == "refuse",
    )
    jumps = jumping_labels(
        [row.label for row in learned.rows], labels_before(context), settings.max_label_jump
    )
    users = {flood.name for flood in learned.floods}
    labels = {flood.name for flood in jumps}
    found: dict[str, set[int]] = {
        "conflict": set(
            losers(
                range(len(rows)),
                text=lambda place: texts[place],
                label=lambda place: rows[place].label,
                moment=lambda place: rows[place].created_at,
                policy="refuse",
            )
        ),
        "near_golden": {
            place
            for place, text in enumerate(texts)
            if month.golden is not None and month.golden.nearest_normal(text) is not None
        },
        "label_jump": {place for place, row in enumerate(rows) if row.label in labels},
        "flood": {place for place, user in enumerate(month.users) if user in users},
        "improbable": {
            place
            for place, row in enumerate(rows)
            if (given := opinion.of(place, row.label)) is not None and given < IMPROBABLE
        },
        "label_error": likely_errors(opinion, [row.label for row in rows]),
    }
    told = {place: tuple(r for r in REASONS if place in found[r]) for place in range(len(rows))}
    return {place: why for place, why in told.items() if why}


def _order(month: RowsUnderReview, reasons: Mapping[int, tuple[str, ...]]) -> list[int]:
    """The doubtful rows as the files have them, those of one text together."""
    first: dict[str, int] = {}
    for place in sorted(reasons):
        first.setdefault(normalise(month.rows[place].text), place)
    return sorted(reasons, key=lambda place: (first[normalise(month.rows[place].text)], place))


def _sheet_row(
    context: RunContext,
    month: RowsUnderReview,
    opinion: Opinion,
    place: int,
    reasons: tuple[str, ...],
    decisions: Mapping[str, Decision],
) -> SheetRow:
    row = month.rows[place]
    suggested, probability = opinion.best(place)
    decision = decisions.get(row.id)
    if decision is not None and decision.row != month.fingerprints[row.id]:
        decision = None
    return SheetRow(
        id=row.id,
        month=str(context.month),
        text=row.text,
        label=row.label,
        suggested=suggested,
        probability=probability,
        reasons=reasons,
        corrected=decision.label or "" if decision is not None else "",
        keep=decision is None or decision.keep,
    )
