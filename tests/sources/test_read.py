"""Users' tables are read with suspicion, and no line is lost without a word."""

import json
import os
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import BadData, NoInput
from pipeline.sources import arrow_rows, read
from pipeline.sources.arrow_rows import read_parquet_rows
from pipeline.sources.read import read_table
from pipeline.sources.table import FILE_LIMIT_BYTES, Dialect, TableRow


def table(folder: Path, name: str, data: bytes) -> list[TableRow]:
    (folder / name).write_bytes(data)
    return read_table(folder / name).rows


def decoded(folder: Path, columns: dict[str, Any]) -> list[TableRow]:
    """All columns of a Parquet file, whether this project asks for them or not."""
    file = folder / "t.parquet"
    pq.write_table(pa.table(columns), file)
    asked = Dialect(columns={name: name for name in columns})
    return read_parquet_rows(file, file.read_bytes(), asked).rows


def parquet(folder: Path, columns: dict[str, Any], **options: Any) -> list[TableRow]:
    pq.write_table(pa.table(columns), folder / "t.parquet", **options)
    return read_table(folder / "t.parquet").rows


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "JSONL"])
def test_the_three_kinds_give_the_same_records(tmp_path: Path, suffix: str) -> None:
    records: list[dict[str, object]] = [
        {"text": 'say "hi", \N{SNOWMAN}', "label": "greeting", "predicted": None},
        {"text": "two\nlines", "label": "x", "predicted": "y"},
    ]
    data = {
        "jsonl": "".join(json.dumps(r) + "\n" for r in records).encode(),
        "csv": 'text,label,predicted\n"say ""hi"", \N{SNOWMAN}",greeting,\n"two\nlines",x,y\n'.encode(),
    }
    if suffix == "parquet":
        rows = parquet(tmp_path, {name: [r[name] for r in records] for name in records[0]})
    else:
        rows = table(tmp_path, f"t.{suffix}", data[suffix.lower()])
    assert [row.value for row in rows] == records
    assert rows[0].line == (2 if suffix == "csv" else 1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[1]", "expected a JSON object, found list"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        (b"[" * 50_000, "nested deeper than 64 levels"),
        (b'{"a": "\\ud800"}', "half of a surrogate pair, which is no character"),
        (
            b'{"a": "\xff"}',
            "not UTF-8. Where the file has another encoding, set ingest.encoding, such as cp1252",
        ),
        (b'{"a": 1', "not JSON: Expecting ',' delimiter at line 1, column 8"),
        (b'{"a": "' + b"x" * 2**20 + b'"}', "a line of 1048585 characters; at most 1048576 are read"),
    ],
)
def test_a_bad_line_costs_itself_only(tmp_path: Path, line: bytes, reason: str) -> None:
    rows = table(tmp_path, "t.jsonl", b'{"a": 1}\n' + line + b'\n{"a": 3}')
    assert rows == [TableRow(1, {"a": 1}), TableRow(2, reason), TableRow(3, {"a": 3})]


def test_marks_blank_lines_and_windows_line_ends_are_tolerated(tmp_path: Path) -> None:
    assert table(tmp_path, "t.jsonl", b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}\r\n') == [
        TableRow(1, {"a": 1}),
        TableRow(4, {"a": 2}),
    ]
    assert table(tmp_path, "t.csv", b"\xef\xbb\xbftext,label\r\na,b\r\n\r\n") == [
        TableRow(2, {"text": "a", "label": "b"})
    ]


def test_line_separators_inside_text_do_not_end_a_line(tmp_path: Path) -> None:
    data = '{"a": "x\u2028y\x85z"}\n'.encode()
    assert table(tmp_path, "t.jsonl", data) == [TableRow(1, {"a": "x\u2028y\x85z"})]


def test_an_empty_jsonl_file_has_no_rows(tmp_path: Path) -> None:
    assert table(tmp_path, "t.jsonl", b"") == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"only one", "1 cells, the header has 2"),
        (b"a,b,c", "3 cells, the header has 2"),
        (b"\xff,b", "not UTF-8. Where the file has another encoding, set ingest.encoding, such as cp1252"),
        (b"x" * 2**20 + b",b", "a line of 1048579 characters; at most 1048576 are read"),
    ],
)
def test_a_bad_csv_row_costs_itself_only(tmp_path: Path, line: bytes, reason: str) -> None:
    rows = table(tmp_path, "t.csv", b"text,label\na,b\n" + line + b"\nc,d\n")
    assert rows == [
        TableRow(2, {"text": "a", "label": "b"}),
        TableRow(3, reason),
        TableRow(4, {"text": "c", "label": "d"}),
    ]


