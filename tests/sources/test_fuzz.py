"""Mutated files of every format: never a traceback, and every row read is accepted, refused or passed over.

`make fuzz` runs a million lines; FUZZ_LINES says how many.
"""

import csv
import io
import json
import os
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import RetrainError
from pipeline.feedback import check_feedback
from pipeline.labels import LabelSet
from pipeline.months import Month
from pipeline.rows import RawRecord
from pipeline.sources.read import read_table
from pipeline.sources.table import Dialect

LINES = int(os.environ.get("FUZZ_LINES", "12000"))
ROWS = [
    {
        "id": f"g{n}",
        "created_at": f"2026-0{2 + n % 2}-01T10:00:00Z",
        "kind": ("correction", "catalog")[n % 2],
        "text": f'text {n % 9} \N{LATIN SMALL LETTER E WITH ACUTE} "q", z',
        "label": "abc"[n % 3],
    }
    for n in range(12)
]
PIECES = [
    *(b'"', b'""', b",", b";", b"\t", b"\n", b"\r\n", b"\\", b"'", b":", b"- "),
    *(b"{", b"}", b"[", b"]", b"null", b"NaN", b"1e999", b"1769940000000"),
    *(b"\xff", b"\x00", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"&a ", b"*a"),
]


def seeds() -> dict[str, bytes]:
    """A sound file of each format."""
    table = pa.Table.from_pylist(ROWS)
    text, parquet, arrow = io.StringIO(), io.BytesIO(), io.BytesIO()
    writer = csv.DictWriter(text, list(ROWS[0]))
    writer.writeheader()
    writer.writerows(ROWS)
    pq.write_table(table, parquet)
    with pa.ipc.new_stream(arrow, table.schema) as stream:
        stream.write_table(table)
    return {
        ".csv": text.getvalue().encode(),
        ".jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode(),
        ".json": json.dumps(ROWS).encode(),
        ".yml": b"nlu:\n- intent: a\n  examples: |\n    - x\n    - y\n- intent: b\n  examples:\n  - text: z\n",
        ".parquet": parquet.getvalue(),
        ".arrow": arrow.getvalue(),
    }


def mutated(data: bytes, draw: random.Random) -> bytes:
    """The file with some bytes put in, taken out, changed, cut off or repeated."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 6)):
        place = draw.randrange(len(changed) + 1)
        kind = draw.randrange(5)
        if kind == 0:
            changed[place:place] = draw.choice(PIECES)
        elif kind == 1:
            del changed[place : place + draw.randint(1, 20)]
        elif kind == 2 and place < len(changed):
            changed[place] = draw.randrange(256)
        elif kind == 3 and draw.random() < 0.3:
            del changed[place:]
        else:
            other = draw.randrange(len(changed) + 1)
            changed[place:place] = changed[min(place, other) : max(place, other)]
    return bytes(changed)


@pytest.mark.parametrize("suffix", seeds())
def test_no_file_ends_in_a_traceback_and_no_row_is_lost(tmp_path: Path, suffix: str) -> None:
    whole, draw = seeds()[suffix], random.Random(suffix)
    read = 0
    for _ in range(LINES // len(ROWS) // len(seeds())):
        file = tmp_path / f"t{suffix}"
        file.write_bytes(mutated(whole, draw))
        try:
            table = read_table(file, dialect=Dialect(kind="correction"))
        except RetrainError:
            continue
        records = [
            RawRecord("t", row.line, None, row.value, of_one_month=False)
            if isinstance(row.value, str)
            else RawRecord("t", row.line, row.value, of_one_month=False)
            for row in table.rows
        ]
        found = check_feedback(
            records, month=Month(2026, 2), labels=LabelSet(("a", "b")), golden_texts=("text 3",)
        )
        assert len(records) == len(found.rows) + len(found.rejected) + found.passed_over
        read += len(records)
    assert read > 0


def test_no_line_of_a_csv_file_is_lost(tmp_path: Path) -> None:
    whole, draw = seeds()[".csv"], random.Random(7)
    for _ in range(LINES // len(ROWS) // len(seeds())):
        data = whole
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(whole.index(b"\n") + 1, len(data))
            data = data[:place] + draw.choice([b'"', b'",', b',"']) + data[place:]
        file = tmp_path / "t.csv"
        file.write_bytes(data)
        table = read_table(file)
        starts = [row.line for row in table.rows]
        assert starts == sorted(set(starts))
        lines = data.decode(errors="replace").split("\r\n")[:-1]
        spans = zip(starts, [*starts[1:], len(lines) + 1], strict=True)
        covered = {line for start, end in spans for line in range(start, end)}
        assert covered >= {n for n, line in enumerate(lines[1:], start=2) if line.strip(" ,")}
