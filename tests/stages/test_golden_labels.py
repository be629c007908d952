"""Golden rows that ask for two answers to one text."""

import json
from pathlib import Path

from pipeline.evaluation.golden import GoldenRow, GoldenSet
from pipeline.label_changes import LabelChange, LabelChanges
from pipeline.months import Month
from pipeline.stages.golden_labels import conflicting
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
    assert f"{other!r} (row 61, id 'twice')" in done.err
    summary = json.loads((launched / "runs/2026-02/001/ingest/summary.json").read_text())
    assert summary["golden_conflicts"] == 1
    done = call(*words, "-o", "ingest.conflicts=refuse")
    assert done.code == 65
    assert "Keep one row of each, or let ingest.conflicts be newest or majority" in done.err


def test_only_labels_that_golden_rows_have_now_make_a_conflict() -> None:
    rows = [
        ("1", "a text", "repair"),
        ("2", "A text!", "refund"),
        ("3", "other", "stock"),
        ("4", "other", "login"),
    ]
    golden = GoldenSet("2026-01", tuple(GoldenRow(*row, "") for row in rows))
    merged = LabelChange("merge", "repair", "refund", Month(2026, 2))
    retired = LabelChange("retire", "stock", None, Month(2026, 2))
    assert [[number for number, _ in same] for same in conflicting(golden)] == [[1, 2], [3, 4]]
    assert [len(same) for same in conflicting(golden, LabelChanges((merged,)))] == [2]
    assert conflicting(golden, LabelChanges((merged, retired))) == []


def test_golden_labels_that_are_spelled_otherwise_are_told_before_anything_is_trained(launched: Path) -> None:
    golden = launched / "golden/2026-01.jsonl"
    rows = toy.read_jsonl(golden)
    spelled = {"login": "Login", "stock": " STOCK", "billing": "unheard of"}
    toy.write_jsonl(golden, [{**row, "label": spelled.get(str(row["label"]), row["label"])} for row in rows])
    done = call("ingest", "--month", "2026-02", "-w", launched)
    assert done.code == 0, done.err
    assert "golden/2026-01.jsonl: 20 row(s) have a label that no model answers" in done.err
    assert "First: 'Login' ought to be 'login'" in done.err
    summary = json.loads((launched / "runs/2026-02/001/ingest/summary.json").read_text())
    assert summary["golden_misspelled"] == 20
