"""Excel workbooks: the first sheet, its first row with content being the header."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from itertools import islice
from pathlib import Path

from pipeline.errors import BadConfig, BadData
from pipeline.sources.table import FILE_LIMIT_BYTES, ROW_LIMIT, Dialect, Table, TableRow


def read_xlsx(path: Path, data: bytes, dialect: Dialect) -> Table:
    """Rows of the first sheet; formulas count as their last value, columns without a name are passed over.

    Raises:
        BadConfig: the package that reads it is not installed.
        BadData: it is no workbook, holds more than is read, or its header names a column twice.
    """
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise BadConfig(
            f"{path}: Excel workbooks need a package that is not installed. Run: pip install 'monthly-retrain[xlsx]', or "
            "save the sheet as CSV"
        ) from None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(part.file_size for part in archive.infolist())
        if size > FILE_LIMIT_BYTES:
            raise BadData(f"{path}: unpacks to {size} bytes, at most {FILE_LIMIT_BYTES} are read; split it")
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        names = book.sheetnames
        filled = _filled(book[names[0]].iter_rows(values_only=True))
        cells = list(islice(filled, ROW_LIMIT + 2))
    except BadData:
        raise
    except Exception as error:  # of a damaged archive or sheet, whatever it makes openpyxl stumble over
        raise BadData(f"{path}: cannot be read as an Excel workbook: {str(error)[:200]}") from None
    if not cells:
        raise BadData(
            f"{path}: its first sheet, {names[0]!r}, is empty, expected a header with at least text,label"
        )
    header = ["" if cell is None else str(cell).strip() for cell in cells[0][1]]
    named = [name for name in header if name]
    if len(set(named)) != len(named):
        found = dialect.quoted(", ".join(map(repr, named)))
        raise BadData(f"{path}: the header must name every column once, found {found}")
    rows = [
        TableRow(number, {name: _plain(cell) for name, cell in zip(header, row, strict=False) if name})
        for number, row in cells[1:]
    ]
    others = f"; {len(names) - 1} other sheet(s) are not read" if len(names) > 1 else ""
    return Table(rows, (f"it is the sheet {names[0]!r}{others}",))


def _filled(rows: Iterable[tuple[object, ...]]) -> Iterator[tuple[int, tuple[object, ...]]]:
    """The sheet's rows with content, each with its number."""
    for number, row in enumerate(rows, start=1):
        if any(cell is not None and cell != "" for cell in row):
            yield number, row


def _plain(cell: object) -> object:
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    return cell or None if isinstance(cell, str) else cell
