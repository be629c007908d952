"""What a month was, once its attempts are removed: `runs/<month>/removed.json`.

A month that nothing needs any more may be needed again: after a rollback, the next month must know that it was run, and
whether there is feedback that no champion has learned.
"""

from typing import Literal

from pipeline.months import Month
from pipeline.store import reading
from pipeline.store.records import AttemptId, MonthText, Record, read_record, write_record
from pipeline.store.remaking import MONTH_FORM
from pipeline.store.workspace import Workspace

REMOVED_FILE = "removed.json"


class RemovedMonth(Record):
    """What the newest finished attempt of a month said."""

    version: Literal[1] = 1
    month: MonthText
    attempt: AttemptId
    had_candidate: bool
    """False where the month had no feedback."""


def record_removed(workspace: Workspace, record: RemovedMonth) -> None:
    """Keep what a month was, before its attempts are removed.

    Raises:
        AccessDenied, CannotWrite: as `atomic.write_file`.
    """
    write_record(workspace.runs / record.month / REMOVED_FILE, record)


def removed_month(workspace: Workspace, month: Month) -> RemovedMonth | None:
    """What a month was whose attempts were removed; None where none were.

    Raises:
        ArtifactCorrupt: the record is damaged.
    """
    file = workspace.runs / str(month) / REMOVED_FILE
    if reading.kind_of(file) == "nothing":
        return None
    mend = f"Restore it from a backup, or remove it and run: retrain run --month {month}"
    return read_record(file, RemovedMonth, mend=mend)


def removed_months(workspace: Workspace) -> list[Month]:
    """The months of which attempts were removed, in order."""
    if not workspace.runs.is_dir():
        return []
    names = sorted(folder.name for folder in workspace.runs.iterdir() if MONTH_FORM.match(folder.name))
    return [
        Month.parse(name)
        for name in names
        if reading.kind_of(workspace.runs / name / REMOVED_FILE) != "nothing"
    ]
