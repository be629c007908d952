"""Which months' feedback a month learns, and what there is to tell about the earlier ones."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.evaluation.golden import GoldenSet
from pipeline.label_changes import LabelChanges
from pipeline.labels import LabelSet
from pipeline.months import Month
from pipeline.normal_text import normalise
from pipeline.recorded.lineage import carried_months, why_not_learned
from pipeline.recorded.names import TRAIN_FILE
from pipeline.row_policies import Policy, losers
from pipeline.row_task import RowTask
from pipeline.rows import RawRecord, Row
from pipeline.stages.stage import RunContext
from pipeline.store.stage_directory import read_stage, require_output
from pipeline.store.tables import read_parquet

logger = logging.getLogger("retrain")


def months_learned(context: RunContext) -> list[Month]:
    """The months whose feedback is learned: earlier ones that no champion learned first, then the month itself."""
    if context.base is None or not context.config.ingest.carry_refused:
        return [context.month]
    record = read_stage(context.output("ingest"))
    recorded: Any = record.config.get("months", ()) if record is not None else ()
    carried = carried_months(context.workspace, context.base, context.month, recorded)
    left_out = context.config.ingest.leave_out
    return [*(month for month in carried if str(month) not in left_out), context.month]


def tell_left_out(context: RunContext) -> None:
    """Name the months that would have been learned along, had the configuration not left them out."""
    if context.base is None or not context.config.ingest.carry_refused:
        return
    for month in carried_months(context.workspace, context.base, context.month):
        if str(month) in context.config.ingest.leave_out:
            logger.info(
                "ingest: %s %s: its rows are left out (ingest.leave_out)",
                month,
                why_not_learned(context.workspace, month),
            )


def tell_taken_names(month: Month, records: Sequence[RawRecord], changes: LabelChanges) -> None:
    """Warn where a month meant another label by a name than the one that a later rename gave the name to."""
    fields = [record.fields for record in records if record.fields is not None]
    for change in changes.changes:
        count = sum(row.get("label") == change.to for row in fields)
        if change.kind == "rename" and change.since > month and count:
            logger.warning(
                "ingest: %d row(s) of %s have the label %r, which is what label %r is called from %s on only: they are counted "
                "for it. If they mean another one, rename it in their file",
                count,
                month,
                change.to,
                change.label,
                change.since,
            )


def joined(by_month: Mapping[Month, Sequence[Row]], conflicts: Policy | None = None) -> list[Row]:
    """The rows of several months, each text with a label once: one that was given again in its latest form.

    Another row whose id a later month uses gets an id of its own, so that every id names one row.

    Args:
        by_month: the rows of each month, the earliest first.
        conflicts: which rows are kept of a text that months give several labels; None for all.
    """
    joined: list[Row] = []
    keys: set[tuple[str, str]] = set()
    said: set[tuple[str, str]] = set()
    ids: set[str] = set()
    for month, rows in reversed(list(by_month.items())):
        kept = [row for row in rows if row.key not in keys and (row.text, row.label) not in said]
        if len(kept) < len(rows):
            logger.info(
                "ingest: %d row(s) of %s were given again in a later month and are learned once",
                len(rows) - len(kept),
                month,
            )
        named = []
        for row in kept:
            name = row.id
            while name in ids:
                name = f"{month}/{name}"
            ids.add(name)
            named.append(row if name == row.id else replace(row, id=name))
        joined = named + joined
        keys |= {row.key for row in kept}
        said |= {(row.text, row.label) for row in kept}
    return _of_one_mind(joined, conflicts) if len(by_month) > 1 else joined


def _of_one_mind(rows: list[Row], policy: Policy | None) -> list[Row]:
    """The rows without those whose text another month gives another label, as within one month."""
    texts = [normalise(row.text) for row in rows]
    lost = losers(
        range(len(rows)),
        text=lambda place: texts[place],
        label=lambda place: rows[place].label,
        moment=lambda place: rows[place].created_at,
        policy=policy,
    )
    if lost:
        logger.warning(
            "ingest: %d row(s) have a text that another month gives another label, and are left out (ingest.conflicts). "
            "First: %s",
            len(lost),
            lost[min(lost)],
        )
    return [row for place, row in enumerate(rows) if place not in lost]


def labels_in_use(labels: LabelSet, rows: Sequence[Row], *, known: int, task: RowTask) -> LabelSet:
    """The labels without new ones that no row has any more, as a later month gave theirs another label.

    Args:
        known: how many of them, the first ones, the model has; these stay.
    """
    used = {name for row in rows for name in task.labels(row.label)}
    return LabelSet((*labels.names[:known], *(name for name in labels.names[known:] if name in used)))


def learned_golden_rows(
    context: RunContext, golden: Mapping[Month, GoldenSet], kept: Callable[[str], str]
) -> dict[Month, int]:
    """How many rows of each golden set earlier months were trained on, before the set was there; none where none.

    Args:
        kept: what is kept of a text in tables.
    """
    learned = {
        normalise(str(row["text"]))
        for checkpoint in context.line
        for row in read_parquet(
            require_output(context.workspace.attempt(checkpoint.attempt).stage("ingest"), TRAIN_FILE)
        )
    }
    counts = {
        month: sum(normalise(kept(row.text)) in learned for row in own.rows) for month, own in golden.items()
    }
    return {month: count for month, count in counts.items() if count}
