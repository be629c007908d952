"""Golden rows that ask for two answers to one text, of which a model can give but one."""

import logging
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import BadData
from pipeline.evaluation.golden import GoldenRow, GoldenSet
from pipeline.masking import mask
from pipeline.months import Month
from pipeline.normal_text import normalise
from pipeline.row_task import shown
from pipeline.stages.links import shown_path
from pipeline.stages.stage import RunContext

logger = logging.getLogger("retrain")


def conflicting(golden: GoldenSet) -> list[list[GoldenRow]]:
    """The rows of each text, as texts are compared, that has several labels, in file order."""
    by_text: dict[str, list[GoldenRow]] = defaultdict(list)
    for row in golden.rows:
        by_text[normalise(row.text)].append(row)
    return [rows for rows in by_text.values() if len({row.label for row in rows}) > 1]


def watch_golden_conflicts(
    context: RunContext, golden: Mapping[Month, GoldenSet], files: Mapping[Month, Path]
) -> int:
    """Warn of such texts within one set, and say how many there are; months may differ, as labels change.

    Raises:
        BadData: `ingest.conflicts` is `refuse`.
    """
    count = 0
    for month, own in golden.items():
        found = conflicting(own)
        if not found:
            continue
        count += len(found)
        first = found[0]
        named = ", ".join(f"{row.label!r} (row {row.id!r})" for row in first)
        text = (
            f"{shown_path(context.workspace, files[month])}: {len(found)} text(s) have several labels, and no model "
            f"answers all of them. First: {shown(mask(first[0].text, context.config.ingest.mask)[0])} has {named}. Keep one row of each"
        )
        if context.config.ingest.conflicts == "refuse":
            raise BadData(f"{text}, or let ingest.conflicts be newest or majority")
        logger.warning("ingest: %s", text)
    return count
