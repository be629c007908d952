"""A workspace that an earlier release made goes on: it is read, trusted, and gets its next month.

`tests/data/workspace-0.1.tar.gz` was made by commit 8500e2e, as `tests/toy.py` makes one but with 8 instead of 32 units and
more epochs: 2026-01 launched, 2026-02 promoted, 2026-03 refused (`-o gate.min_gain=101`). It is kept as it is.
"""

import itertools
import json
import tarfile
from pathlib import Path

import pytest

from tests.conftest import call
from tests.store.samples import tree
from tests.toy import LAUNCH_WORDS, NEW_WORDS, write_jsonl

ARCHIVE = Path(__file__).parent.parent / "data" / "workspace-0.1.tar.gz"


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The workspace of the earlier release."""
    folder = tmp_path / "earlier"
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def with_2026_04(workspace: Path) -> Path:
    """The workspace with feedback and golden rows of one more month, whose texts occur nowhere else."""
    words = LAUNCH_WORDS | {label: new for months in NEW_WORDS.values() for label, new in months.items()}
    for folder, template in (("feedback", "any {} or {} here"), ("golden", "once more the {} with {}")):
        rows = [
            {"id": f"{folder}-{label}-{i}", "text": template.format(*pair), "label": label}
            for label, mine in words.items()
            for i, pair in enumerate(itertools.combinations(mine, 2))
        ]
        if folder == "feedback":
            rows = [{**row, "kind": "correction", "created_at": "2026-04-02T12:00:00Z"} for row in rows]
        else:
            rows += [{**row, "id": f"{row['id']}-too", "text": f"{row['text']} please"} for row in rows]
        write_jsonl(workspace / folder / "2026-04.jsonl", rows)
    return workspace


def test_it_is_read_as_it_was_written(earlier: Path) -> None:
    before = tree(earlier)
    status = json.loads(call("status", "--json", "-w", earlier).out)
    assert status["champion"]["attempt"] == "2026-02/001"
    assert [(row["attempt"], row["outcome"]) for row in status["attempts"]] == [
        ("2026-01/001", "promoted"),
        ("2026-02/001", "promoted"),
        ("2026-03/001", "refused"),
    ]
    for command in (
        ["show", "2026-03"],
        ["diagnose", "2026-02"],
        ["doctor"],
        ["gc", "--keep", "1", "--dry-run"],
    ):
        done = call(*command, "-w", earlier)
        assert done.code == 0, (command, done.err)
    assert tree(earlier) == before


def test_it_is_proven_sound(earlier: Path) -> None:
    done = call("verify", "-w", earlier)
    assert done.code == 0
    assert done.out.startswith("3 attempt(s), ")
    assert done.out.endswith("all sound\n")


def test_its_champion_answers_as_it_did(earlier: Path) -> None:
    import pyarrow.parquet as pq

    recorded = pq.read_table(
        earlier / "runs" / "2026-02" / "001" / "eval" / "predictions.parquet"
    ).to_pylist()
    texts = {
        row["id"]: row["text"]
        for file in sorted((earlier / "golden").iterdir())
        for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())
    }
    done = call("predict", "-w", earlier, stdin="".join(f"{texts[row['id']]}\n" for row in recorded))
    said = [json.loads(line) for line in done.out.splitlines()]
    assert len(said) == len(recorded) == 120
    assert [row["label"] for row in said] == [row["after"] for row in recorded]
    for row, kept in zip(said, recorded, strict=True):
        assert row["confidence"] == pytest.approx(kept["after_confidence"], abs=1e-4)


def test_its_next_month_learns_what_was_refused_and_is_promoted(earlier: Path) -> None:
    done = call("run", "--month", "2026-04", "-w", with_2026_04(earlier))
    assert done.code == 0, done.err
    assert "2026-04 promoted" in done.out
    run = earlier / "runs" / "2026-04" / "001"
    summary = json.loads((run / "ingest" / "summary.json").read_text())
    assert summary["months"] == ["2026-03", "2026-04"]
    assert summary["rows"] == 30 + 48
    assert summary["new_labels"] == ["insurance"]
    assert [found["month"] for found in summary["drift"]] == ["2026-01", "2026-02"]
    assert call("verify", "-w", earlier).code == 0


def test_its_months_which_measured_no_drift_have_a_page(earlier: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert call("report", "2026-02", "-w", earlier, "--output", page).code == 0
    assert "<h2>Data</h2>" in page.read_text(encoding="utf-8")
    assert "<h3>Drift</h3>" not in page.read_text(encoding="utf-8")


def test_it_can_be_rolled_back(earlier: Path) -> None:
    assert call("rollback", "--reason", "a trial", "-w", earlier).code == 0
    assert json.loads(call("status", "--json", "-w", earlier).out)["champion"]["attempt"] == "2026-01/001"
