"""Golden sets: a month's fixed test rows, checked row by row before anything is scored on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from pipeline.errors import BadData
from pipeline.label_changes import LabelChanges
from pipeline.row_task import ONE_LABEL, RowTask

_SHOWN_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class GoldenRow:
    """One test row; `slice` is '' when the row belongs to none."""

    id: str
    text: str
    label: str
    slice: str


@dataclass(frozen=True)
class GoldenSet:
    """The test rows of one month (or of one file), in file order; `name` is the month or the file's stem."""

    name: str
    rows: tuple[GoldenRow, ...]


def present_golden(golden: GoldenSet, changes: LabelChanges) -> GoldenSet:
    """A golden set as it counts now: its labels under present names, without the rows of retired ones; ids stay."""
    rows = [
        replace(row, label=changes.name_of(row.label))
        for row in golden.rows
        if changes.retired(row.label) is None
    ]
    return replace(golden, rows=tuple(rows))


def parse_golden(
    records: Sequence[Mapping[str, object]],
    *,
    name: str,
    where: str,
    task: RowTask = ONE_LABEL,
    quoted: Callable[[str], str] = str,
) -> GoldenSet:
    """Check decoded rows and make a golden set of them; fields other than the four are left aside.

    What the task's rows must hold is required, such as `text` and `label`. An `id` that is absent, null or empty is made from text and label, so
    that it is the same in every run; a whole number is taken as text. White space around text and label is
    dropped, as it is from feedback. An absent or null `slice` becomes
    ''. An empty file gives an empty set, which the gate refuses.

    Args:
        records: one mapping per row, in file order.
        name: the month, or the file's stem.
        where: the path that messages name.
        task: what a row must hold.
        quoted: what messages may quote of a row, such as without personal data.

    Raises:
        BadData: with the row number (from 1) and the problem of every bad row; of many, the first 20.
    """
    rows: list[GoldenRow] = []
    problems: list[str] = []
    row_of_id: dict[str, int] = {}
    for number, record in enumerate(records, start=1):
        found = _problems(record, task)
        if found:
            problems.extend(f"row {number}: {problem}" for problem in found)
            continue
        row = _row(record, task)
        if row.id in row_of_id:
            same = f"id {row.id!r}" if _has_id(record) else "text and label"
            problems.append(f"row {number}: the same {same} as row {row_of_id[row.id]}; each must occur once")
            continue
        row_of_id[row.id] = number
        rows.append(row)
    if problems:
        raise BadData(_message([quoted(problem) for problem in problems], where))
    return GoldenSet(name, tuple(rows))


def _problems(record: Mapping[str, object], task: RowTask) -> list[str]:
    found = []
    for field in (*task.fields, "id", "slice"):
        value = record.get(field)
        required = field in task.fields
        if value is None:
            if required:
                found.append(f"{field!r} is missing")
        elif field == "id" and type(value) is int:
            continue
        elif not isinstance(value, str):
            found.append(f"{field!r} is {type(value).__name__}, expected text")
        elif required and not value.strip():
            found.append(f"{field!r} is empty")
        elif not _is_encodable(value):
            found.append(f"{field!r} holds half of a surrogate pair, which is not text")
    return found


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _row(record: Mapping[str, object], task: RowTask) -> GoldenRow:
    text, label = task.read(record)
    made = sha256(f"{text}\0{label}".encode()).hexdigest()[:16]
    row_id = str(record["id"]) if _has_id(record) else made
    return GoldenRow(row_id, text, label, str(record.get("slice") or ""))


def _has_id(record: Mapping[str, object]) -> bool:
    return record.get("id") not in (None, "")


def _message(problems: Sequence[str], where: str) -> str:
    lines = [f"{where}: the golden set cannot be used"]
    lines.extend(f"  {problem}" for problem in problems[:_SHOWN_PROBLEMS])
    if len(problems) > _SHOWN_PROBLEMS:
        lines.append(f"  and {len(problems) - _SHOWN_PROBLEMS} more")
    lines.append(
        "Mend these rows: every golden row needs a text and a label, and an id that no other row has."
    )
    return "\n".join(lines)
