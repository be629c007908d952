"""What people decided about a month's rows, as ingest reads it."""

import logging
from collections.abc import Iterable

from pipeline.months import Month
from pipeline.recorded.decisions import decisions_file, read_decisions
from pipeline.recorded.names import REVIEWED_INPUT
from pipeline.reviewed import Decisions
from pipeline.rows import CheckedRows
from pipeline.stages.links import shown_path
from pipeline.stages.stage import RunContext
from pipeline.store.hashing import sha256_file

logger = logging.getLogger("retrain")


def decision_hashes(context: RunContext, months: Iterable[Month]) -> dict[str, str]:
    """The hashes of the decisions about the rows of some months, for a stage's inputs; none at a launch."""
    if context.launch is not None:
        return {}
    files = {month: decisions_file(context.workspace, context.config, month) for month in months}
    return {f"{REVIEWED_INPUT}{month}": sha256_file(file) for month, file in files.items() if file.exists()}


def recorded_decisions(context: RunContext, month: Month) -> Decisions:
    """The decisions about a month's rows whose hash the stage recorded.

    Raises:
        BadData: they came or changed since.
    """
    sha256 = context.inputs.get(f"{REVIEWED_INPUT}{month}")
    if sha256 is None:
        return {}
    return read_decisions(decisions_file(context.workspace, context.config, month), sha256=sha256)


def tell_decisions(context: RunContext, month: Month, checked: CheckedRows) -> None:
    """Log what became of the decisions about a month's rows."""
    decisions = recorded_decisions(context, month)
    if not decisions:
        return
    out = sum(rejection.code == "reviewed_out" for rejection in checked.rejected)
    file = shown_path(context.workspace, decisions_file(context.workspace, context.config, month))
    logger.info("ingest: %s: %d row(s) have a corrected label, %d are left out", file, checked.corrected, out)
    idle = len(decisions) - checked.corrected - out
    if idle > 0:
        logger.warning(
            "ingest: %s: %d decision(s) change nothing: their rows changed since, are gone, or are refused by another rule. "
            "Review the month again: retrain ingest --review FILE --month %s",
            file,
            idle,
            month,
        )
