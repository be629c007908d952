"""CSV and its relatives: the delimiter found out, and every physical line of the file accounted for."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import BadData
from pipeline.masking import shortened
from pipeline.sources.table import LINE_LIMIT_BYTES, Dialect, Table, TableRow
from pipeline.sources.text import NOT_UTF_8, decoded, is_text

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_FEWEST_CELLS = 2
_SEPARATOR_LINE = re.compile(r"\Asep=([^\w\s\"]|\t)\r?\n?\Z", re.IGNORECASE)


def read_delimited(path: Path, data: bytes, dialect: Dialect) -> Table:
    """A header and rows. Empty cells are None, columns without a name and rows without content are passed over.

    A row whose quotes do not close in the right place is refused, and reading begins again at the line after it begins.
    A cell that spans lines which look like rows is refused with all of them: a stray quote swallows rows.

    Raises:
        BadData: it is empty, or its header does not tell the columns apart.
        BadConfig: an encoding that cannot be.
    """
    text, encoding = decoded(path, data, dialect.encoding)
    lines = list(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    at = next((i for i, line in enumerate(lines) if line.strip()), None)
    if at is None:
        raise BadData(f"{path}: is empty, expected a header line with at least text,label")
    named = _SEPARATOR_LINE.match(lines[at])  # which Excel writes before the header
    if named is not None and at + 1 < len(lines):
        at += 1
    usual = "\t" if ".tsv" in path.suffixes else ","
    delimiter = dialect.delimiter or (named and named[1]) or _delimiter(path, lines[at], dialect, usual)
    first, after = _record(lines, at, delimiter)
    if isinstance(first, str):
        raise BadData(f"{path}: line {at + 1}: {first}")
    header = _header(path, first, dialect)
    rows = list(_rows(lines, after, header, delimiter))
    told = [] if encoding == "utf-8" else [f"its encoding is {encoding}"]
    if delimiter != usual:
        told.append(f"its columns are separated by {DELIMITERS.get(delimiter, repr(delimiter))}")
    return Table(_accounted(rows, lines, header, delimiter), tuple(told))


def _delimiter(path: Path, line: str, dialect: Dialect, usual: str) -> str:
    """What separates the header's cells: the only one that does, or the only one that gives a column that is asked for."""
    found = {}
    for delimiter in DELIMITERS:
        cells = _cells(line, delimiter)
        if len(cells) >= _FEWEST_CELLS:
            found[delimiter] = {cell.strip() for cell in cells}
    if len(found) > 1 and usual == "\t" and usual in found:
        return usual
    if len(found) > 1:
        asked = {d: cells for d, cells in found.items() if cells & dialect.needed}
        found = asked or found
    if len(found) > 1:
        names = " or ".join(DELIMITERS[d] for d in found)
        raise BadData(
            f"{path}: the header could be separated by {names}: {shortened(dialect.quoted(line.strip()), 80)!r}. Set "
            "ingest.delimiter"
        )
    return next(iter(found), usual)


def _cells(line: str, delimiter: str) -> list[str]:
    """What a line alone would hold; nothing where it cannot be read so."""
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _header(path: Path, cells: list[str], dialect: Dialect) -> list[str]:
    header = [cell.strip() for cell in cells]
    if not is_text("".join(header)):
        raise BadData(f"{path}: the header is {NOT_UTF_8}")
    named = [name for name in header if name]
    if len(set(named)) != len(named) or not named:
        found = dialect.quoted(", ".join(map(repr, header)))
        raise BadData(f"{path}: the header must name every column once, found {found}")
    return header


def _rows(
    lines: list[str], start: int, header: list[str], delimiter: str
) -> Iterator[tuple[TableRow, int, list[str] | None]]:
    """Each row, the place of the line after it, and its cells."""
    at = start
    while at < len(lines):
        line = lines[at]
        if not line.strip(f'{delimiter} \t\r\n"') and line.count('"') % 2 == 0:
            at += 1  # nothing, or empty cells
            continue
        if len(line) > LINE_LIMIT_BYTES:
            yield (
                TableRow(at + 1, f"a line of {len(line)} characters; at most {LINE_LIMIT_BYTES} are read"),
                at + 1,
                None,
            )
            at += 1
            continue
        cells, after = _record(lines, at, delimiter)
        if isinstance(cells, str):
            yield TableRow(at + 1, cells), at + 1, None
            at += 1
            continue
        yield TableRow(at + 1, _fields(header, cells)), after, cells
        at = after


def _record(lines: list[str], start: int, delimiter: str) -> tuple[list[str] | str, int]:
    """The cells of the record that begins at a line, and the line after it; or why there are none."""
    if '"' not in lines[start]:
        return lines[start].rstrip("\r\n").split(delimiter), start + 1
    reader = csv.reader(_from(lines, start), strict=True, delimiter=delimiter)
    try:
        return next(reader), start + reader.line_num
    except csv.Error as error:
        last = start + reader.line_num
        where = f"a quote that opens here does not close in the right place, up to line {last}"
        return f"not CSV: {where if last > start + 1 or 'unexpected end' in str(error) else error}", start + 1


def _from(lines: list[str], start: int) -> Iterator[str]:
    size = 0
    for at in range(start, len(lines)):
        size += len(lines[at])
        if size > LINE_LIMIT_BYTES:
            raise csv.Error(f"a row of more than {LINE_LIMIT_BYTES} characters")
        yield lines[at]


def _fields(header: list[str], cells: list[str]) -> dict[str, object] | str:
    if len(cells) != len(header):
        return f"{len(cells)} cells, the header has {len(header)}"
    if not all(map(is_text, cells)):
        return NOT_UTF_8
    return {name: cell or None for name, cell in zip(header, cells, strict=True) if name}


def _accounted(
    rows: list[tuple[TableRow, int, list[str] | None]], lines: list[str], header: list[str], delimiter: str
) -> list[TableRow]:
    """The rows, with those refused, line by line, that swallow lines which look like rows."""
    ordinary = [cells for row, after, cells in rows if cells is not None and after == row.line]
    last_cells = {cells[-1] for cells in ordinary if len(cells) == len(header)}
    found = []
    for row, after, cells in rows:
        inner = range(row.line, after)  # places of the lines after the first
        swallowed = [at for at in inner if _looks_like_a_row(lines[at], header, delimiter, last_cells)]
        if cells is None or not swallowed:
            found.append(row)
            continue
        reason = f"a cell spans the lines {row.line} to {after}, of which {len(swallowed)} look like rows: a stray quote?"
        found += [TableRow(line, reason) for line in range(row.line, after + 1)]
    return found


def _looks_like_a_row(line: str, header: list[str], delimiter: str, last_cells: set[str]) -> bool:
    """Whether a line has the header's number of cells and ends as ordinary rows do."""
    cells = _cells(line, delimiter)
    return len(cells) == len(header) and len(header) >= _FEWEST_CELLS and cells[-1] in last_cells
