"""Columnar files: Parquet, Arrow, and the folders that `datasets` saves; only the columns that are asked for are read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadData
from pipeline.sources.table import FILE_LIMIT_BYTES, LINE_LIMIT_BYTES, ROW_LIMIT, Dialect, Table, TableRow

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 4096
_CELL_BYTES = 64
"""What a cell takes in Python's memory besides its text: a file may hold billions of empty ones."""


def read_parquet_rows(path: Path, data: bytes, dialect: Dialect) -> Table:
    """Rows of a Parquet file.

    Raises:
        BadData: it cannot be decoded, or holds more than is read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        plain = pq.ParquetFile(pa.BufferReader(data))
        schema = plain.schema_arrow
        wanted = _wanted(path, schema, dialect)
        _check_size(path, plain.metadata)
        # dictionaries stay encoded: the same long text many times over costs its memory once, until counted
        texts = [name for name in wanted if _is_text_type(schema.field(name).type)]
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts)
        batches = file.iter_batches(batch_size=_BATCH_ROWS, columns=wanted)
        return Table(list(_rows(path, batches, schema)), (), _label_names(schema, dialect))
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise BadData(f"{path}: cannot be decoded as Parquet: {_first_line(error)}") from None


def read_arrow_rows(path: Path, data: bytes, dialect: Dialect) -> Table:
    """Rows of an Arrow file, of either format: for files, and for streams as `datasets` writes them.

    Raises:
        BadData: it cannot be decoded, or holds more than is read.
    """
    import pyarrow as pa

    try:
        buffer = pa.BufferReader(data)
        if data.startswith(b"ARROW1"):
            opened = pa.ipc.open_file(buffer)
            batches = (opened.get_batch(i) for i in range(opened.num_record_batches))
        else:
            opened = pa.ipc.open_stream(buffer)
            batches = iter(opened)
        wanted = _wanted(path, opened.schema, dialect)
        chosen = (_few(batch.select(wanted)) for batch in batches)
        return Table(
            list(_rows(path, (part for parts in chosen for part in parts), opened.schema)),
            (),
            _label_names(opened.schema, dialect),
        )
    except (pa.ArrowException, OSError, ValueError, OverflowError, KeyError) as error:
        raise BadData(f"{path}: cannot be decoded as Arrow: {_first_line(error)}") from None


def _few(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, _BATCH_ROWS):
        yield batch.slice(start, _BATCH_ROWS)


def _wanted(path: Path, schema: pa.Schema, dialect: Dialect) -> list[str]:
    """The columns to read: those that may be asked for, those of labelling tools, and any other that is text.

    Raises:
        BadData: a name that is asked for occurs twice.
    """
    names = list(schema.names)
    twice = sorted({name for name in names if names.count(name) > 1 and name in dialect.needed})
    if twice:
        raise BadData(f"{path}: the column {twice[0]!r} occurs twice")
    return [
        field.name
        for field in schema
        if names.count(field.name) == 1 and (field.name in dialect.needed or _is_text_type(field.type))
    ]


def _check_size(path: Path, metadata: pa.FileMetaData) -> None:
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


def _rows(path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[TableRow]:
    number, decoded = 0, 0
    for batch in batches:
        batch.validate(full=True)  # a damaged file has offsets that lead out of its memory
        decoded += sum(_decoded_bytes(column) + _CELL_BYTES * len(column) for column in batch.columns)
        if decoded > FILE_LIMIT_BYTES:
            raise BadData(f"{path}: decodes to more than {FILE_LIMIT_BYTES} bytes; split it into several")
        for record in _plain(batch).to_pylist():
            number += 1
            yield TableRow(number, _record(record))


def _label_names(schema: pa.Schema, dialect: Dialect) -> tuple[str, ...]:
    """The names of a ClassLabel column, which `datasets` writes into the schema's metadata."""
    try:
        told: Any = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        feature = told["info"]["features"][dialect.columns.get("label", "label")]
        names = feature["names"] if feature.get("_type") == "ClassLabel" else ()
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(map(str, names))


def _is_text_type(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _decoded_bytes(column: pa.Array) -> int:
    """The bytes that a column takes once its dictionary is written out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary)
    return pc.sum(pc.take(lengths, column.indices)).as_py() or 0


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
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


def _record(record: dict[str, object]) -> dict[str, object] | str:
    for name, value in record.items():
        if isinstance(value, str) and len(value) > LINE_LIMIT_BYTES:
            return f"{name}: {len(value)} characters; at most {LINE_LIMIT_BYTES} are read"
        if isinstance(value, float) and not math.isfinite(value):
            record[name] = None  # what a data frame writes for nothing
        elif isinstance(value, date):
            record[name] = value.isoformat()
    return record


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
