"""The job that makes a month's feedback of more than one machine reads."""

import json
import os
from pathlib import Path

import duckdb
import pytest

from tests import toy
from tests.conftest import call

from .pages import ROOT, blocks

JOB = blocks(ROOT / "docs/scale.md", "sql")[0].text
SOURCES = 'ingest.sources=[{path: "feedback/month={month}"}]'


@pytest.fixture
def sharded(launched: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose month's feedback the job wrote, from raw events with each row twice."""
    rows = toy.read_jsonl(launched / "feedback/2026-02.jsonl")
    (launched / "feedback/2026-02.jsonl").unlink()
    (launched / "raw").mkdir()
    twice = [{**row, "id": f"{row['id']}-{n}"} for row in rows for n in range(2)]
    toy.write_jsonl(launched / "events.jsonl", twice)
    monkeypatch.chdir(launched)
    with duckdb.connect() as database:
        database.execute("COPY (FROM read_json('events.jsonl')) TO 'raw/events.parquet' (FORMAT parquet)")
        database.execute(JOB)
    return launched


def test_the_job_gives_each_text_with_its_label_once_and_ingest_reads_it(sharded: Path) -> None:
    done = call("ingest", "--month", "2026-02", "-w", sharded, "-o", SOURCES)
    assert done.code == 0, done.err
    assert "is not read" not in done.err
    summary = json.loads((sharded / "runs/2026-02/001/ingest/summary.json").read_text())
    events = toy.read_jsonl(sharded / "events.jsonl")
    assert summary["read"] == summary["rows"] == len({(row["text"], row["label"]) for row in events})
    assert summary["rejected"] == 0


def test_a_shard_that_changes_makes_the_month_run_again(sharded: Path) -> None:
    words = ("ingest", "--month", "2026-02", "-w", sharded, "-o", SOURCES)
    assert call(*words).code == 0
    (shard,) = (sharded / "feedback/month=2026-02").glob("*.parquet")
    with duckdb.connect() as database:
        database.execute(f"COPY (FROM '{shard}' LIMIT 20) TO 'fewer.parquet' (FORMAT parquet)")
    os.replace("fewer.parquet", shard)
    assert call(*words).code == 0
    assert json.loads((sharded / "runs/2026-02/002/ingest/summary.json").read_text())["read"] == 20
