"""Feedback rows that ingest refused: written for people, each with its reason."""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pipeline.masking import Masked, Masking, mask
from pipeline.recorded.names import REJECTED_FILE
from pipeline.rows import CheckedRows, Rejection
from pipeline.store.tables import write_jsonl

logger = logging.getLogger("retrain")
_NUMBERS = ("id", "created_at")
"""Fields whose whole numbers stay: they are long enough to look like those of a phone."""


def write_rejected(folder: Path, checked: CheckedRows, masked: Collection[Masked] = ()) -> None:
    """Write rejected.jsonl: where each stands, by which rule and why, and the row itself.

    Args:
        masked: personal data that is not kept.
    """
    lines = [
        {
            "file": r.file,
            "line": r.line,
            "rule": r.code,
            "reason": r.reason,
            "row": _plain(r.fields, masked),
        }
        for r in checked.rejected
    ]
    write_jsonl(folder / REJECTED_FILE, lines)


def _plain(record: Any, masked: Collection[Masked]) -> Any:
    if record is None:
        return None
    return {mask(str(name), masked)[0]: _without(name, value, masked) for name, value in record.items()}


def _without(name: str, value: Any, masked: Collection[Masked]) -> Any:
    """A value as JSON has it, without personal data; a number may be that, too, such as of a phone."""
    if value is None or isinstance(value, bool):
        return value
    text = mask(str(value), masked)[0]
    is_number = isinstance(value, int) and (name in _NUMBERS or text == str(value))
    return value if is_number else text


def tell_masked(masking: Masking) -> None:
    """Log how much personal data was taken out of texts."""
    if masking.found:
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(masking.found.items()))
        logger.info("ingest: masked in texts: %s", told)


def tell_cap(rows: int, kept: int) -> None:
    """Log that a month has more rows than it is trained on."""
    if kept < rows:
        logger.warning(
            "ingest: %d of %d rows are trained on, drawn by label (ingest.max_rows); the others are learned in no month",
            kept,
            rows,
        )


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
    if checked.near_duplicates:
        logger.info(
            "ingest: %d row(s) are nearly another one of their label (ingest.near_duplicates: refuse leaves them out)",
            checked.near_duplicates,
        )
    if checked.near_golden:
        logger.warning(
            "ingest: %d row(s) are nearly a golden row, and are learned: its accuracy may be flattered "
            "(ingest.near_golden: refuse leaves them out)",
            checked.near_golden,
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
