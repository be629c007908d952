"""Tables of rows: users' files read with suspicion, the product's own written with equal bits.

pyarrow is imported inside functions only: commands that need no table start without it.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pipeline.errors import ArtifactCorrupt, BadData
from pipeline.store import atomic, reading, strict_json
from pipeline.store.hashing import sha256_bytes

if TYPE_CHECKING:
    import pyarrow as pa

ColumnType = Literal["string", "int", "float", "bool"]

SUFFIXES = (".jsonl", ".csv", ".parquet")
FILE_LIMIT_BYTES = 512 * 2**20
"""The largest file that is read, and the most that a Parquet file may decode to."""
ROW_LIMIT = 2_000_000
LINE_LIMIT_BYTES = 2**20
"""The longest line or cell; a longer one is refused alone."""

_BATCH_ROWS = 4096
_CELL_BYTES = 64
"""What a cell takes in Python's memory besides its text: a file may hold billions of empty ones."""


class TableRow(NamedTuple):
    """One row of a user's file: the line (or, in Parquet, row) it begins at, from 1, and its record.

    `value` is the record, or the reason for which there is none.
    """

    line: int
    value: dict[str, object] | str


def read_table(path: Path, *, sha256: str | None = None) -> list[TableRow]:
    """Read a user's table; a bad row is handed back as a reason, a bad file is refused as a whole.

    JSONL: one strict JSON object per line, UTF-8, a byte order mark is passed over, as are blank lines.
    CSV: a header of distinct names, empty cells are None. Parquet: flat columns, moments as ISO 8601 text.

    Args:
        path: a regular file that ends in .jsonl, .csv or .parquet, in letters of either case, or a link to one.
        sha256: what the bytes that are read must hash to, where a record says so already.

    Raises:
        NoInput: there is no such file.
        AccessDenied, CannotWrite: the operating system refuses, or the disk fails.
        BadData: it is not a regular file, too large, of an unknown kind, not what its name says, or other bytes than
            were recorded.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise BadData(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}")
    try:
        data = reading.read_file(path, limit_bytes=FILE_LIMIT_BYTES, follow_links=True)
    except ArtifactCorrupt as error:
        raise BadData(f"{error}. Name a regular file, or split a large one into several") from None
    if sha256 is not None and sha256_bytes(data) != sha256:
        raise changed_input(path)
    if suffix == ".jsonl":
        found = _jsonl_rows(data)
    elif suffix == ".csv":
        found = _csv_rows(path, data)
    else:
        found = _parquet_rows(path, data)
    rows = list(itertools.islice(found, ROW_LIMIT + 1))
    if len(rows) > ROW_LIMIT:
        raise BadData(
            f"{path}: more than {ROW_LIMIT} rows, which is the most that is read; split it into several"
        )
    return rows


def changed_input(path: Path) -> BadData:
    """What is raised where an input is no longer what the running command began with."""
    return BadData(
        f"{path}: changed while this command ran. Let whatever writes it finish, and run the same command again"
    )


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write one JSON object per line; equal rows give equal bits.

    Raises:
        ValueError: for NaN and infinite numbers; AccessDenied, CannotWrite: as `atomic.write_file`.
    """
    text = "".join(atomic.render_json_line(dict(row)) + "\n" for row in rows)
    atomic.write_file(path, text.encode("utf-8"))


def read_jsonl(path: Path) -> list[dict[str, object]]:
    """Read a JSONL file that the product wrote.

    Raises:
        NoInput: there is none. ArtifactCorrupt: it holds anything but one strict JSON object per line.
    """
    records = []
    for line, value in _jsonl_rows(reading.read_file(path, limit_bytes=FILE_LIMIT_BYTES)):
        if isinstance(value, str):
            raise ArtifactCorrupt(f"{path}: line {line}: {value}")
        records.append(value)
    return records


def write_parquet(
    path: Path, rows: Sequence[Mapping[str, object]], columns: Mapping[str, ColumnType]
) -> None:
    """Write rows as Parquet; equal rows and columns give equal bits with the same pyarrow.

    Args:
        path: the file.
        rows: each with a value or None for every column.
        columns: names and types, in the order of the file.

    Raises:
        KeyError, ValueError: a row lacks a column, or holds a value of another type.
        AccessDenied, CannotWrite: as `atomic.write_file`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"string": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    arrays = [pa.array([row[name] for row in rows], type=types[kind]) for name, kind in columns.items()]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), buffer, compression="zstd")
    atomic.write_file(path, buffer.getvalue())


def read_parquet(path: Path) -> list[dict[str, object]]:
    """Read a Parquet file that the product wrote.

    Raises:
        NoInput: there is none. ArtifactCorrupt: it cannot be decoded.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = reading.read_file(path, limit_bytes=FILE_LIMIT_BYTES)
    try:
        rows: list[dict[str, object]] = pq.ParquetFile(pa.BufferReader(data)).read().to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ArtifactCorrupt(f"{path}: cannot be decoded as Parquet: {_first_line(error)}") from None
    return rows


