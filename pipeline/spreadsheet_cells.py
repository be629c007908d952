"""Cells that a spreadsheet shows as they are: it neither computes them nor takes them for numbers or dates."""

import csv
import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

_MARK = "'"
_CHANGED = re.compile(r"['=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]|[\d.,][\d.,:/+\- ]*([eE][\d+\-]+)?\Z")
"""What begins a formula, in wide forms, too; the mark itself; and numbers and dates, such as 007, 1e5 and 2026-02."""


def as_cell(text: str) -> str:
    """A text as a cell: one that a spreadsheet would make something else of gets an apostrophe before it."""
    return _MARK + text if _CHANGED.match(text) else text


def from_cell(cell: str) -> str:
    """The text of a cell that `as_cell` made; one that a person wrote without apostrophe stays as it is."""
    return cell.removeprefix(_MARK)


def as_csv(
    header: Sequence[str], rows: Iterable[Mapping[str, str]], *, numbers: Collection[str] = ()
) -> bytes:
    """Rows of texts as CSV in UTF-8, with the mark by which spreadsheets know that; every cell through `as_cell`.

    Args:
        numbers: columns that are to be taken for numbers.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([row[name] if name in numbers else as_cell(row[name]) for name in header])
    return stream.getvalue().encode("utf-8-sig")
