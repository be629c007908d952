"""Golden rows that no model can answer: one text with two labels, and labels that are spelled otherwise than the model's."""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pipeline.errors import BadData
from pipeline.evaluation.golden import GoldenRow, GoldenSet
from pipeline.former_labels import FormerLabels
from pipeline.label_changes import NO_CHANGES, LabelChanges
from pipeline.labels import LabelSet
from pipeline.months import Month
from pipeline.normal_text import normalise
from pipeline.row_policies import spellings
from pipeline.row_task import shown
from pipeline.sources.table import dialect_of
from pipeline.stages.links import shown_path
from pipeline.stages.stage import RunContext

logger = logging.getLogger("retrain")
Numbered = tuple[int, GoldenRow]
"""A row, and its number in its file, from 1."""


def conflicting(golden: GoldenSet, changes: LabelChanges = NO_CHANGES) -> list[list[Numbered]]:
    """The rows of each text, as texts are compared, that has several labels now, each with its number in the file, from 1.

    Args:
        changes: of labels; rows of retired ones are tested on no more.
    """
    by_text: dict[str, list[Numbered]] = defaultdict(list)
    for number, row in enumerate(golden.rows, start=1):
        if changes.retired(row.label) is None:
            by_text[normalise(row.text)].append((number, replace(row, label=changes.name_of(row.label))))
    return [rows for rows in by_text.values() if len({row.label for _, row in rows}) > 1]


def watch_golden_conflicts(
    context: RunContext, golden: Mapping[Month, GoldenSet], files: Mapping[Month, Path]
) -> int:
    """Warn of such texts within one set, and say how many there are; months may differ, as labels change.

    Raises:
        BadData: `ingest.conflicts` is `refuse`.
    """
    count, quoted = 0, dialect_of(context.config).quoted
    for month, own in golden.items():
        found = conflicting(own, context.label_changes)
        if not found:
            continue
        count += len(found)
        first = found[0]
        named = ", ".join(f"{row.label!r} (row {number}, id {row.id!r})" for number, row in first)
        told = f"{shown(quoted(first[0][1].text))} has {quoted(named)}"
        text = (
            f"{shown_path(context.workspace, files[month])}: {len(found)} text(s) have several labels, and no model "
            f"answers all of them. First: {told}. Keep one row of each"
        )
        if context.config.ingest.conflicts == "refuse":
            raise BadData(f"{text}, or let ingest.conflicts be newest or majority")
        logger.warning("ingest: %s", text)
    return count


def tell_misspelled(
    context: RunContext, golden: Mapping[Month, GoldenSet], files: Mapping[Month, Path], labels: LabelSet
) -> int:
    """Warn of golden labels that are a model's but for case, white space or Unicode form, and say how many rows have one.

    Feedback is read as the label that is meant; golden sets are taken as they are, so that no answer is ever right there.

    Args:
        labels: that the month's model will know, under present names.
    """
    changes, count = context.label_changes, 0
    former = FormerLabels(changes, labels)
    for month, own in golden.items():
        written = Counter(row.label for row in own.rows if changes.name_of(row.label) not in labels)
        names = {label: changes.name_of(former(label)) for label in written}
        right = spellings(names.values(), former.live)
        wrong = {label: right.get(name, name) for label, name in names.items()}
        wrong = {label: name for label, name in wrong.items() if name in labels}
        rows = sum(written[label] for label in wrong)
        count += rows
        if wrong:
            first = min(wrong)
            logger.warning(
                "ingest: %s: %d row(s) have a label that no model answers, as it is spelled otherwise. First: %r ought to be %r. "
                "Mend it there",
                shown_path(context.workspace, files[month]),
                rows,
                first,
                wrong[first],
            )
    return count
