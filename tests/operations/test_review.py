"""`retrain ingest --review` and `--reviewed`: doubtful rows go to a person and come back as decisions."""

import csv
import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import toy
from tests.conftest import Done, call

MONTH = "2026-02"
FLIPPED = {
    "id": "flipped", "text": "password account locked today", "label": "delivery",
    "kind": "correction", "created_at": "2026-02-10T12:00:00Z",
}  # fmt: skip
OLD = {
    "id": "old", "text": "please help with parcel money", "label": "delivery",
    "kind": "correction", "created_at": "2026-02-11T12:00:00Z",
}  # fmt: skip
NEW = OLD | {"id": "007", "label": "refund", "created_at": "2026-02-12T12:00:00Z"}
FORMULA = OLD | {"id": "@formula", "text": "=1+1 my payment fee today", "label": "stock"}


@pytest.fixture(scope="module")
def sure(_launched: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose champion says what the launched one says, but is sure of it: its head is four times as large."""
    from safetensors.torch import load_file, save_file

    made = tmp_path_factory.mktemp("sure")
    checkpoint = shutil.copytree(_launched / "runs/2026-01/001/finetune/checkpoint", made / "checkpoint")
    file = checkpoint / "model.safetensors"
    weights = {
        name: 4 * tensor if name.startswith("classifier.") else tensor
        for name, tensor in load_file(file).items()
    }
    file.unlink()  # what is finished is read-only
    save_file(weights, file, {"format": "pt"})
    folder = toy.write_workspace(made / "workspace", base)
    launch = ("launch", "--data", folder / "launch.jsonl", "--month", "2026-01", "-w", folder)
    done = call(*launch, "--checkpoint", checkpoint)
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def planted(sure: Path, tmp_path: Path) -> Path:
    """A launched workspace whose next month has a flipped label, a text with two labels, and a formula."""
    launched = Path(shutil.copytree(sure, tmp_path / "planted", symlinks=True))
    file = launched / "feedback" / f"{MONTH}.jsonl"
    rows = toy.read_jsonl(file)
    toy.write_jsonl(file, [*rows, FLIPPED, OLD, NEW, FORMULA])
    return launched


def review(workspace: Path, sheet: Path, *more: object) -> Done:
    return call("ingest", "--review", sheet, "--month", MONTH, "-w", workspace, *more)


def reviewed(workspace: Path, sheet: Path, *more: object) -> Done:
    return call("ingest", "--reviewed", sheet, "--month", MONTH, "-w", workspace, *more)


def cells(sheet: Path) -> dict[str, dict[str, str]]:
    """The rows of a sheet, as they stand there, by the id of their row."""
    rows = csv.DictReader(io.StringIO(sheet.read_bytes().decode("utf-8-sig"), newline=""))
    return {row["id"].removeprefix("'"): row for row in rows}


def fill_in(
    sheet: Path, change: Callable[[dict[str, dict[str, str]]], None], *, delimiter: str = ","
) -> Path:
    """The sheet as a person saves it, under another name."""
    rows = cells(sheet)
    change(rows)
    filled = sheet.with_name("filled.csv")
    with open(filled, "w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, next(iter(rows.values())).keys(), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows.values())
    return filled


def decide(rows: dict[str, dict[str, str]]) -> None:
    rows["flipped"]["corrected_label"] = "Login "
    rows["007"]["keep"] = "No"


def ingested(workspace: Path) -> tuple[dict[str, Any], dict[str, str], list[dict[str, Any]]]:
    """The summary, the label of each row that is learned, and the rows that are left out by a person."""
    from pipeline.recorded.rows import rows_of
    from pipeline.store.workspace import Workspace

    done = call("ingest", "--month", MONTH, "-w", workspace)
    assert done.code == 0, done.err
    attempt = sorted((workspace / "runs" / MONTH).iterdir())[-1].name
    folder = Workspace(workspace).attempt(f"{MONTH}/{attempt}").stage("ingest")
    rows = [*rows_of(folder, "train.parquet"), *rows_of(folder, "validation.parquet")]
    rejected: Sequence[dict[str, Any]] = toy.read_jsonl(folder / "rejected.jsonl")
    out = [row for row in rejected if row["rule"] == "reviewed_out"]
    return json.loads((folder / "summary.json").read_text()), {row.id: row.label for row in rows}, out


def test_planted_doubts_are_found_each_with_its_reason(planted: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    done = review(planted, sheet, "--json")
    assert done.code == 0, done.err
    rows = cells(sheet)
    assert "improbable" in rows["flipped"]["reasons"].split("; ")
    assert rows["flipped"]["suggested_label"] == "login"
    assert float(rows["flipped"]["probability"]) > 0.9
    assert "conflict" in rows["old"]["reasons"]
    assert "conflict" in rows["007"]["reasons"]
    assert all((row["corrected_label"], row["keep"]) == ("", "yes") for row in rows.values())
    said = json.loads(done.out)
    assert said["rows"] == len(rows) < said["looked_at"] == 34
    assert said["reasons"]["conflict"] == 2
    assert f"retrain ingest --reviewed {sheet}" in done.err


def test_rows_of_one_text_stand_together(planted: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    assert review(planted, sheet).code == 0
    order = list(cells(sheet))
    assert abs(order.index("old") - order.index("007")) == 1


def test_confident_learning_finds_a_flipped_label_and_passes_over_labels_that_the_model_does_not_know() -> (
    None
):
    pytest.importorskip("cleanlab")
    import numpy as np

    from pipeline.operations.opinion import Opinion, likely_errors

    first = np.array([0.95, 0.8, 0.7, 0.9, 0.05, 0.2, 0.3, 0.1, 0.9, 0.5])
    opinion = Opinion(("a", "b"), np.stack([first, 1 - first], axis=1))
    given = ["a"] * 4 + ["b"] * 4 + ["b", "new"]
    assert likely_errors(opinion, given) == {8}
    assert likely_errors(opinion, ["new"] * 10) == set()


def test_what_confident_learning_finds_is_written(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.operations.review.likely_errors", lambda opinion, given: {0})
    sheet = tmp_path / "sheet.csv"
    assert review(planted, sheet).code == 0
    first = toy.read_jsonl(planted / "feedback" / f"{MONTH}.jsonl")[0]["id"]
    assert cells(sheet)[str(first)]["reasons"] == "label_error"


def test_without_cleanlab_the_other_doubts_are_written_and_it_is_said(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    done = review(planted, tmp_path / "sheet.csv", "--json")
    assert done.code == 0, done.err
    assert "pip install 'monthly-retrain[review]'" in done.err
    assert json.loads(done.out)["reasons"]["label_error"] == 0
    assert "improbable" in cells(tmp_path / "sheet.csv")["flipped"]["reasons"]


def test_near_golden_rows_users_over_the_cap_and_jumping_labels_are_written(
    launched: Path, tmp_path: Path
) -> None:
    golden = "my invoice was wrong again and nobody told me why it is so high this month"
    toy.write_jsonl(
        launched / "golden" / f"{MONTH}.jsonl",
        [*toy.toy_stream().golden[MONTH], {"id": "long", "text": golden, "label": "billing"}],
    )
    file = launched / "feedback" / f"{MONTH}.jsonl"
    near = OLD | {"id": "near", "text": golden.replace("high", "huge"), "label": "billing", "user": "one"}
    flood = [
        OLD | {"id": f"flood-{n}", "text": f"please help with parcel number {n}", "user": "many"}
        for n in range(40)
    ]
    toy.write_jsonl(file, [*toy.read_jsonl(file), near, *flood])
    sheet = tmp_path / "sheet.csv"
    done = review(launched, sheet, "--json")
    assert done.code == 0, done.err
    rows = cells(sheet)
    assert "near_golden" in rows["near"]["reasons"]
    assert "flood" not in rows["near"]["reasons"]
    assert {row_id for row_id, row in rows.items() if "flood" in row["reasons"]} == {
        f"flood-{n}" for n in range(40)
    }
    assert all("label_jump" in rows[f"flood-{n}"]["reasons"] for n in range(40))
    assert json.loads(done.out)["reasons"]["near_golden"] == 1


def test_corrected_labels_are_learned_and_rows_left_out_are_refused_and_counted(
    planted: Path, tmp_path: Path
) -> None:
    before, labels, _ = ingested(planted)
    assert labels["flipped"] == "delivery"
    assert "old" not in labels  # the newer label wins
    sheet = tmp_path / "sheet.csv"
    assert review(planted, sheet).code == 0
    done = reviewed(planted, fill_in(sheet, decide))
    assert done.code == 0, done.err
    assert done.out == f"reviewed/{MONTH}.jsonl: 1 row(s) corrected, 1 left out\n"
    summary, labels, out = ingested(planted)
    assert labels["flipped"] == "login"
    assert labels["old"] == "delivery"
    assert "007" not in labels
    assert [row["row"]["id"] for row in out] == ["007"]
    assert summary["rejected_by_rule"]["reviewed_out"] == 1
    assert (before["corrected"], summary["corrected"]) == (0, 1)
    assert summary["read"] == summary["rows"] + summary["rejected"] + summary["passed_over"]


def test_decisions_are_an_input_that_is_recorded_with_its_hash(planted: Path, tmp_path: Path) -> None:
    from pipeline.store.hashing import sha256_file
    from pipeline.store.stage_directory import require_stage

    assert review(planted, tmp_path / "sheet.csv").code == 0
    assert reviewed(planted, fill_in(tmp_path / "sheet.csv", decide)).code == 0
    ingested(planted)
    record = require_stage(planted / "runs" / MONTH / "001" / "ingest")
    assert record.inputs[f"review of {MONTH}"] == sha256_file(planted / "reviewed" / f"{MONTH}.jsonl")
    again = call("ingest", "--month", MONTH, "-w", planted, "--json")
    assert json.loads(again.out)["attempt"] == f"{MONTH}/001"


def test_taking_a_sheet_back_twice_changes_nothing(planted: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    assert review(planted, sheet).code == 0
    filled = fill_in(sheet, decide)
    first = reviewed(planted, filled)
    kept = (planted / "reviewed" / f"{MONTH}.jsonl").read_bytes()
    second = reviewed(planted, filled)
    assert second.out == first.out
    assert "nothing was written" in second.err
    assert (planted / "reviewed" / f"{MONTH}.jsonl").read_bytes() == kept


def test_a_sheet_saved_by_a_spreadsheet_with_semicolons_says_the_same(planted: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    assert review(planted, sheet).code == 0
    done = reviewed(planted, fill_in(sheet, decide, delimiter=";"))
    assert (done.code, "1 row(s) corrected, 1 left out" in done.out) == (0, True)


def test_the_next_sheet_has_what_was_decided_filled_in_and_can_take_it_back(
    planted: Path, tmp_path: Path
) -> None:
    assert review(planted, tmp_path / "sheet.csv").code == 0
    assert reviewed(planted, fill_in(tmp_path / "sheet.csv", decide)).code == 0
    again = tmp_path / "again.csv"
    assert review(planted, again).code == 0
    rows = cells(again)
    assert (rows["flipped"]["corrected_label"], rows["flipped"]["keep"]) == ("login", "yes")
    assert (rows["007"]["corrected_label"], rows["007"]["keep"]) == ("", "no")

    def undo(rows: dict[str, dict[str, str]]) -> None:
        rows["flipped"]["corrected_label"] = ""
        del rows["007"]  # what a sheet does not name stays as it was decided

    done = reviewed(planted, fill_in(again, undo))
    assert "0 row(s) corrected, 1 left out" in done.out


def test_cells_that_a_spreadsheet_would_change_are_marked_and_come_back_as_they_were(
    planted: Path, tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.csv"
    assert review(planted, sheet).code == 0
    rows = cells(sheet)
    assert rows["@formula"]["id"] == "'@formula"
    assert rows["@formula"]["text"] == "'" + str(FORMULA["text"])
    assert rows["007"]["id"] == "'007"
    assert rows["007"]["month"] == f"'{MONTH}"

    def correct(rows: dict[str, dict[str, str]]) -> None:
        rows["@formula"]["corrected_label"] = "billing"
        rows["007"]["month"] = MONTH  # as a spreadsheet that takes the apostrophe for its own writes it

    assert reviewed(planted, fill_in(sheet, correct)).code == 0
    assert ingested(planted)[1]["@formula"] == "billing"


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("id", "stranger", "id 'stranger' is no row of 2026-02"),
        ("corrected_label", "logn", "the nearest is 'login'; found 'logn'"),
        ("month", "2026-03", "month: expected 2026-02, found '2026-03'"),
        ("keep", "maybe", "keep: expected yes or no, found 'maybe'"),
        ("label", "login", "another label belongs in corrected_label"),
        ("text", "something else", "as the feedback has it, found 'something else'"),
    ],
)
def test_a_sheet_that_is_wrong_about_a_row_is_bad_data_and_loses_nothing(
    planted: Path, tmp_path: Path, column: str, value: str, told: str
) -> None:
    sheet = tmp_path / "sheet.csv"
    assert review(planted, sheet).code == 0
    assert reviewed(planted, fill_in(sheet, decide)).code == 0
    kept = (planted / "reviewed" / f"{MONTH}.jsonl").read_bytes()

    def spoil(rows: dict[str, dict[str, str]]) -> None:
        rows["007"]["keep"] = "yes"
        rows["flipped"][column] = value

    done = reviewed(planted, fill_in(sheet, spoil))
    assert done.code == 65
    assert told in done.err
    assert "nothing was taken over" in done.err
    assert (planted / "reviewed" / f"{MONTH}.jsonl").read_bytes() == kept


def test_a_file_without_the_columns_of_a_sheet_is_bad_data(planted: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("id,text\n1,hello\n")
    done = reviewed(planted, other)
    assert done.code == 65
    assert (
        "expected rows with the columns id, month, text, label, corrected_label, keep, found id, text"
        in done.err
    )
    assert reviewed(planted, tmp_path / "absent.csv").code == 66


def test_the_last_catalog_row_of_a_label_is_not_left_out_while_others_need_it(
    launched: Path, tmp_path: Path
) -> None:
    file = launched / "feedback" / f"{MONTH}.jsonl"
    brings = OLD | {"id": "brings", "text": "my visa", "label": "visa", "kind": "catalog"}
    needs = OLD | {"id": "needs", "text": "visa for me", "label": "visa"}
    wrong = brings | {"id": "wrong", "label": "stock", "kind": "correction"}
    toy.write_jsonl(file, [*toy.read_jsonl(file), brings, needs, wrong])
    sheet = tmp_path / "sheet.csv"
    assert review(launched, sheet).code == 0
    done = reviewed(launched, fill_in(sheet, lambda rows: rows["brings"].update(keep="no")))
    assert done.code == 65
    assert "unknown label 'visa'" in done.err
    assert "the review leaves none" in done.err
    assert not (launched / "reviewed").exists()


def test_a_sheet_that_a_person_filled_in_is_never_written_over(planted: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    assert review(planted, sheet).code == 0
    assert review(planted, sheet).code == 0  # the same again
    fill_in(sheet, decide).replace(sheet)
    filled = sheet.read_bytes()
    done = review(planted, sheet)
    assert (done.code, sheet.read_bytes()) == (2, filled)
    assert "holds something else" in done.err


def test_a_decision_about_a_row_that_changed_since_is_not_applied_and_told(
    planted: Path, tmp_path: Path
) -> None:
    assert review(planted, tmp_path / "sheet.csv").code == 0
    assert reviewed(planted, fill_in(tmp_path / "sheet.csv", decide)).code == 0
    file = planted / "feedback" / f"{MONTH}.jsonl"
    rows = [
        row | {"text": "where is my parcel"} if row["id"] == "flipped" else row
        for row in toy.read_jsonl(file)
    ]
    toy.write_jsonl(file, rows)
    done = call("ingest", "--month", MONTH, "-w", planted)
    assert "1 decision(s) change nothing" in done.err
    assert ingested(planted)[1]["flipped"] == "delivery"


def test_decisions_go_along_when_a_refused_month_is_learned_later(planted: Path, tmp_path: Path) -> None:
    assert review(planted, tmp_path / "sheet.csv").code == 0
    assert reviewed(planted, fill_in(tmp_path / "sheet.csv", decide)).code == 0
    assert call("run", "--month", MONTH, "-w", planted, *toy.REFUSE).code == 3
    assert call("ingest", "--month", "2026-03", "-w", planted).code == 0
    folder = planted / "runs/2026-03/001/ingest"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["corrected"] == 1
    assert summary["rejected_by_rule"]["reviewed_out"] == 1


def test_options_that_do_not_go_together_are_wrong_use(planted: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    assert review(planted, sheet, "--reviewed", sheet).code == 2
    assert review(planted, sheet, "--force").code == 2
    assert review(planted, tmp_path / "sheet.txt").code == 2
    assert review(planted, tmp_path / "absent" / "sheet.csv").code == 66


@pytest.mark.parametrize("turn", [1, -1])
def test_of_rows_with_one_id_the_one_that_counts_is_decided_on_whatever_their_order(
    planted: Path, tmp_path: Path, turn: int
) -> None:
    file = planted / "feedback" / f"{MONTH}.jsonl"
    newest = {**NEW, "id": "again", "text": "a text of two rows with one id", "label": "login"}
    older = {**newest, "label": "billing", "created_at": "2026-02-03T12:00:00Z"}
    other = {**newest, "id": "other", "label": "stock"}
    toy.write_jsonl(file, [*toy.read_jsonl(file), *[newest, older][::turn], other])
    sheet = tmp_path / "sheet.csv"
    assert review(planted, sheet).code == 0
    assert cells(sheet)["again"]["label"] == "login"

    def leave_out(rows: dict[str, dict[str, str]]) -> None:
        rows["again"]["keep"] = "no"

    assert reviewed(planted, fill_in(sheet, leave_out)).code == 0
    done = call("ingest", "--month", MONTH, "-w", planted, "-o", "ingest.max_rejected=0.5")
    assert done.code == 0, done.err
    rejected = toy.read_jsonl(planted / "runs" / MONTH / "001/ingest/rejected.jsonl")
    rules = {(row["rule"], row["row"]["label"]) for row in rejected if row["row"]["id"] == "again"}  # type: ignore[index]
    assert rules == {("reviewed_out", "login"), ("repeated_id", "billing")}


def test_a_damaged_file_of_decisions_is_corrupt(planted: Path) -> None:
    toy.write_jsonl(planted / "reviewed" / f"{MONTH}.jsonl", [{"id": "flipped"}])
    done = call("ingest", "--month", MONTH, "-w", planted)
    assert done.code == 5
    assert "expected id, row, label, keep, found id" in done.err


def test_a_label_under_a_former_name_is_its_present_one_and_a_retired_one_is_unknown(
    planted: Path, tmp_path: Path
) -> None:
    assert call("labels", "rename", "login", "access", "--month", MONTH, "-w", planted).code == 0
    assert call("labels", "retire", "stock", "--month", MONTH, "-w", planted).code == 0
    sheet = tmp_path / "sheet.csv"
    assert review(planted, sheet).code == 0
    assert cells(sheet)["flipped"]["suggested_label"] == "access"
    assert "@formula" not in cells(sheet)  # its label is retired

    def retired(rows: dict[str, dict[str, str]]) -> None:
        rows["flipped"]["corrected_label"] = "stock"

    def former(rows: dict[str, dict[str, str]]) -> None:
        rows["flipped"]["corrected_label"] = "login"

    assert reviewed(planted, fill_in(sheet, retired)).code == 65
    assert reviewed(planted, fill_in(sheet, former)).code == 0
    assert ingested(planted)[1]["flipped"] == "access"


def test_texts_of_a_sheet_are_without_personal_data_and_decisions_still_fit(
    planted: Path, tmp_path: Path
) -> None:
    file = planted / "feedback" / f"{MONTH}.jsonl"
    mailed = FLIPPED | {"id": None, "text": "password of me@example.org locked account signin"}
    toy.write_jsonl(file, [*toy.read_jsonl(file), mailed])
    sheet, mask = tmp_path / "sheet.csv", ("-o", "ingest.mask=[email]")
    assert review(planted, sheet, *mask).code == 0
    assert "me@example.org" not in sheet.read_text(encoding="utf-8")
    own = next(row_id for row_id, row in cells(sheet).items() if "[email]" in row["text"])
    done = reviewed(planted, fill_in(sheet, lambda rows: rows[own].update(keep="no")), *mask)
    assert done.code == 0, done.err
    assert len(ingested(planted)[2]) == 1


def test_a_sheet_saved_as_an_excel_file_says_the_same(planted: Path, tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    sheet = tmp_path / "sheet.csv"
    assert review(planted, sheet).code == 0
    filled = fill_in(sheet, decide)
    book = openpyxl.Workbook()
    with open(filled, encoding="utf-8-sig", newline="") as stream:
        for row in csv.reader(stream):
            book.active.append(row)
    book.save(tmp_path / "filled.xlsx")
    done = reviewed(planted, tmp_path / "filled.xlsx")
    assert (done.code, "1 row(s) corrected, 1 left out" in done.out) == (0, True), done.err


def test_an_id_that_stands_twice_is_refused_only_where_it_is_decided_differently(
    planted: Path, tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.csv"
    assert review(planted, sheet).code == 0
    filled = fill_in(sheet, decide)
    lines = filled.read_text(encoding="utf-8-sig").splitlines()
    line = next(line for line in lines if line.startswith("'007,"))
    filled.write_text("\n".join([*lines, line]))
    assert reviewed(planted, filled).code == 0
    filled.write_text("\n".join([*lines, line.removesuffix("No") + "yes"]))
    done = reviewed(planted, filled)
    assert (done.code, "id '007' stands twice" in done.err) == (65, True)


def test_a_backtest_reads_the_decisions_of_the_workspace_that_it_learns_from(planted: Path) -> None:
    from pipeline.config_loading import load_config
    from pipeline.experiments.backtest import reading_from
    from pipeline.months import Month
    from pipeline.recorded.decisions import decisions_file
    from pipeline.store.workspace import Workspace

    config = reading_from(Workspace(planted), load_config(planted / "retrain.yaml"))
    elsewhere = Workspace(planted.parent / "elsewhere")
    expected = planted / "reviewed" / f"{MONTH}.jsonl"
    assert decisions_file(elsewhere, config, Month.parse(MONTH)) == expected


def test_where_decisions_are_kept_must_name_the_month(planted: Path) -> None:
    done = call("ingest", "--month", MONTH, "-w", planted, "-o", "ingest.reviewed=reviewed.jsonl")
    assert done.code == 78
    assert "must contain {month}" in done.err
