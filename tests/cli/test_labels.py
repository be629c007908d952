"""`retrain labels`: renamed, merged and retired labels, and the month that is run after it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import toy
from tests.conftest import Done, call


def ran(workspace: Path, *options: object) -> Path:
    """Run 2026-03; returns its attempt."""
    done = call("run", "--month", "2026-03", "-w", workspace, *options)
    assert done.code == 0, done.err
    return sorted((workspace / "runs" / "2026-03").iterdir())[-1]


def change(workspace: Path, *words: object) -> Done:
    return call("labels", *words, "-w", workspace)


def states(workspace: Path) -> dict[str, dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(call("labels", "--json", "-w", workspace).out)
    return {state["name"]: state for state in listed}


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def compared(attempt: Path, check: str) -> tuple[int, bool]:
    """Over how many rows a check of the gate compares, and whether what it compares with is right about most."""
    texts = [c["text"] for c in read(attempt / "eval" / "gate.json")["checks"]]
    (text,) = (text for text in texts if text.startswith(check))
    return int(text.partition("n=")[2].partition(")")[0]), float(text.split(": ")[1].split(" -> ")[0]) > 90


def labels_of_rows(file: Path) -> set[str]:
    from pipeline.store.tables import read_parquet

    return {str(row["label"]) for row in read_parquet(file)}


def pipeline_answers(checkpoint: Path, texts: list[str]) -> list[str]:
    """What a server that knows nothing of this project answers."""
    from transformers import pipeline

    answer: Callable[[list[str]], list[dict[str, Any]]] = pipeline(
        "text-classification", model=str(checkpoint), device="cpu"
    )
    return [said["label"] for said in answer(texts)]


def golden_texts(label: str) -> list[str]:
    return [row["text"] for rows in toy.toy_stream().golden.values() for row in rows if row["label"] == label]


def test_labels_are_listed_with_the_month_that_brought_them(promoted: Path) -> None:
    listed = states(promoted)
    assert [(s["id"], s["name"]) for s in listed.values()] == [
        *enumerate(["billing", "delivery", "login", "refund", "repair", "stock", "roaming"])
    ]
    assert (listed["billing"]["since"], listed["roaming"]["since"]) == ("2026-01", "2026-02")
    assert (listed["billing"]["golden"], listed["roaming"]["golden"]) == (18, 12)
    assert {s["state"] for s in listed.values()} == {"in use"}
    assert "roaming   2026-02" in change(promoted).out


def test_a_renamed_label_keeps_its_id_and_all_its_rows(promoted: Path) -> None:
    assert change(promoted, "rename", "billing", "invoices").code == 0
    assert states(promoted)["billing"]["state"] == "called 'invoices' from 2026-03 on"
    attempt = ran(promoted)
    config = read(attempt / "finetune" / "checkpoint" / "config.json")
    assert config["id2label"]["0"] == "invoices"
    assert "billing" not in config["label2id"]
    for table in (attempt / "ingest" / "train.parquet", attempt / "finetune" / "replay.parquet"):
        assert "billing" not in labels_of_rows(table)
        assert "invoices" in labels_of_rows(table)
    card = read(attempt / "eval" / "scorecard.json")
    assert card["pooled"]["n"] == 120
    assert card["pooled"]["accuracy_before"] > 90  # the champion's old name is no mistake
    assert compared(attempt, "all prior golden rows:") == (120, True)
    assert compared(attempt, "all prior golden rows beside their reference:") == (120, True)
    answers = pipeline_answers(promoted / "champion", golden_texts("billing"))
    assert answers.count("invoices") > 0.7 * len(answers)
    assert "label 'billing' is called 'invoices' from 2026-03 on" in (attempt / "run.log").read_text()
    assert call("verify", "--all", "-w", promoted).code == 0
    assert states(promoted)["invoices"]["state"] == "in use"


def test_a_change_is_told_in_status_show_and_the_page(promoted: Path) -> None:
    change(promoted, "rename", "billing", "<b>invoices")
    told = "label 'billing' is called '<b>invoices' from 2026-03 on"
    assert told in call("status", "-w", promoted).out
    attempt = ran(promoted)
    change(promoted, "retire", "login")
    assert f"label changes: {told}\n" in call("show", "2026-03", "-w", promoted).out
    assert call("report", "2026-03", "-w", promoted).code == 0
    page = (attempt / "report.html").read_text()
    lineage = page[page.index("Lineage") :]
    assert lineage.count("&#39;&lt;b&gt;invoices&#39; from 2026-03 on") == 1
    assert "<dt>label changes</dt>" in page
    assert "retired" not in page
    assert json.loads(call("status", "--json", "-w", promoted).out)["label_changes"] == [
        told,
        "label 'login' is retired from 2026-04 on",
    ]


def test_a_merged_label_is_answered_as_the_one_it_is_part_of(promoted: Path) -> None:
    assert change(promoted, "merge", "repair", "refund").code == 0
    attempt = ran(promoted)
    config = read(attempt / "finetune" / "checkpoint" / "config.json")
    assert config["id2label"]["4"] == "repair"  # ids are append-only
    assert "repair" not in labels_of_rows(attempt / "finetune" / "replay.parquet")
    card = read(attempt / "eval" / "scorecard.json")
    assert card["pooled"]["n"] == 120
    assert card["pooled"]["accuracy_before"] > 90
    assert compared(attempt, "all prior golden rows:") == (120, True)
    assert compared(attempt, "all prior golden rows beside their reference:") == (120, True)
    answers = pipeline_answers(promoted / "champion", golden_texts("repair") + golden_texts("refund"))
    assert "repair" not in answers
    assert answers.count("refund") > 0.7 * len(answers)
    listed = states(promoted)
    assert listed["repair"]["state"] == "part of 'refund' from 2026-03 on"
    assert (listed["repair"]["golden"], listed["refund"]["golden"]) == (0, 52)
    assert call("verify", "--all", "-w", promoted).code == 0


@pytest.mark.parametrize("arm", ["default", "ewc", "joint", "freeze"])
def test_a_retired_label_is_never_answered_and_its_rows_are_told_apart(promoted: Path, arm: str) -> None:
    assert change(promoted, "retire", "login").code == 0
    # 4 of 30 rows are refused, more than ingest.max_rejected; ewc alone forgets too much for the gate
    attempt = ran(promoted, "-o", f"arm={arm}", "--promote")
    summary = read(attempt / "ingest" / "summary.json")
    assert (summary["rejected"], summary["rejected_retired"]) == (4, 4)
    assert summary["labels"] == 7
    rejected = toy.read_jsonl(attempt / "ingest" / "rejected.jsonl")
    assert {row["reason"] for row in rejected} == {
        "retired label 'login': it is not trained on since 2026-03"
    }
    replayed = attempt / "finetune" / "replay.parquet"
    assert not replayed.exists() or "login" not in labels_of_rows(replayed)
    card = read(attempt / "eval" / "scorecard.json")
    assert card["pooled"]["n"] == 120 - 18
    assert card["own"]["overall"]["n"] == 60 - 8
    texts = [check["text"] for check in read(attempt / "eval" / "gate.json")["checks"]]
    assert (
        "golden set 2026-01: 50 rows, and 10 of retired labels that are left out, at least 50 needed" in texts
    )
    log = (attempt / "run.log").read_text()
    assert "golden set 2026-02: 8 of 60 rows have a retired label and are left out" in log
    checkpoint = attempt / "finetune" / "checkpoint"
    everything = [row["text"] for rows in toy.toy_stream().golden.values() for row in rows]
    assert "login" not in pipeline_answers(checkpoint, everything)
    assert "login" in pipeline_answers(promoted / "runs/2026-02/001/finetune/checkpoint", everything)
    assert call("verify", "--all", "-w", promoted).code == 0


def test_a_month_after_a_retirement_needs_no_word_about_it(promoted: Path) -> None:
    stream = toy.toy_stream()
    for folder, rows in (("feedback", stream.feedback["2026-03"]), ("golden", stream.golden["2026-03"])):
        later = [
            {k: v.replace("2026-03", "2026-04") for k, v in row.items()} | {"text": f"again {row['text']}"}
            for row in rows
        ]
        toy.write_jsonl(promoted / folder / "2026-04.jsonl", later)
    change(promoted, "retire", "login")
    change(promoted, "merge", "repair", "refund")
    ran(promoted)
    done = call("run", "--month", "2026-04", "-o", "arm=ewc", "-w", promoted)
    assert done.code == 0, done.err
    attempt = promoted / "runs" / "2026-04" / "001"
    assert "label 'login' is retired" not in (attempt / "run.log").read_text()
    head = next(row for row in read(attempt / "finetune" / "deltas.json") if row["group"] == "classifier")
    assert head["relative"] > 0.001  # beside the weights of the labels in use, not beside a bias of -10000
    diagnosis = json.loads(call("diagnose", "2026-03", "--json", "-w", promoted).out)
    assert diagnosis["predicted_rise"] < 100  # rows that were taken away have not moved
    moved = next(m for m in diagnosis["movements"] if m["group"] == "classifier" and m["kind"] == "all")
    assert moved["relative"] > 0.001


def test_the_past_is_not_run_again_for_a_later_change(promoted: Path) -> None:
    change(promoted, "rename", "billing", "invoices")
    assert "already done" in call("run", "--month", "2026-02", "-w", promoted).out
    ran(promoted)
    assert "already done" in call("run", "--month", "2026-02", "-w", promoted).out
    assert change(promoted, "retire", "login").out == "written: label 'login' is retired from 2026-04 on\n"
    for month in ("2026-02", "2026-03"):
        assert "already done" in call("run", "--month", month, "-w", promoted).out
        assert len(list((promoted / "runs" / month).iterdir())) == 1


def test_a_change_after_a_refused_month_runs_it_again_and_says_why(refused: Path) -> None:
    assert change(refused, "rename", "billing", "invoices", "--month", "2026-02").code == 0
    told = call("run", "--month", "2026-02", "--dry-run", "-w", refused, *toy.REFUSE).out
    assert "label changes is new" in told
    done = call("promote", "2026-02", "-w", refused)
    assert done.code == 2
    assert "was made with other label changes than those that stand for 2026-02" in done.err
    assert call("run", "--month", "2026-02", "-w", refused).code == 0
    assert change(refused, "undo").code == 2
    assert call("rollback", "-w", refused).code == 0
    assert change(refused, "undo").code == 0
    assert call("promote", "2026-02", "-w", refused).code == 2


def test_rows_of_a_refused_month_are_learned_under_present_names(refused: Path) -> None:
    change(refused, "rename", "billing", "invoices")
    change(refused, "retire", "login")
    attempt = ran(refused)
    summary = read(attempt / "ingest" / "summary.json")
    assert (summary["months"], summary["rejected_retired"]) == (["2026-02", "2026-03"], 8)
    assert labels_of_rows(attempt / "ingest" / "train.parquet") == {
        "invoices", "refund", "stock", "roaming", "insurance",
    }  # fmt: skip


def test_a_month_after_a_frozen_one_brings_the_change_again(launched: Path) -> None:
    change(launched, "merge", "repair", "refund")
    done = call("run", "--month", "2026-02", "-o", "arm=freeze", "--promote", "-w", launched)
    assert done.code == 0, done.err
    texts = golden_texts("repair") + golden_texts("refund")
    frozen = pipeline_answers(launched / "champion", texts)
    assert frozen.count("refund") > 0.7 * len(frozen)
    attempt = ran(launched)
    assert (launched / "champion").resolve() == attempt / "finetune" / "checkpoint"
    assert "repair" not in pipeline_answers(launched / "champion", texts)


def test_a_set_of_nothing_but_a_retired_label_is_passed_over(promoted: Path) -> None:
    rows = [row for row in toy.toy_stream().golden["2026-02"] if row["label"] == "login"]
    toy.write_jsonl(promoted / "golden" / "2026-02.jsonl", rows)
    change(promoted, "retire", "login")
    attempt = ran(promoted)
    checks = {c["text"]: c["passed"] for c in read(attempt / "eval" / "gate.json")["checks"]}
    assert checks["golden set 2026-02: all of its 8 rows have retired labels; it is passed over"]
    card = read(attempt / "eval" / "scorecard.json")
    assert [score["name"] for score in card["prior"]] == ["2026-01"]


def test_a_backtest_replays_the_months_with_their_label_changes(launched: Path) -> None:
    change(launched, "retire", "login")
    done = call("backtest", "-w", launched, "--months", "2026-02..2026-02", "--arms", "freeze", "--json")
    assert done.code == 0, done.err
    (replayed,) = launched.glob("**/freeze/runs/2026-02/001/ingest/summary.json")
    assert read(replayed)["rejected_retired"] == 4


@pytest.mark.parametrize(
    "options",
    [
        ("arm=ewc", "ewc.months=separate"),
        ("arm=ewc", "ewc.months=online"),
        ("arm=ewc", "ewc.form=proximal", "train.weight_decay=0.1"),
        ("arm=l2sp", "train.weight_decay=0.1"),
        ("arm=plain", "train.label_smoothing=0.1"),
        ("interpolate.steps=4", "calibrate.new_labels=true"),
    ],
    ids=lambda words: ",".join(words),
)
def test_closed_rows_stay_closed_whatever_trains(promoted: Path, options: tuple[str, ...]) -> None:
    import safetensors.torch

    change(promoted, "retire", "login")
    change(promoted, "merge", "repair", "refund")
    attempt = ran(promoted, "--until", "finetune", *(word for o in options for word in ("-o", o)))
    weights = safetensors.torch.load_file(attempt / "finetune" / "checkpoint" / "model.safetensors")
    assert weights["classifier.bias"][[2, 4]].tolist() == [-1e4, -1e4]
    assert not weights["classifier.weight"][[2, 4]].any()
    metrics = toy.read_jsonl(attempt / "finetune" / "metrics.jsonl")
    losses = [float(str(row["task_loss"])) for row in metrics if "task_loss" in row]
    assert 0 < max(losses) < 20  # 10,000 where a closed row is part of it


def test_the_comparison_by_hand_says_what_the_month_recorded(promoted: Path) -> None:
    change(promoted, "merge", "repair", "refund")
    change(promoted, "retire", "login")
    attempt = ran(promoted)
    said = json.loads(call("eval", "--json", "-w", promoted).out)
    assert said["scorecard"] == read(attempt / "eval" / "scorecard.json")
    assert said["verdict"] == read(attempt / "eval" / "gate.json")


def test_an_undone_change_leaves_nothing_but_its_history(promoted: Path) -> None:
    change(promoted, "retire", "login", "--reason", "no such product")
    done = change(promoted, "undo", "--reason", "there is one")
    assert (done.code, done.out) == (0, "undone: label 'login' is retired from 2026-03 on\n")
    history = read(promoted / "label-changes.json")["history"]
    assert [(e["action"], e["reason"]) for e in history] == [
        ("retire", "no such product"),
        ("undo", "there is one"),
    ]
    assert {s["state"] for s in states(promoted).values()} == {"in use"}
    attempt = ran(promoted, "--until", "ingest")
    assert "label_changes" not in read(attempt / "ingest" / "summary.json")


def test_undoing_the_change_of_a_label_again_does_nothing_more(promoted: Path) -> None:
    change(promoted, "retire", "login")
    change(promoted, "rename", "billing", "invoices")
    done = change(promoted, "undo", "login")
    assert done.code == 2
    assert "the newest change is label 'billing' is called 'invoices'" in done.err
    for _ in range(2):
        done = change(promoted, "undo", "billing")
        assert (done.code, done.out) == (
            0,
            "undone: label 'billing' is called 'invoices' from 2026-03 on\n",
        )
    assert states(promoted)["login"]["state"] == "retired from 2026-03 on"


def test_a_rename_that_is_in_the_champion_is_taken_back_by_another(promoted: Path) -> None:
    change(promoted, "rename", "billing", "invoices", "--month", "2026-03")
    ran(promoted)
    done = change(promoted, "undo")
    assert done.code == 2
    assert "retrain labels rename 'invoices' 'billing'" in done.err
    assert change(promoted, "rename", "invoices", "billing").code == 0
    assert states(promoted)["invoices"]["state"] == "called 'billing' from 2026-04 on"
    assert states(promoted)["invoices"]["rows"] > 10


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("retire", "logn"),
            "'logn': expected a label in use, found none: the champion's labels are 'billing'",
        ),
        (("rename", "login", "billing"), "retrain labels merge 'login' 'billing'"),
        (("rename", "login", "login"), "has that name already"),
        (("rename", "login", " "), "expected text that is not empty"),
        (("rename", "login", "a\tb"), "holds a control character"),
        (("merge", "login", "login"), "cannot be merged into itself"),
        (("merge", "login", "nothing"), "'nothing': expected a label in use"),
        (("retire", "login", "--month", "2026-02"), "expected a month after 2026-02"),
        (("retire", "login", "--month", "soon"), "expected YYYY-MM"),
        (("undo",), "there is no label change to undo"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    promoted: Path, words: tuple[str, ...], told: str
) -> None:
    done = change(promoted, *words)
    assert done.code == 2
    assert told in done.err
    assert not (promoted / "label-changes.json").exists()


def test_changes_that_contradict_earlier_ones_are_refused(promoted: Path) -> None:
    assert change(promoted, "rename", "billing", "invoices", "--month", "2026-05").code == 0
    assert change(promoted, "merge", "login", "stock", "--month", "2026-05").code == 0
    for words, told in (
        (("retire", "delivery", "--month", "2026-04"), "Give --month 2026-05 or later"),
        (("retire", "billing", "--month", "2026-05"), "it is called 'invoices' now"),
        (
            ("merge", "stock", "login", "--month", "2026-05"),
            "label 'login' is part of 'stock' from 2026-05 on",
        ),
        (("rename", "stock", "login", "--month", "2026-05"), "was the name of another label"),
        (("rename", "stock", "billing", "--month", "2026-05"), "was the name of another label"),
    ):
        done = change(promoted, *words)
        assert done.code == 2
        assert told in done.err
    for label in ("stock", "delivery", "refund"):
        assert change(promoted, "retire", label, "--month", "2026-05").code == 0
    assert change(promoted, "retire", "repair", "--month", "2026-05").code == 0
    done = change(promoted, "retire", "roaming", "--month", "2026-05")
    assert (done.code, "expected at least 2 labels to remain" in done.err) == (2, True)


def test_a_new_launch_knows_nothing_of_earlier_changes(promoted: Path) -> None:
    change(promoted, "rename", "billing", "invoices")
    change(promoted, "retire", "login")
    golden = promoted / "golden" / "2026-01.jsonl"
    (promoted / "golden" / "2026-05.jsonl").write_text(golden.read_text())
    done = call(
        "launch", "--data", promoted / "launch.jsonl", "--month", "2026-05", "--force", "-w", promoted
    )
    assert done.code == 0, done.err
    assert {s["state"] for s in states(promoted).values()} == {"in use"}
    assert "label 'login'" not in call("status", "-w", promoted).out
    assert "there is no label change to undo" in change(promoted, "undo").err
    assert change(promoted, "retire", "login").out == "written: label 'login' is retired from 2026-06 on\n"


def test_a_dry_run_says_what_would_be_and_writes_nothing(promoted: Path) -> None:
    done = change(promoted, "retire", "login", "--dry-run")
    assert done.out == "would be written: label 'login' is retired from 2026-03 on\n"
    assert not (promoted / "label-changes.json").exists()


def test_a_name_that_came_by_itself_before_the_rename_is_in_force_stops_the_month(promoted: Path) -> None:
    change(promoted, "rename", "billing", "insurance", "--month", "2026-04")
    ran(promoted)
    toy.write_jsonl(promoted / "feedback" / "2026-04.jsonl", toy.toy_stream().launch[:3])
    done = call("run", "--month", "2026-04", "-w", promoted)
    assert done.code == 2
    assert "retrain labels merge 'billing' 'insurance'" in done.err
    assert states(promoted)["billing"]["state"] == "in use, cannot be called 'insurance': undo that"


def test_a_refused_months_label_that_a_later_rename_takes_the_name_of_is_told(refused: Path) -> None:
    change(refused, "rename", "billing", "roaming", "--month", "2026-03")
    done = call("run", "--month", "2026-03", "--until", "ingest", "-w", refused)
    assert done.code == 0, done.err
    assert (
        "of 2026-02 have the label 'roaming', which is what label 'billing' is called from 2026-03"
        in done.err
    )


def test_no_rollback_leads_to_a_model_of_label_changes_that_were_undone(promoted: Path) -> None:
    change(promoted, "rename", "billing", "invoices")
    ran(promoted)
    assert call("promote", "2026-02", "-w", promoted).code == 0
    assert change(promoted, "undo").code == 0
    for words in (("rollback",), ("rollback", "--to", "2026-03")):
        done = call(*words, "-w", promoted)
        assert done.code == 2, words
        assert "2026-03/001: was made with other label changes" in done.err


@pytest.mark.parametrize("words", [("diagnose", "2026-03"), ("tune", "--month", "2026-03")])
def test_what_looks_into_a_month_says_that_its_label_changes_were_undone(
    promoted: Path, words: tuple[str, ...]
) -> None:
    change(promoted, "rename", "billing", "invoices")
    ran(promoted)
    assert call("rollback", "-w", promoted).code == 0
    assert change(promoted, "undo").code == 0
    done = call(*words, "-w", promoted)
    assert done.code == 2, done.err
    assert (
        "2026-03/001: was made with other label changes than those that stand for 2026-03: none" in done.err
    )
    assert "Run: retrain run --month 2026-03" in done.err
    assert call("diagnose", "2026-03", "--rows", "0", "-w", promoted).code == 0


def test_label_changes_that_were_lost_are_found_before_anything_is_made_without_them(promoted: Path) -> None:
    change(promoted, "rename", "billing", "invoices")
    ran(promoted)
    assert call("verify", "-w", promoted).code == 0
    (promoted / "label-changes.json").unlink()
    rows = (promoted / "feedback/2026-03.jsonl").read_text().replace("2026-03", "2026-04")
    (promoted / "feedback/2026-04.jsonl").write_text(rows)
    for words in (("verify",), ("run", "--month", "2026-04")):
        done = call(*words, "-w", promoted)
        assert done.code == 5, words
        assert "2026-03/001 was made with other label changes than stand there for 2026-03: none" in (
            done.err + done.out
        )
    assert not (promoted / "runs/2026-04").exists()


def test_damaged_label_changes_are_found(promoted: Path) -> None:
    change(promoted, "retire", "login")
    file = promoted / "label-changes.json"
    file.write_text(file.read_text().replace("retire", "rename"))
    for words in (("verify", "--all"), ("labels",), ("run", "--month", "2026-03")):
        done = call(*words, "-w", promoted)
        assert done.code == 5
        assert "label-changes.json: damaged" in done.out + done.err


@pytest.mark.parametrize("words", [(), ("rename", "a", "b"), ("undo",)])
def test_a_workspace_without_champion_has_no_labels(new_workspace: Path, words: tuple[str, ...]) -> None:
    done = change(new_workspace, *words)
    assert done.code == 66
    assert "retrain launch" in done.err


def test_a_folder_that_is_no_workspace_is_told(tmp_path: Path) -> None:
    done = change(tmp_path, "retire", "login")
    assert (done.code, "there is no such workspace" in done.err) == (66, True)
    assert list(tmp_path.iterdir()) == []
