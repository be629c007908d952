"""What ingest tells of a month whose rows are unlike those before, and of one whose rows are like them."""

import json
import random
from pathlib import Path
from typing import Any

from pipeline.inspection.reporting import write_report
from pipeline.store.workspace import Workspace
from tests import toy
from tests.conftest import call


def ingested(workspace: Path, month: str = "2026-02") -> tuple[list[dict[str, Any]], str]:
    """What the summary says of drift, and what was logged."""
    done = call("ingest", "--month", month, "-w", workspace)
    assert done.code == 0, done.err
    drift: list[dict[str, Any]] = json.loads(
        (workspace / f"runs/{month}/001/ingest/summary.json").read_text()
    )["drift"]
    return drift, done.err


def like_the_launch(workspace: Path) -> list[dict[str, object]]:
    """A month that has the launch's labels in their shares, in other texts of the same kind."""
    golden = toy.read_jsonl(workspace / "golden/2026-01.jsonl")
    rows = [{**row, "kind": "correction", "created_at": "2026-02-05T00:00:00Z"} for row in golden]
    (workspace / "golden/2026-01.jsonl").write_text(
        "".join(json.dumps(row | {"text": f"golden words {n}"}) + "\n" for n, row in enumerate(golden))
    )
    toy.write_jsonl(workspace / "feedback/2026-02.jsonl", rows)
    return rows


def test_a_month_like_the_launch_has_not_shifted(launched: Path) -> None:
    like_the_launch(launched)
    (found,), said = ingested(launched)
    assert (found["against"], found["month"], found["attempt"]) == ("launch", "2026-01", "2026-01/001")
    assert found["shifts"] == []
    assert found["labels"]["p"] > 0.1
    assert found["texts"]["p"] > 0.01
    assert found["texts_of_like_labels"]["p"] > 0.01
    assert found["words"]["new_share"] == found["words"]["usual_share"] == 0.0
    assert "the rows have" not in said


def test_other_words_for_the_same_labels_are_told_as_other_texts(launched: Path) -> None:
    rows = like_the_launch(launched)
    toy.write_jsonl(
        launched / "feedback/2026-02.jsonl", [row | {"text": f"esim {row['text']}"} for row in rows]
    )
    (found,), said = ingested(launched)
    assert found["texts_of_like_labels"]["p"] == 0.001
    assert found["labels"]["p"] > 0.1
    assert found["shifts"] == ["other texts of the same labels (p 0.001)"]
    assert found["words"]["new_in_rows"]["esim"] == found["words"]["rows"]
    assert "against 2026-01 (launch) the rows have other texts of the same labels" in said
    assert "esim" not in said


def test_other_shares_of_labels_are_told_with_those_that_changed(launched: Path) -> None:
    rows = [row for row in like_the_launch(launched) if row["label"] in ("billing", "login")]
    toy.write_jsonl(launched / "feedback/2026-02.jsonl", rows)
    (found,), _ = ingested(launched)
    assert found["shifts"][0].startswith("other shares of labels (Cramer's V 0.")
    assert {item["label"] for item in found["labels"]["changed"][:2]} == {"billing", "login"}
    assert found["labels"]["changed"][0]["now"] > found["labels"]["changed"][0]["before"]


def test_the_order_of_the_rows_changes_nothing(launched: Path) -> None:
    first, _ = ingested(launched)
    file = launched / "feedback/2026-02.jsonl"
    rows = toy.read_jsonl(file)
    random.Random(5).shuffle(rows)
    toy.write_jsonl(file, rows)
    done = call("ingest", "--month", "2026-02", "-w", launched)
    assert done.code == 0, done.err
    summary = launched / "runs/2026-02/002/ingest/summary.json"
    assert json.loads(summary.read_text())["drift"] == first


def test_a_later_month_is_compared_with_the_launch_and_the_month_before(promoted: Path) -> None:
    drift, _ = ingested(promoted, "2026-03")
    assert [(found["against"], found["month"]) for found in drift] == [
        ("launch", "2026-01"),
        ("month before", "2026-02"),
    ]
    assert drift[0]["words"]["new_share"] != drift[1]["words"]["new_share"]
    assert json.loads((promoted / "runs/2026-01/001/ingest/summary.json").read_text())["drift"] == []


def test_the_page_shows_drift_and_new_words_on_request_alone(launched: Path, tmp_path: Path) -> None:
    rows = like_the_launch(launched)
    toy.write_jsonl(
        launched / "feedback/2026-02.jsonl", [row | {"text": f"esim {row['text']}"} for row in rows]
    )
    assert call("run", "--month", "2026-02", "-w", launched).code in (0, 3)
    space = Workspace(launched)
    hidden = write_report(space, "2026-02/001", output=tmp_path / "hidden.html").read_text()
    assert "Against 2026-01 (launch): other texts of the same labels (p 0.001)." in hidden
    assert "MMD² " in hidden
    assert "% (0.0% usual)" in hidden
    assert "esim" not in hidden
    shown = write_report(space, "2026-02/001", include_text=True, output=tmp_path / "shown.html").read_text()
    assert "<summary>New words against 2026-01 (launch)</summary><ul><li><bdi>esim</bdi>: " in shown
    assert "<h3>Drift</h3>" not in (launched / "runs/2026-01/001/report.html").read_text()
