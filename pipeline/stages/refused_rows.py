"""Feedback rows that ingest refused: written for people, each with its reason."""

import logging
from pathlib import Path
from typing import Any

from pipeline.recorded.names import REJECTED_FILE
from pipeline.rows import CheckedRows, Rejection
from pipeline.store.tables import write_jsonl

logger = logging.getLogger("retrain")


def write_rejected(folder: Path, checked: CheckedRows) -> None:
    lines = [
        {"file": r.file, "line": r.line, "rule": r.code, "reason": r.reason, "row": _plain(r.fields)}
        for r in checked.rejected
    ]
    write_jsonl(folder / REJECTED_FILE, lines)


def _plain(record: Any) -> Any:
    if record is None:
        return None
    return {str(k): v if isinstance(v, str | int | bool | None) else str(v) for k, v in record.items()}


def tell_policies(checked: CheckedRows) -> None:
    """Log what was done about rows that disagree or come again, and what is no row of the month."""
    for spelling in checked.spellings:
        logger.warning("ingest: %s", spelling)
    conflicts = [rejection for rejection in checked.rejected if rejection.code == "conflict"]
    if conflicts:
        logger.warning(
            "ingest: %d row(s) have a text that others give another label, and are left out (ingest.conflicts). First: %s",
            len(conflicts),
            reason(conflicts[0]),
        )
    if checked.repeated:
        logger.info(
            "ingest: %d row(s) have the text and label of another one (ingest.duplicates: refuse leaves them out)",
            checked.repeated,
        )
    if checked.passed_over:
        logger.info(
            "ingest: %d row(s) of the files are of other months, or golden, and are passed over",
            checked.passed_over,
        )


def reasons(checked: CheckedRows, folder: Path) -> str:
    shown = "; ".join(map(reason, checked.rejected[:3]))
    return f"First: {shown}. All are in {folder / REJECTED_FILE}" if shown else "The files hold no rows"


def reason(rejection: Rejection) -> str:
    return f"{rejection.file} line {rejection.line}: {rejection.reason}"
