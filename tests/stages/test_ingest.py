"""Where a month's feedback is found, and what is learned of it."""

import json
from pathlib import Path

import pytest

from pipeline.errors import NoInput
from pipeline.months import Month
from pipeline.stages.ingest import feedback_files
from pipeline.store.run_directory import Workspace
from tests import toy
from tests.conftest import call

MONTH = Month(2026, 2)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    for name in ("feedback/2026-02.jsonl", "drop/2026-02/b.csv", "drop/2026-02/a.parquet", "drop/2026-02/notes.txt",
                 "teams/x/2026-02.jsonl", "teams/y/2026-02.jsonl", "teams/y/2026-03.jsonl"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return Workspace(tmp_path)


def found(workspace: Workspace, *patterns: str) -> list[str]:
    return [
        file.relative_to(workspace.root).as_posix()
        for file in feedback_files(workspace, list(patterns), MONTH)
    ]


def test_a_pattern_may_name_a_file_a_folder_or_a_glob(workspace: Workspace) -> None:
    assert found(workspace, "feedback/{month}.jsonl") == ["feedback/2026-02.jsonl"]
    assert found(workspace, "drop/{month}") == ["drop/2026-02/a.parquet", "drop/2026-02/b.csv"]
    assert found(workspace, "teams/*/{month}.jsonl") == ["teams/x/2026-02.jsonl", "teams/y/2026-02.jsonl"]


def test_a_pattern_may_be_absolute(workspace: Workspace) -> None:
    pattern = f"{workspace.root}/teams/*/{{month}}.jsonl"
    assert found(workspace, pattern) == ["teams/x/2026-02.jsonl", "teams/y/2026-02.jsonl"]


def test_a_file_that_two_patterns_name_is_read_once(workspace: Workspace) -> None:
    assert found(workspace, "feedback/{month}.jsonl", "feedback/*.jsonl") == ["feedback/2026-02.jsonl"]


def test_without_any_file_all_patterns_are_told(workspace: Workspace) -> None:
    with pytest.raises(NoInput, match=r"2026-02: no feedback: looked for a/2026-02\.csv, b/\*"):
        feedback_files(workspace, ["a/{month}.csv", "b/*"], MONTH)


def ingested(workspace: Path, *words: str, month: str = "2026-02") -> dict[str, object]:
    done = call("ingest", "--month", month, "-w", workspace, *words)
    assert done.code == 0, done.err
    folder = next(
        path for path in sorted((workspace / "runs" / month).iterdir(), reverse=True) if path.is_dir()
    )
    content: dict[str, object] = json.loads((folder / "ingest/summary.json").read_text())
    return content


def test_one_file_for_all_months_gives_each_month_its_own_rows(launched: Path) -> None:
    rows = [*toy.toy_stream().feedback["2026-02"], *toy.toy_stream().feedback["2026-03"]]
    toy.write_jsonl(launched / "feedback/all.jsonl", rows)
    summary = ingested(launched, "-o", "ingest.sources=[{path: feedback/all.jsonl}]")
    assert (summary["rows"], summary["rejected"], summary["new_labels"]) == (30, 0, ["roaming"])


def test_a_row_that_was_given_again_in_a_later_month_is_learned_in_its_later_form(refused: Path) -> None:
    file = refused / "feedback/2026-03.jsonl"
    first = toy.toy_stream().feedback["2026-02"][-1]
    again = {**first, "label": "billing", "kind": "correction", "created_at": "2026-03-05T00:00:00Z"}
    toy.write_jsonl(file, [*toy.read_jsonl(file), again])
    summary = ingested(refused, month="2026-03")
    assert summary["rows"] == 60
    from pipeline.stages.tables import rows_of

    folder = refused / "runs/2026-03/001/ingest"
    rows = [row for name in ("train.parquet", "validation.parquet") for row in rows_of(folder / name)]
    assert [row.label for row in rows if row.id == first["id"]] == ["billing"]


def test_the_tables_hold_every_accepted_row_once(promoted: Path) -> None:
    from pipeline.stages.tables import rows_of

    folder = promoted / "runs/2026-02/001/ingest"
    train, validation = rows_of(folder / "train.parquet"), rows_of(folder / "validation.parquet")
    ids = [row.id for row in (*train, *validation)]
    assert sorted(ids) == sorted(row["id"] for row in toy.toy_stream().feedback["2026-02"])
    assert len(validation) == 3