def _jsonl_rows(data: bytes) -> Iterator[TableRow]:
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        yield TableRow(number, _json_record(line))


def _json_record(line: bytes) -> dict[str, object] | str:
    if len(line) > LINE_LIMIT_BYTES:
        return f"a line of {len(line)} bytes; at most {LINE_LIMIT_BYTES} are read"
    try:
        value = strict_json.parse(line)
    except ValueError as error:
        return str(error)
    if not isinstance(value, dict):
        return f"expected a JSON object, found {type(value).__name__}"
    return value


def _csv_rows(path: Path, data: bytes) -> Iterator[TableRow]:
    # bytes that are not UTF-8 become lone surrogates here, so that they cost their own row only
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    reader = csv.reader(_csv_lines(path, text), strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            if header is None:
                raise BadData(f"{path}: line {line}: {error}") from None
            yield TableRow(line, f"not CSV: {error}")
            continue
        if not cells:
            continue
        if header is None:
            header = _csv_header(path, cells)
        else:
            yield TableRow(line, _csv_record(header, cells))
    if header is None:
        raise BadData(f"{path}: is empty, expected a header line with at least text,label")


def _csv_lines(path: Path, text: str) -> Iterator[str]:
    for number, line in enumerate(io.StringIO(text, newline=""), start=1):
        if len(line) > LINE_LIMIT_BYTES:
            raise BadData(
                f"{path}: line {number} has {len(line)} characters, at most {LINE_LIMIT_BYTES} are read"
            )
        yield line


def _csv_header(path: Path, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    if not all(header) or len(set(header)) != len(header):
        raise BadData(f"{path}: the header must name every column once, found {', '.join(map(repr, header))}")
    if not _is_text("".join(header)):
        raise BadData(f"{path}: the header is not UTF-8")
    return header


def _csv_record(header: list[str], cells: list[str]) -> dict[str, object] | str:
    if len(cells) != len(header):
        return f"{len(cells)} cells, the header has {len(header)}"
    if not all(map(_is_text, cells)):
        return "not UTF-8"
    return {name: cell or None for name, cell in zip(header, cells, strict=True)}


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _parquet_rows(path: Path, data: bytes) -> Iterator[TableRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        plain = pq.ParquetFile(pa.BufferReader(data))
        schema = plain.schema_arrow
        _check_parquet(path, plain.metadata, schema)
        # dictionaries stay encoded: the same long text many times over costs its memory once, until counted
        texts = [field.name for field in schema if _is_text_type(field.type)]
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts)
        number, decoded = 0, 0
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            decoded += sum(_decoded_bytes(column) + _CELL_BYTES * len(column) for column in batch.columns)
            if decoded > FILE_LIMIT_BYTES:
                raise BadData(f"{path}: decodes to more than {FILE_LIMIT_BYTES} bytes; split it into several")
            for record in _plain_batch(batch).to_pylist():
                number += 1
                yield TableRow(number, _parquet_record(record))
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise BadData(f"{path}: cannot be decoded as Parquet: {_first_line(error)}") from None


def _check_parquet(path: Path, metadata: pa.FileMetaData, schema: pa.Schema) -> None:
    """Refuse by what the file says of itself, before anything is decoded."""
    if metadata.num_rows > ROW_LIMIT:
        raise BadData(
            f"{path}: {metadata.num_rows} rows, at most {ROW_LIMIT} are read; split it into several"
        )
    claimed = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if claimed > FILE_LIMIT_BYTES:
        raise BadData(
            f"{path}: decodes to {claimed} bytes, at most {FILE_LIMIT_BYTES} are read; split it into several"
        )
    if len(set(schema.names)) != len(schema.names):
        raise BadData(f"{path}: a column name occurs twice")
    for field in schema:
        if not (_is_text_type(field.type) or _is_scalar_type(field.type)):
            raise BadData(f"{path}: column {field.name!r} is {field.type}; text, numbers and times are read")


def _is_scalar_type(kind: pa.DataType) -> bool:
    import pyarrow as pa

    types = pa.types
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return True
    return bool(types.is_timestamp(kind) or types.is_date(kind) or types.is_null(kind))


def _is_text_type(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _decoded_bytes(column: pa.Array) -> int:
    """The bytes that a column takes once its dictionary is written out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary)
    return pc.sum(pc.take(lengths, column.indices)).as_py() or 0


def _plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with dictionaries written out, and times in microseconds, as Python's own are."""
    import pyarrow as pa

    columns = []
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        elif pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _parquet_record(record: dict[str, object]) -> dict[str, object] | str:
    for name, value in record.items():
        if isinstance(value, float) and not math.isfinite(value):
            return f"{name}: {value} is no finite number"
        if isinstance(value, str) and len(value) > LINE_LIMIT_BYTES:
            return f"{name}: {len(value)} characters; at most {LINE_LIMIT_BYTES} are read"
        if isinstance(value, date):
            record[name] = value.isoformat()
    return record


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
