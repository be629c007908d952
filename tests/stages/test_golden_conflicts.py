"""Golden rows that ask for two answers to one text."""

import json
from pathlib import Path

from tests import toy
from tests.conftest import call


def test_a_golden_text_with_two_labels_is_told_and_refused_where_asked(launched: Path) -> None:
    golden = launched / "golden/2026-01.jsonl"
    rows = toy.read_jsonl(golden)
    other = next(row["label"] for row in rows if row["label"] != rows[0]["label"])
    toy.write_jsonl(golden, [*rows, {"id": "twice", "text": f"{rows[0]['text']}!", "label": other}])
    words = ("ingest", "--month", "2026-02", "-w", launched)
    done = call(*words)
    assert done.code == 0, done.err
    assert "golden/2026-01.jsonl: 1 text(s) have several labels" in done.err
    assert f"{other!r} (row 'twice')" in done.err
    summary = json.loads((launched / "runs/2026-02/001/ingest/summary.json").read_text())
    assert summary["golden_conflicts"] == 1
    done = call(*words, "-o", "ingest.conflicts=refuse")
    assert done.code == 65
    assert "Keep one row of each, or let ingest.conflicts be newest or majority" in done.err
