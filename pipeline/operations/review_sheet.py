"""The sheet of a review: a CSV file that a person fills in with a spreadsheet, and what it says when it comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import BadData
from pipeline.row_task import plain, shown
from pipeline.sources.read import read_table
from pipeline.spreadsheet_cells import as_csv, from_cell

COLUMNS = (
    "id",
    "month",
    "text",
    "label",
    "suggested_label",
    "probability",
    "reasons",
    "corrected_label",
    "keep",
)
_READ = ("id", "month", "text", "label", "corrected_label", "keep")
_KEEPS = {"": True, "yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}
_MOST_TOLD = 5


@dataclass(frozen=True)
class SheetRow:
    """One row for a person.

    Attributes:
        suggested, probability: the champion's label, and how sure it is of it, 0 to 1.
        reasons: why the row is doubtful, as codes.
        corrected: the person's label; empty where the row keeps its own.
        keep: False where the row is not to be learned.
    """

    id: str
    month: str
    text: str
    label: str
    suggested: str
    probability: float
    reasons: tuple[str, ...]
    corrected: str
    keep: bool


@dataclass(frozen=True)
class Returned:
    """What a row of a sheet says that came back, and the line where it stands."""

    line: int
    id: str
    month: str
    text: str
    label: str
    corrected: str
    keep: bool


def sheet_of(rows: Sequence[SheetRow]) -> bytes:
    """The sheet as CSV; no cell of it is computed by a spreadsheet, or taken for a number or date, but `probability`."""
    return as_csv(
        COLUMNS,
        (
            {
                "id": row.id,
                "month": row.month,
                "text": row.text,
                "label": row.label,
                "suggested_label": row.suggested,
                "probability": f"{row.probability:.4f}",
                "reasons": "; ".join(row.reasons),
                "corrected_label": row.corrected,
                "keep": "yes" if row.keep else "no",
            }
            for row in rows
        ),
        numbers=("probability",),
    )


def read_sheet(file: Path) -> list[Returned]:
    """The rows of a sheet that a person gives back, in any format and dialect that feedback may have.

    Raises:
        NoInput: there is no such file.
        BadData: a column is absent, or a row cannot be read or says neither yes nor no.
    """
    table = read_table(file)
    records = [row.value for row in table.rows if isinstance(row.value, dict)]
    lacking = [name for name in _READ if records and name not in records[0]]
    if lacking or not table.rows:
        found = ", ".join(records[0]) if records else "no row"
        raise BadData(
            f"{file}: expected rows with the columns {', '.join(_READ)}, found {found}. Give the file that "
            "retrain ingest --review wrote"
        )
    problems, rows = [], []
    for line, value in table.rows:
        if isinstance(value, str):
            problems.append(f"line {line}: {value}")
            continue
        cells = {name: from_cell("" if value.get(name) is None else str(value[name])) for name in _READ}
        keep = _KEEPS.get(cells["keep"].strip().lower())
        if keep is None:
            problems.append(f"line {line}: keep: expected yes or no, found {shown(cells['keep'])}")
            continue
        rows.append(
            Returned(
                line,
                cells["id"],
                cells["month"].strip(),
                cells["text"],
                plain(cells["label"]),
                plain(cells["corrected_label"]),
                keep,
            )
        )
    refuse(file, problems)
    return rows


def refuse(file: Path, problems: Sequence[str]) -> None:
    """Refuse a sheet as a whole for what is wrong with its rows.

    Raises:
        BadData: there is a problem; names the first few.
    """
    if problems:
        more = f"; and {len(problems) - _MOST_TOLD} more" if len(problems) > _MOST_TOLD else ""
        raise BadData(
            f"{file}: nothing was taken over. {'; '.join(problems[:_MOST_TOLD])}{more}. Mend them, and run it again"
        )