def test_a_quote_that_is_never_closed_is_told_where_it_opens(tmp_path: Path) -> None:
    rows = table(tmp_path, "t.csv", b'text,label\na,b\n"c,d\ne,f\n')
    assert rows == [
        TableRow(2, {"text": "a", "label": "b"}),
        TableRow(3, "not CSV: a quote that opens here does not close in the right place, up to line 4"),
        TableRow(4, {"text": "e", "label": "f"}),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty, expected a header line with at least text,label"),
        (b"text,text\n", "the header must name every column once, found 'text', 'text'"),
        (b"text,\xff\n", "the header is not UTF-8"),
        (b'text,"label', "line 1: not CSV: a quote that opens here"),
    ],
)
def test_a_bad_csv_file_is_refused_as_a_whole(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(BadData, match=reason):
        table(tmp_path, "t.csv", data)


def test_parquet_moments_become_text(tmp_path: Path) -> None:
    moment = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    columns = {
        "us": pa.array([moment, None], pa.timestamp("us", tz="UTC")),
        "ns": pa.array([1_772_368_200_000_000_123, None], pa.timestamp("ns", tz="UTC")),
        "naive": pa.array([moment.replace(tzinfo=None), None], pa.timestamp("ms")),
        "day": pa.array([date(2026, 3, 1), None], pa.date32()),
    }
    assert decoded(tmp_path, columns) == [
        TableRow(
            1,
            {
                "us": "2026-03-01T12:30:00+00:00",
                "ns": "2026-03-01T12:30:00+00:00",
                "naive": "2026-03-01T12:30:00",
                "day": "2026-03-01",
            },
        ),
        TableRow(2, {"us": None, "ns": None, "naive": None, "day": None}),
    ]


def test_parquet_dictionaries_and_numbers_are_plain_values(tmp_path: Path) -> None:
    columns = {
        "label": pa.array(["a", "b", None]).dictionary_encode(),
        "n": [1, 2, 3],
        "ok": [True, False, None],
    }
    assert [row.value for row in decoded(tmp_path, columns)] == [
        {"label": "a", "n": 1, "ok": True},
        {"label": "b", "n": 2, "ok": False},
        {"label": None, "n": 3, "ok": None},
    ]


def test_parquet_cells_that_cannot_be_used_cost_their_row_only(tmp_path: Path) -> None:
    columns = {"text": ["a", "x" * (2**20 + 1), "c"], "score": [float("nan"), 1.0, 2.0]}
    assert decoded(tmp_path, columns) == [
        TableRow(1, {"text": "a", "score": None}),
        TableRow(2, "text: 1048577 characters; at most 1048576 are read"),
        TableRow(3, {"text": "c", "score": 2.0}),
    ]


def test_a_small_parquet_file_that_decodes_to_gigabytes_is_refused_before_it_does(tmp_path: Path) -> None:
    text = pa.array(["x" * 2**20]).dictionary_encode()
    bomb = pa.DictionaryArray.from_arrays(pa.array([0] * 4000, pa.int32()), text.dictionary)
    pq.write_table(pa.table({"text": bomb}), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 2**20
    with pytest.raises(BadData, match="decodes to more than 536870912 bytes"):
        read_table(tmp_path / "t.parquet")


def test_a_parquet_file_that_says_it_is_too_large_is_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow_rows, "FILE_LIMIT_BYTES", 50_000)
    with pytest.raises(BadData, match=r"decodes to [0-9]+ bytes, at most 50000 are read"):
        parquet(tmp_path, {"n": [0] * 10_000}, use_dictionary=False)
    monkeypatch.setattr(arrow_rows, "ROW_LIMIT", 9)
    with pytest.raises(BadData, match="10 rows, at most 9 are read"):
        parquet(tmp_path, {"n": pa.array(range(10))})


def test_a_parquet_file_of_empty_cells_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow_rows, "FILE_LIMIT_BYTES", 1_000_000)
    columns = {f"c{i}": pa.nulls(10_000) for i in range(20)}
    with pytest.raises(BadData, match="decodes to more than 1000000 bytes"):
        decoded(tmp_path, columns)


def test_parquet_columns_that_are_not_asked_for_are_left_where_they_are(tmp_path: Path) -> None:
    columns = {"text": ["a"], "tags": [["a"]], "meta": [{"agent": "b"}], "amount": [Decimal("1.5")]}
    assert parquet(tmp_path, columns) == [TableRow(1, {"text": "a"})]


def test_a_parquet_column_that_is_asked_for_stands_once(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(BadData, match="the column 'text' occurs twice"):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1", b"text,label\na,b\n"])
def test_a_file_that_is_no_parquet_is_told(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BadData, match=r"t.parquet: cannot be decoded as Parquet: "):
        table(tmp_path, "t.parquet", data)


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv"])
def test_files_of_too_many_rows_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(read, "ROW_LIMIT", 2)
    monkeypatch.setattr(arrow_rows, "ROW_LIMIT", 2)
    with pytest.raises(BadData, match="more than 2 rows"):
        table(tmp_path, name, b"a\n" + b"{}\n" * 3)


def test_files_of_another_kind_and_pipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"expected a file that ends in .jsonl, .ndjson, .json, .csv,"):
        table(tmp_path, "t.docx", b"")
    (tmp_path / "circle.jsonl").symlink_to("circle.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    for name, kind in (
        ("circle", "symbolic link that leads in a circle"),
        ("pipe", "device"),
        ("folder", "folder"),
    ):
        with pytest.raises(
            BadData, match=rf"{name}.jsonl: expected a file, found a {kind}. Name a regular file"
        ):
            read_table(tmp_path / f"{name}.jsonl")
    with pytest.raises(NoInput, match=r"none.jsonl: there is no such file"):
        read_table(tmp_path / "none.jsonl")


def test_a_link_to_a_table_is_read(tmp_path: Path) -> None:
    (tmp_path / "mounted").write_text('{"text": "a"}\n')
    (tmp_path / "link.jsonl").symlink_to("mounted")
    assert [row.value for row in read_table(tmp_path / "link.jsonl").rows] == [{"text": "a"}]
    (tmp_path / "mounted").unlink()
    with pytest.raises(NoInput, match=r"link.jsonl: the symbolic link leads to no file"):
        read_table(tmp_path / "link.jsonl")


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "t.jsonl", "wb") as file:
        file.truncate(FILE_LIMIT_BYTES + 1)
    with pytest.raises(BadData, match="536870913 bytes, at most 536870912 are expected"):
        read_table(tmp_path / "t.jsonl")
