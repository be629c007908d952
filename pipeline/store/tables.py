"""The product's own tables of rows, written with equal bits; users' files are read in `pipeline/sources/`.

pyarrow is imported inside functions only: commands that need no table start without it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.errors import ArtifactCorrupt, BadData
from pipeline.store import atomic, reading, strict_json

if TYPE_CHECKING:
    pass

ColumnType = Literal["string", "int", "float", "bool"]

FILE_LIMIT_BYTES = 512 * 2**20
"""The largest file that is read."""


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
    lines = reading.read_file(path, limit_bytes=FILE_LIMIT_BYTES).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = strict_json.parse(line)
        except ValueError as error:
            raise ArtifactCorrupt(f"{path}: line {number}: {error}") from None
        if not isinstance(value, dict):
            raise ArtifactCorrupt(
                f"{path}: line {number}: expected a JSON object, found {type(value).__name__}"
            )
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


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
