"""Where a month's feedback is found, and what is learned of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import NoInput
from pipeline.months import Month
from pipeline.recorded.rows import rows_of
from pipeline.rows import Row
from pipeline.stages.feedback_files import feedback_files
from pipeline.store.workspace import Workspace
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
    return [workspace.relative(file) for file in feedback_files(workspace, list(patterns), MONTH)]


def test_a_pattern_may_name_a_file_a_folder_or_a_glob(workspace: Workspace) -> None:
    assert found(workspace, "feedback/{month}.jsonl") == ["feedback/2026-02.jsonl"]
    assert found(workspace, "drop/{month}") == ["drop/2026-02/a.parquet", "drop/2026-02/b.csv"]
    assert found(workspace, "teams/*/{month}.jsonl") == ["teams/x/2026-02.jsonl", "teams/y/2026-02.jsonl"]


def test_a_pattern_may_be_absolute(workspace: Workspace) -> None:
    pattern = f"{workspace.root}/teams/*/{{month}}.jsonl"
    assert found(workspace, pattern) == ["teams/x/2026-02.jsonl", "teams/y/2026-02.jsonl"]


def test_a_file_that_two_patterns_name_is_read_once(workspace: Workspace) -> None:
    assert found(workspace, "feedback/{month}.jsonl", "feedback/*.jsonl") == ["feedback/2026-02.jsonl"]


def test_a_file_is_one_months_alone_where_its_pattern_names_the_month(workspace: Workspace) -> None:
    (workspace.root / "all.csv").touch()
    files = feedback_files(workspace, ["feedback/{month}.jsonl", "all.csv", "feedback/*.jsonl"], MONTH)
    assert files == {workspace.root / "feedback/2026-02.jsonl": True, workspace.root / "all.csv": False}


def test_without_any_file_all_patterns_are_told(workspace: Workspace) -> None:
    with pytest.raises(NoInput, match=r"2026-02: no feedback: looked for a/2026-02\.csv, b/\*"):
        feedback_files(workspace, ["a/{month}.csv", "b/*"], MONTH)


def ingested(workspace: Path, *words: str, month: str = "2026-02") -> dict[str, Any]:
    done = call("ingest", "--month", month, "-w", workspace, *words)
    assert done.code == 0, done.err
    folder = next(
        path for path in sorted((workspace / "runs" / month).iterdir(), reverse=True) if path.is_dir()
    )
    content: dict[str, Any] = json.loads((folder / "ingest/summary.json").read_text())
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
    assert [row.label for row in learned(refused) if row.id == first["id"]] == ["billing"]


@pytest.mark.parametrize(
    ("policy", "kept"), [("newest", ["login"]), ("majority", ["billing"]), ("refuse", [])]
)
def test_a_text_that_two_months_give_two_labels_is_decided_as_in_one(
    refused: Path, policy: str, kept: list[str]
) -> None:
    first = {"text": "where does it stand", "label": "billing", "kind": "correction"}
    for month, rows in {
        "2026-02": [first, {**first, "text": "Where does it stand?", "created_at": "2026-02-02T00:00:00Z"}],
        "2026-03": [{**first, "text": "where does it stand!", "label": "login"}],
    }.items():
        file = refused / f"feedback/{month}.jsonl"
        toy.write_jsonl(file, [*toy.read_jsonl(file), *rows])
    summary = ingested(refused, "-o", f"ingest.conflicts={policy}", month="2026-03")
    found = {row.label for row in learned(refused) if "does it stand" in row.text}
    assert sorted(found) == kept
    assert summary["read"] == 63
    assert summary["rows"] + summary["given_again"] == 63
    told = (refused / "runs/2026-03/001/run.log").read_text()
    assert "another month gives another label" in told


def test_a_label_that_a_later_month_takes_back_is_not_brought(refused: Path) -> None:
    file = refused / "feedback/2026-03.jsonl"
    taken_back = [
        {"text": row["text"], "label": "stock", "kind": "correction"}
        for row in toy.toy_stream().feedback["2026-02"]
        if row["label"] == "roaming"
    ]
    toy.write_jsonl(file, [*toy.read_jsonl(file), *taken_back])
    assert ingested(refused, month="2026-03")["new_labels"] == ["insurance"]


def test_the_tables_hold_every_accepted_row_once(promoted: Path) -> None:
    folder = promoted / "runs/2026-02/001/ingest"
    train, validation = rows_of(folder, "train.parquet"), rows_of(folder, "validation.parquet")
    ids = [row.id for row in (*train, *validation)]
    assert sorted(ids) == sorted(row["id"] for row in toy.toy_stream().feedback["2026-02"])
    assert len(validation) == 3


def learned(workspace: Path, month: str = "2026-03") -> list[Row]:
    folder = workspace / "runs" / month / "001/ingest"
    return [row for name in ("train.parquet", "validation.parquet") for row in rows_of(folder, name)]


def test_another_row_of_the_same_id_in_a_carried_month_is_learned_too(refused: Path) -> None:
    for month in ("2026-02", "2026-03"):
        rows = [{**row, "id": str(n)} for n, row in enumerate(toy.toy_stream().feedback[month])]
        toy.write_jsonl(refused / f"feedback/{month}.jsonl", rows)
    assert ingested(refused, month="2026-03")["rows"] == 60
    ids = {row.id for row in learned(refused)}
    assert len(ids) == 60
    assert {"0", "2026-02/0"} <= ids


def test_rows_of_several_carried_months_all_have_their_own_id_and_none_is_learned_twice(
    refused: Path,
) -> None:
    assert call("run", "--month", "2026-03", "-w", refused, *toy.REFUSE).code == 3
    given = {
        "2026-02": [("0", "first"), ("2026-02/0", "second"), ("9", "said before")],
        "2026-03": [("0", "third"), ("2026-02/0", "fourth"), ("8", "said before")],
        "2026-04": [("0", "fifth"), ("2026-03/0", "sixth"), ("2026-02/2026-02/0", "seventh")],
    }
    for month, rows in given.items():
        fixed = {"label": "billing", "kind": "correction", "created_at": f"{month}-02T00:00:00Z"}
        toy.write_jsonl(
            refused / f"feedback/{month}.jsonl", [{"id": i, "text": text, **fixed} for i, text in rows]
        )
    assert ingested(refused, month="2026-04")["rows"] == 8
    found = learned(refused, "2026-04")
    assert sorted(row.text for row in found) == sorted(
        {text for month in given.values() for _, text in month}
    )
    assert len({row.id for row in found}) == 8
    told = (refused / "runs/2026-04/001/run.log").read_text()
    assert "1 row(s) of 2026-02 were given again in a later month and are learned once" in told


def test_a_carried_month_leaves_out_what_it_made_golden_and_refuses_nothing(launched: Path) -> None:
    fraction = ("-o", "ingest.golden_fraction=0.3")
    for month in ("2026-02", "2026-03"):
        (launched / f"golden/{month}.jsonl").unlink()
    assert call("run", "--month", "2026-02", "-w", launched, *fraction, *toy.REFUSE).code == 3
    aside = {str(row["text"]) for row in toy.read_jsonl(launched / "runs/2026-02/001/ingest/golden.jsonl")}
    summary = ingested(launched, *fraction, month="2026-03")
    assert len(aside) == 9
    assert (summary["months"], summary["rejected"], summary["rows"]) == (["2026-02", "2026-03"], 0, 51)
    assert aside.isdisjoint(row.text for row in learned(launched))


def test_two_files_of_one_name_are_both_recorded(launched: Path) -> None:
    rows = toy.toy_stream().feedback["2026-02"]
    for folder, part in (("corrections", rows[:15]), ("escalations", rows[15:])):
        toy.write_jsonl(launched / folder / "2026-02.jsonl", part)
    sources = "ingest.sources=[{path: 'corrections/{month}.jsonl'}, {path: 'escalations/{month}.jsonl'}]"
    run = ("run", "--month", "2026-02", "--until", "ingest", "-w", launched, "-o", sources)
    assert call(*run).code == 0
    inputs = json.loads((launched / "runs/2026-02/001/manifest.json").read_text())["stages"]["ingest"][
        "inputs"
    ]
    assert {
        "feedback 2026-02 corrections/2026-02.jsonl",
        "feedback 2026-02 escalations/2026-02.jsonl",
    } <= set(inputs)
    toy.write_jsonl(launched / "corrections/2026-02.jsonl", rows[:14])
    plan = json.loads(call(*run, "--dry-run", "--json").out)
    assert (plan[0]["stage"], plan[0]["runs"]) == ("ingest", True)
    assert "corrections/2026-02.jsonl changed" in plan[0]["reason"]


def test_files_of_one_month_and_of_all_are_read_each_in_its_way(launched: Path) -> None:
    stream = toy.toy_stream().feedback
    dateless = [{k: v for k, v in row.items() if k != "created_at"} for row in stream["2026-02"][:20]]
    toy.write_jsonl(launched / "feedback/2026-02.jsonl", dateless)
    toy.write_jsonl(launched / "all.jsonl", [*stream["2026-02"][20:], *stream["2026-03"]])
    sources = "ingest.sources=[{path: 'feedback/{month}.jsonl'}, {path: all.jsonl}]"
    summary = ingested(launched, "-o", sources)
    assert (summary["rows"], summary["rejected"]) == (30, 0)


@pytest.mark.parametrize("sources", ["{path: 'feedback/{month}.jsonl'}", "{path: all.jsonl}"])
def test_a_month_of_which_there_is_no_row_has_no_feedback(launched: Path, sources: str) -> None:
    (launched / "feedback/2026-02.jsonl").write_text("")
    toy.write_jsonl(launched / "all.jsonl", toy.toy_stream().feedback["2026-03"])
    run = ("run", "--month", "2026-02", "-w", launched, "-o", f"ingest.sources=[{sources}]")
    for words in (run, (*run, "--dry-run")):
        done = call(*words)
        assert done.code == 66
        assert "holds no row of it" in done.err
        assert "--allow-empty" in done.err
    assert not list((launched / "runs").glob("2026-02/*"))
    assert "recorded as empty" in call(*run, "--allow-empty", "--dry-run").out
    done = call(*run, "--allow-empty")
    assert done.code == 0
    assert "empty" in done.out


def test_a_carried_month_without_its_file_says_how_to_go_on(refused: Path) -> None:
    (refused / "feedback/2026-02.jsonl").rename(refused / "archived.jsonl")
    run = ("run", "--month", "2026-03", "--until", "ingest", "-w", refused)
    done = call(*run)
    assert done.code == 66
    assert "It is learned with 2026-03" in done.err
    assert "--allow-empty" not in done.err
    assert call(*run, "-o", "ingest.leave_out=[2026-02]").code == 0


def test_every_new_label_keeps_a_row_to_learn_from(launched: Path) -> None:
    rows = [
        {
            "text": f"word{n} alone",
            "label": f"new {n}",
            "kind": "catalog",
            "created_at": "2026-02-05T00:00:00Z",
        }
        for n in range(30)
    ]
    toy.write_jsonl(launched / "feedback/2026-02.jsonl", rows)
    summary = ingested(launched)
    assert len(summary["new_labels"]) == summary["train"] == 30


def test_labels_that_transformers_leaves_out_of_the_config_are_known(base: Path, tmp_path: Path) -> None:
    folder = toy.write_workspace(tmp_path / "binary", base)
    names = {"billing": "LABEL_0", "login": "LABEL_1"}
    for file in (folder / "launch.jsonl", *folder.glob("feedback/*"), *folder.glob("golden/*")):
        kept = [row for row in toy.read_jsonl(file) if row["label"] in names]
        toy.write_jsonl(file, [{**row, "label": names[str(row["label"])]} for row in kept])
    done = call("launch", "--data", folder / "launch.jsonl", "--month", "2026-01", "-w", folder)
    assert done.code == 0, done.err
    assert "label2id" not in json.loads((folder / "champion/config.json").read_text())
    summary = ingested(folder)
    assert (summary["rows"], summary["labels"], summary["new_labels"]) == (9, 2, [])
