"""Feedback rows that ingest refused: written for people, each with its reason."""

from pathlib import Path
from typing import Any

from pipeline.feedback import CheckedRows, Rejection
from pipeline.recorded.names import REJECTED_FILE
from pipeline.store.tables import write_jsonl


def write_rejected(folder: Path, checked: CheckedRows) -> None:
    lines = [
        {"file": r.file, "line": r.line, "reason": r.reason, "row": _plain(r.fields)}
        for r in checked.rejected
    ]
    write_jsonl(folder / REJECTED_FILE, lines)


def _plain(record: Any) -> Any:
    if record is None:
        return None
    return {str(k): v if isinstance(v, str | int | bool | None) else str(v) for k, v in record.items()}


def reasons(checked: CheckedRows, folder: Path) -> str:
    shown = "; ".join(map(reason, checked.rejected[:3]))
    return f"First: {shown}. All are in {folder / REJECTED_FILE}" if shown else "The files hold no rows"


def reason(rejection: Rejection) -> str:
    return f"{rejection.file} line {rejection.line}: {rejection.reason}"
