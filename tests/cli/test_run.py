"""`retrain run`: a month from its feedback to the gate, as cron calls it."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests import toy
from tests.conftest import Done, call

RUN = "runs/2026-02/001"
NO_ROAMING = ("-o", "gate.min_rows=48")
"""For a model that never saw 2026-02: of the 60 golden rows of that month it knows the labels of 48."""


def run(workspace: Path, month: str, *words: object) -> Done:
    return call("run", "--month", month, "-w", workspace, *words)


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time of change; the lock's own files aside."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".retrain.lock")
    }


def champion(workspace: Path) -> str:
    attempt = read(workspace / "registry.json")["champion"]["attempt"]
    assert (workspace / "champion").resolve() == (
        workspace / "runs" / attempt / "finetune/checkpoint"
    ).resolve()
    return str(attempt)


def test_a_month_runs_all_stages_and_its_candidate_becomes_the_champion(promoted: Path) -> None:
    run_folder = promoted / RUN
    manifest = read(run_folder / "manifest.json")
    assert set(manifest["stages"]) == {"ingest", "fisher", "finetune", "eval"}
    assert (manifest["status"], manifest["exit_code"]) == ("finished", 0)
    assert manifest["parent"]["attempt"] == "2026-01/001"
    assert manifest["candidate"]["path"] == f"{RUN}/finetune/checkpoint"
    assert champion(promoted) == "2026-02/001"
    assert (promoted / "runs/2026-01/001/finetune/checkpoint/fisher.safetensors").is_file()
    assert (
        read(run_folder / "fisher/fisher.json")["path"]
        == "runs/2026-01/001/finetune/checkpoint/fisher.safetensors"
    )


def test_the_new_label_is_learned_and_old_ids_stay(promoted: Path) -> None:
    before = read(promoted / "runs/2026-01/001/finetune/checkpoint/config.json")["label2id"]
    after = read(promoted / RUN / "finetune/checkpoint/config.json")["label2id"]
    assert after == {**before, "roaming": len(before)}
    own = read(promoted / RUN / "eval/scorecard.json")["own"]
    assert own["slices"]["new"]["accuracy_before"] == 0.0
    assert own["slices"]["new"]["accuracy_after"] > 50.0


def test_the_metrics_tell_loss_penalty_and_weight_change(promoted: Path) -> None:
    metrics = toy.read_jsonl(promoted / RUN / "finetune/metrics.jsonl")
    steps = [row for row in metrics if "task_loss" in row]
    epochs = [row for row in metrics if "new_validation_loss" in row]
    assert steps
    assert len(epochs) == 4
    assert all({"penalty", "weight_change", "gradient_norm", "learning_rate"} <= row.keys() for row in steps)
    assert all("prior_validation_loss" in row for row in epochs)
    assert steps[-1]["weight_change"] > 0  # type: ignore[operator]


def test_both_lambdas_are_in_the_log_and_the_manifest(launched: Path) -> None:
    done = run(launched, "2026-02", "-o", "arm=ewc", "-o", "ewc.lambda=0.5")
    assert done.code == 0, done.err
    penalty = read(launched / RUN / "manifest.json")["penalty"]
    assert (penalty["kind"], penalty["lambda"], penalty["scale"]) == ("ewc", 0.5, "mean")
    trace = read(launched / RUN / "fisher/fisher.json")["metadata"]["trace"]
    assert penalty["raw_lambda"] > 0.5 / trace  # F's mean is below its sum
    assert f"lambda 0.5 on F over its mean, which is {penalty['raw_lambda']:.4g} on F itself" in done.err
    assert f"raw_lambda {penalty['raw_lambda']:.4g}" in call("show", "2026-02", "-w", launched).out


def test_the_recipe_is_told_once_the_month_is_known_and_growth_without_replay_warned_of(
    launched: Path,
) -> None:
    done = run(launched, "2026-02", "-o", "arm=plain", "--until", "ingest")
    assert "2026-02 recipe: plain" in done.err
    assert "2026-02 warning: 1 new label(s) are learned without replay" in done.err
    again = run(launched, "2026-02", "--until", "ingest")
    assert "1 new label(s)): 16 replayed rows a step" in again.err
    assert "warning" not in again.err


def test_the_months_rows_are_split_without_loss(promoted: Path) -> None:
    summary = read(promoted / RUN / "ingest/summary.json")
    assert (summary["rows"], summary["train"], summary["validation"]) == (30, 27, 3)
    assert summary["kinds"] == {"catalog": 12, "correction": 9, "escalation": 9}
    assert summary["new_labels"] == ["roaming"]


def test_events_and_log_tell_each_stage(promoted: Path) -> None:
    events = toy.read_jsonl(promoted / RUN / "events.jsonl")
    assert [e["stage"] for e in events if e["event"] == "stage finished"] == [
        "ingest",
        "fisher",
        "finetune",
        "eval",
    ]
    assert "2026-02: promoted" in (promoted / RUN / "run.log").read_text()


@pytest.mark.filterwarnings("ignore")
def test_the_candidate_runs_in_a_transformers_pipeline(promoted: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    folder = promoted / "champion"
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    classify = pipeline(
        "text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(folder), device="cpu"
    )
    rows = toy.toy_stream().golden["2026-02"]
    said = [answer["label"] for answer in classify([row["text"] for row in rows])]
    accuracy = 100 * sum(a == row["label"] for a, row in zip(said, rows, strict=True)) / len(rows)
    scorecard = read(promoted / RUN / "eval/scorecard.json")
    assert accuracy == pytest.approx(scorecard["own"]["overall"]["accuracy_after"])


def test_a_finished_month_does_nothing_the_second_time(promoted: Path) -> None:
    before = tree(promoted)
    done = run(promoted, "2026-02")
    assert (done.code, done.out) == (0, f"2026-02 already done: promoted, in {promoted / RUN}\n")
    assert tree(promoted) == before


def test_a_refused_month_leaves_the_champion_and_exits_with_3(refused: Path) -> None:
    manifest = read(refused / RUN / "manifest.json")
    assert (manifest["status"], manifest["exit_code"]) == ("finished", 3)
    assert manifest["verdict"]["passed"] is False
    assert champion(refused) == "2026-01/001"


def test_a_refused_month_repeats_its_exit_code_and_reasons(refused: Path) -> None:
    before = tree(refused)
    done = run(refused, "2026-02", *toy.REFUSE)
    assert done.code == 3
    assert "2026-02 already done: refused" in done.out
    assert "refused: golden set 2026-02 (the month itself)" in done.out
    assert tree(refused) == before


def test_promote_overrules_the_gate_and_is_recorded_as_forced(launched: Path) -> None:
    done = run(launched, "2026-02", "--promote", *toy.REFUSE)
    assert done.code == 0
    assert "2026-02 promoted (forced)" in done.out
    assert champion(launched) == "2026-02/001"
    verdict = read(launched / RUN / "manifest.json")["verdict"]
    assert (verdict["passed"], verdict["promoted"], verdict["forced"]) == (False, True, True)
    assert read(launched / "registry.json")["history"][-1]["action"] == "force"


def test_promote_also_works_on_a_month_that_was_refused_before(refused: Path) -> None:
    done = run(refused, "2026-02", "--promote", *toy.REFUSE)
    assert (done.code, done.out.splitlines()[0]) == (0, f"2026-02 promoted (forced), in {refused / RUN}")
    assert champion(refused) == "2026-02/001"
    again = run(refused, "2026-02", "--promote", *toy.REFUSE)
    assert again.code == 0
    assert "already done: promoted" in again.out
    assert len(read(refused / "registry.json")["history"]) == 2


def test_no_promote_keeps_the_champion_even_when_the_gate_passes(launched: Path) -> None:
    done = run(launched, "2026-02", "--no-promote")
    assert (done.code, done.out) == (0, f"2026-02 kept, in {launched / RUN}\n")
    assert champion(launched) == "2026-01/001"
    done = run(launched, "2026-02", "--promote")
    assert (done.code, done.out) == (0, f"2026-02 promoted, in {launched / RUN}\n")
    assert champion(launched) == "2026-02/001"


def test_dry_run_says_why_each_stage_would_run_and_writes_nothing(launched: Path) -> None:
    before = tree(launched)
    done = run(launched, "2026-02", "--dry-run")
    assert done.code == 0
    assert [line.split()[:2] for line in done.out.splitlines()[1:]] == [
        [stage, "runs"] for stage in ("ingest", "fisher", "finetune", "eval")
    ]
    assert "not done yet" in done.out.splitlines()[1]
    assert tree(launched) == before


def test_dry_run_of_a_finished_month_calls_everything_fresh(promoted: Path) -> None:
    done = run(promoted, "2026-02", "--dry-run", "--json")
    assert json.loads(done.out) == [
        {"stage": stage, "runs": False, "reason": "fresh"}
        for stage in ("ingest", "fisher", "finetune", "eval")
    ]


@pytest.mark.parametrize(
    ("override", "first", "reason"),
    [
        ("gate.max_drop=7", "eval", "gate changed (max_drop 100.0 -> 7.0)"),
        ("train.epochs=9", "finetune", "train changed (epochs 4 -> 9)"),
        ("fisher.samples=7", "fisher", "samples changed (40 -> 7)"),
        ("ingest.validation=0.2", "ingest", "ingest changed (validation 0.1 -> 0.2)"),
        ("seed=5", "ingest", "seed 0 -> 5"),
    ],
)
def test_dry_run_names_the_setting_that_changed(
    promoted: Path, override: str, first: str, reason: str
) -> None:
    done = run(promoted, "2026-02", "--dry-run", "--json", "-o", override)
    steps = json.loads(done.out)
    running = next(step for step in steps if step["runs"])
    assert (running["stage"], running["reason"]) == (first, reason)
    position = steps.index(running)
    assert all(step["reason"] == f"{first} runs before it" for step in steps[position + 1 :])


def test_dry_run_stops_where_the_run_would(launched: Path) -> None:
    done = run(launched, "2026-02", "--dry-run", "--json", "--until", "fisher")
    assert [step["stage"] for step in json.loads(done.out)] == ["ingest", "fisher"]


def test_dry_run_names_changed_feedback_and_changed_golden_sets(promoted: Path) -> None:
    file = promoted / "feedback/2026-02.jsonl"
    toy.write_jsonl(file, toy.read_jsonl(file)[:-1])
    assert "feedback 2026-02 feedback/2026-02.jsonl changed" in run(promoted, "2026-02", "--dry-run").out
    golden = promoted / "golden/2026-01.jsonl"
    toy.write_jsonl(golden, toy.read_jsonl(golden)[:-1])
    assert "golden/2026-01.jsonl changed" in run(promoted, "2026-02", "--dry-run").out


def test_a_changed_gate_evaluates_again_in_a_new_attempt_and_trains_nothing(promoted: Path) -> None:
    before = tree(promoted / RUN)
    done = run(promoted, "2026-02", *toy.REFUSE)
    assert done.code == 3
    second = promoted / "runs/2026-02/002"
    one, other = (folder / "finetune/checkpoint/model.safetensors" for folder in (promoted / RUN, second))
    assert one.read_bytes() == other.read_bytes()
    assert "finetune: runs" not in done.err
    assert tree(promoted / RUN) == before
    assert set(read(second / "manifest.json")["stages"]) == {"ingest", "fisher", "finetune", "eval"}


def test_from_runs_again_from_that_stage_on(promoted: Path) -> None:
    done = run(promoted, "2026-02", "--from", "eval")
    assert done.code == 0
    assert "eval: runs (asked for with --from)" in done.err
    assert "finetune: runs" not in done.err
    assert (promoted / "runs/2026-02/002/eval/gate.json").is_file()


def test_until_stops_after_that_stage_and_running_again_goes_on(launched: Path) -> None:
    done = run(launched, "2026-02", "--until", "fisher")
    assert (done.code, done.out) == (0, f"2026-02 stopped, in {launched / RUN}\n")
    assert (launched / RUN / "fisher/fisher.json").is_file()
    assert not (launched / RUN / "finetune").exists()
    assert champion(launched) == "2026-01/001"
    done = run(launched, "2026-02")
    assert (done.code, done.out) == (0, f"2026-02 promoted, in {launched / RUN}\n")
    assert "ingest: runs" not in done.err


@pytest.mark.parametrize("option", ["--from", "--until"])
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_stage_that_does_not_exist_is_a_usage_error(
    launched: Path, option: str, dry: tuple[str, ...]
) -> None:
    done = run(launched, "2026-02", option, "train", *dry)
    assert done.code == 2
    assert "stage 'train': expected one of ingest, fisher, finetune, eval" in done.err
    assert not (launched / "runs/2026-02").exists()


def test_force_runs_everything_in_a_new_attempt_with_the_same_bits(promoted: Path) -> None:
    done = run(promoted, "2026-02", "--force")
    assert done.code == 0
    assert "promoted, in" in done.out
    one, other = (
        read(promoted / "runs/2026-02" / number / "manifest.json")["candidate"]["sha256"]
        for number in ("001", "002")
    )
    assert one == other


def test_equal_runs_in_two_workspaces_give_equal_bits(promoted: Path, launched: Path) -> None:
    shutil.move(launched, launched.with_name("somewhere else"))
    other = launched.with_name("somewhere else")
    assert run(other, "2026-02").code == 0
    for name in ("finetune/checkpoint/model.safetensors", "eval/scorecard.json", "finetune/metrics.jsonl"):
        assert (other / RUN / name).read_bytes() == (promoted / RUN / name).read_bytes(), name
    fisher = "runs/2026-01/001/finetune/checkpoint/fisher.safetensors"
    assert (other / fisher).read_bytes() == (promoted / fisher).read_bytes()


def test_the_seed_changes_the_bits(promoted: Path, launched: Path) -> None:
    assert run(launched, "2026-02", "--seed", "1").code == 0
    one, other = (read(workspace / RUN / "manifest.json") for workspace in (promoted, launched))
    assert other["seed"] == 1
    assert one["candidate"]["sha256"] != other["candidate"]["sha256"]


def test_a_copied_workspace_goes_on_with_the_next_month(promoted: Path) -> None:
    done = run(promoted, "2026-03")
    assert done.code == 0
    assert champion(promoted) == "2026-03/001"
    labels = read(promoted / "champion/config.json")["label2id"]
    assert (labels["roaming"], labels["insurance"]) == (6, 7)
    scorecard = read(promoted / "runs/2026-03/001/eval/scorecard.json")
    assert [score["name"] for score in scorecard["prior"]] == ["2026-01", "2026-02"]
    metadata = read(promoted / "runs/2026-03/001/fisher/fisher.json")["metadata"]
    assert metadata["months"] == ["2026-01", "2026-02"]


def test_a_refused_months_feedback_is_carried_along(refused: Path) -> None:
    done = run(refused, "2026-03")
    assert done.code == 0
    summary = read(refused / "runs/2026-03/001/ingest/summary.json")
    assert summary["months"] == ["2026-02", "2026-03"]
    assert summary["rows"] == 60
    assert summary["new_labels"] == ["roaming", "insurance"] or summary["new_labels"] == [
        "insurance",
        "roaming",
    ]
    assert "roaming" in read(refused / "champion/config.json")["label2id"]
    assert read(refused / "runs/2026-03/001/manifest.json")["parent"]["attempt"] == "2026-01/001"


def test_after_a_month_that_was_refused_for_its_losses_lambda_rises_by_itself(launched: Path) -> None:
    wrong = [
        {
            **row,
            "id": f"wrong-{i}",
            "label": "login",
            "kind": "correction",
            "created_at": "2026-02-03T12:00:00Z",
        }
        for i, row in enumerate(row for row in toy.toy_stream().launch if row["label"] == "billing")
    ]
    toy.write_jsonl(launched / "feedback/2026-02.jsonl", wrong)
    strict = ("-o", "arm=plain", "-o", "gate.max_drop=0.5", "-o", "train.epochs=12")
    refused = run(launched, "2026-02", *strict)
    assert (refused.code, "label 'billing'" in refused.out) == (3, True)
    done = run(launched, "2026-03", "-o", "gate.patience=1", "--until", "ingest")
    assert done.code == 0
    assert (
        "; lambda raised to 0.3, as the last 1 month(s) were refused for losses (gate.patience 1)" in done.err
    )
    assert "retrain diagnose" in done.err
    patient = run(launched, "2026-03", "-o", "gate.patience=2", "--until", "ingest")
    assert "lambda raised" not in patient.err


def test_a_refused_months_feedback_stays_behind_where_that_is_asked_for(refused: Path) -> None:
    done = run(refused, "2026-03", "-o", "ingest.carry_refused=false", "--until", "ingest")
    assert done.code == 0
    assert read(refused / "runs/2026-03/001/ingest/summary.json")["months"] == ["2026-03"]


def test_a_month_that_is_left_out_is_learned_by_none_and_the_others_go_on(refused: Path) -> None:
    run(refused, "2026-03", "--until", "ingest")
    assert read(refused / "runs/2026-03/001/ingest/summary.json")["months"] == ["2026-02", "2026-03"]
    left_out = ("-o", "ingest.leave_out=[2026-02]")
    done = run(refused, "2026-03", *left_out, "--until", "ingest")
    assert "2026-02 was refused: its rows are left out (ingest.leave_out)" in done.err
    assert read(refused / "runs/2026-03/002/ingest/summary.json")["months"] == ["2026-03"]
    (refused / "feedback/2026-04.jsonl").write_bytes(
        (refused / "feedback/2026-03.jsonl").read_bytes().replace(b"2026-03", b"2026-04")
    )
    run(refused, "2026-03", *left_out, "--no-promote")
    assert run(refused, "2026-04", *left_out, "--until", "ingest").code == 0
    assert read(refused / "runs/2026-04/001/ingest/summary.json")["months"] == ["2026-03", "2026-04"]


def test_a_month_that_is_left_out_before_it_ran_is_no_gap(launched: Path) -> None:
    assert run(launched, "2026-03", "--until", "ingest").code == 2
    assert run(launched, "2026-03", "-o", "ingest.leave_out=[2026-02]", "--until", "ingest").code == 0


def test_a_month_without_feedback_is_no_input(launched: Path) -> None:
    (launched / "feedback/2026-02.jsonl").unlink()
    done = run(launched, "2026-02")
    assert done.code == 66
    assert "2026-02: no feedback: looked for feedback/2026-02.jsonl" in done.err
    assert "--allow-empty" in done.err
    assert not (launched / "runs/2026-02").exists()


def test_a_month_without_feedback_can_be_recorded_as_done(launched: Path) -> None:
    (launched / "feedback/2026-02.jsonl").unlink()
    assert run(launched, "2026-02", "--allow-empty").code == 0
    manifest = read(launched / RUN / "manifest.json")
    assert (manifest["status"], manifest["candidate"], manifest["exit_code"]) == ("finished", None, 0)
    before = tree(launched)
    for options in (["--allow-empty"], []):
        again = run(launched, "2026-02", *options)
        assert (again.code, again.out) == (0, f"2026-02 already done: empty, in {launched / RUN}\n")
        assert tree(launched) == before
    done = run(launched, "2026-03", *NO_ROAMING)
    assert done.code == 0, done.err
    assert champion(launched) == "2026-03/001"


def test_a_finished_month_stays_finished_when_its_feedback_is_moved_away(refused: Path) -> None:
    (refused / "feedback/2026-02.jsonl").unlink()
    before = tree(refused)
    done = run(refused, "2026-02", "--allow-empty")
    assert (done.code, done.out.splitlines()[0]) == (3, f"2026-02 already done: refused, in {refused / RUN}")
    assert tree(refused) == before


def test_feedback_that_arrives_after_an_empty_month_is_learned(launched: Path) -> None:
    file = launched / "feedback/2026-02.jsonl"
    kept = file.read_bytes()
    file.unlink()
    run(launched, "2026-02", "--allow-empty")
    file.write_bytes(kept)
    done = run(launched, "2026-02")
    assert done.code == 0, done.err
    assert champion(launched) == "2026-02/002"


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_months_that_were_never_run_are_not_passed_over(launched: Path, dry: tuple[str, ...]) -> None:
    done = run(launched, "2026-03", *dry)
    assert done.code == 2
    assert "the months 2026-02 were never run after 2026-01. Run: retrain run --month 2026-02" in done.err
    assert not (launched / "runs/2026-03").exists()


def test_months_can_be_passed_over_when_asked(launched: Path) -> None:
    done = run(launched, "2026-03", "--allow-gap", *NO_ROAMING)
    assert done.code == 0, done.err
    assert champion(launched) == "2026-03/001"


def test_a_gap_left_by_an_unfinished_month_is_refused_too(launched: Path) -> None:
    run(launched, "2026-02", "--until", "ingest")
    done = run(launched, "2026-03")
    assert done.code == 2
    assert "2026-02 were never run" in done.err


def test_a_month_before_the_launch_has_no_champion_to_start_from(launched: Path) -> None:
    done = run(launched, "2025-12")
    assert done.code == 66
    assert "no champion from an earlier month; the first is of 2026-01" in done.err


def test_a_workspace_without_a_champion_names_the_launch(new_workspace: Path) -> None:
    done = run(new_workspace, "2026-02")
    assert done.code == 66
    assert "there is no champion yet. Run: retrain launch" in done.err


def test_the_default_month_is_the_previous_one_in_utc(launched: Path) -> None:
    before = datetime.now(UTC)
    done = call("run", "-w", launched)
    wanted = {
        f"{(m.year * 12 + m.month - 2) // 12}-{(m.month - 2) % 12 + 1:02d}"
        for m in (before, datetime.now(UTC))
    }
    assert done.code in (2, 66)
    assert any(month in done.err for month in wanted)


@pytest.mark.parametrize("arm", ["plain", "head", "freeze", "ewc"])
def test_every_arm_runs_and_is_recorded(launched: Path, arm: str) -> None:
    done = run(launched, "2026-02", "-o", f"arm={arm}")
    assert done.code == 0, done.err
    manifest = read(launched / RUN / "manifest.json")
    assert manifest["arm"] == arm
    uses_fisher = "path" in read(launched / RUN / "fisher/fisher.json")
    assert uses_fisher == (arm == "ewc")
    moved = {delta["group"] for delta in read(launched / RUN / "finetune/deltas.json") if delta["norm"] > 0}
    if arm == "freeze":
        one, other = (
            launched / name / "finetune/checkpoint/model.safetensors" for name in ("runs/2026-01/001", RUN)
        )
        assert one.read_bytes() == other.read_bytes()
    elif arm == "head":
        assert moved == {"bert.pooler.dense", "classifier"} or moved == {"classifier"}
    else:
        assert "bert.encoder.layer.1" in moved


def test_what_a_frozen_month_left_out_is_learned_by_the_next_one(launched: Path) -> None:
    file = launched / "feedback/2026-03.jsonl"
    late = {"id": "late", "text": "roaming costs at the border", "label": "roaming", "kind": "correction"}
    toy.write_jsonl(file, [*toy.read_jsonl(file), {**late, "created_at": "2026-03-09T12:00:00Z"}])
    assert run(launched, "2026-02", "-o", "arm=freeze").code == 0
    done = run(launched, "2026-03")
    assert done.code == 0, done.err
    run_folder = launched / "runs/2026-03/001"
    assert read(run_folder / "ingest/summary.json")["new_labels"] == ["roaming", "insurance"]
    assert toy.read_jsonl(run_folder / "ingest/rejected.jsonl") == []
    assert read(run_folder / "ingest/summary.json")["months"] == ["2026-02", "2026-03"]
    assert set(read(run_folder / "finetune/checkpoint/config.json")["label2id"]) >= {"roaming", "insurance"}


def test_frozen_months_in_a_row_all_wait_to_be_learned(launched: Path) -> None:
    for month in ("2026-02", "2026-03"):
        assert run(launched, month, "-o", "arm=freeze").code == 0
    assert champion(launched) == "2026-03/001"
    assert call("verify", "--all", "-w", launched).code == 0
    manifest = read(launched / "runs/2026-03/001/manifest.json")
    assert manifest["parent"]["attempt"] == "2026-01/001"


def test_trained_weights_can_be_interpolated_and_calibrated(launched: Path) -> None:
    done = run(
        launched, "2026-02", "-o", "interpolate.steps=4", "-o", "calibrate.new_labels=true",
        "-o", "ingest.validation=0.3",
    )  # fmt: skip
    assert done.code == 0, done.err
    chosen = read(launched / RUN / "finetune/corrections.json")
    tried = {row["alpha"]: row["prior_loss"] + row["new_loss"] for row in chosen["interpolate"]["tried"]}
    assert list(tried) == [0.25, 0.5, 0.75, 1.0]
    assert tried[chosen["interpolate"]["alpha"]] == min(tried.values())
    assert chosen["calibrate"]["offset"] != 0.0
    moved = read(launched / RUN / "manifest.json")["stages"]["finetune"]["config"]
    assert (moved["interpolate"], moved["calibrate"]) == ({"steps": 4}, {"new_labels": True})


def test_the_penalty_holds_the_weights_back(launched: Path, tmp_path: Path) -> None:
    changes = []
    for strength in (0.01, 100.0):
        workspace = Path(shutil.copytree(launched, tmp_path / f"lambda {strength}", symlinks=True))
        run(workspace, "2026-02", "-o", "arm=ewc", "-o", f"ewc.lambda={strength}", "-o", "train.epochs=3")
        metrics = toy.read_jsonl(workspace / RUN / "finetune/metrics.jsonl")
        changes.append([row["weight_change"] for row in metrics if "weight_change" in row][-1])
    assert changes[0] > 3 * changes[1] > 0  # type: ignore[operator]


def test_ingest_alone_writes_the_tables(launched: Path) -> None:
    done = call("ingest", "--month", "2026-02", "-w", launched)
    assert (done.code, done.out) == (0, f"2026-02 stopped, in {launched / RUN}\n")
    assert sorted(path.name for path in (launched / RUN).iterdir() if path.is_dir()) == ["ingest"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_feedback_may_be_a_folder_of_another_format(launched: Path, suffix: str) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    rows = toy.read_jsonl(launched / "feedback/2026-02.jsonl")
    (launched / "feedback/2026-02.jsonl").unlink()
    folder = launched / "drop" / "2026-02"
    folder.mkdir(parents=True)
    table = pa.Table.from_pylist(rows)
    for part, rows_of_part in (("a", table.slice(0, 10)), ("b", table.slice(10))):
        if suffix == "csv":
            pyarrow.csv.write_csv(rows_of_part, folder / f"{part}.csv")
        else:
            pyarrow.parquet.write_table(rows_of_part, folder / f"{part}.parquet")
    source = "ingest.sources=[{path: 'drop/{month}'}]"
    assert call("ingest", "--month", "2026-02", "-w", launched, "-o", source).code == 0
    assert read(launched / RUN / "ingest/summary.json")["rows"] == 30


def test_golden_rows_are_set_aside_where_the_team_has_none(launched: Path) -> None:
    (launched / "golden/2026-02.jsonl").unlink()
    done = run(launched, "2026-02", "-o", "ingest.golden_fraction=0.4", "-o", "gate.min_rows=10")
    assert done.code == 0, done.err
    summary = read(launched / RUN / "ingest/summary.json")
    assert (summary["golden"], summary["train"] + summary["validation"]) == (12, 18)
    golden = {row["text"] for row in toy.read_jsonl(launched / RUN / "ingest/golden.jsonl")}
    assert len(golden) == 12
    assert read(launched / RUN / "eval/scorecard.json")["own"]["overall"]["n"] == 12
    again = run(launched, "2026-02", "-o", "ingest.golden_fraction=0.4", "-o", "gate.min_rows=10")
    assert "already done" in again.out


def test_the_configuration_can_be_named_and_its_folder_is_the_workspace(promoted: Path) -> None:
    done = call("run", "--month", "2026-02", "-c", promoted / "retrain.yaml")
    assert (done.code, "already done" in done.out) == (0, True)


def test_the_workspace_can_come_from_the_environment(promoted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_WORKSPACE", str(promoted))
    assert "already done" in call("run", "--month", "2026-02").out


def test_json_prints_the_outcome_as_one_document(refused: Path) -> None:
    done = run(refused, "2026-02", "--json", *toy.REFUSE)
    document = json.loads(done.out)
    assert done.code == document["exit_code"] == 3
    assert (document["status"], document["already"], document["run"]) == ("refused", True, RUN)
    assert document["reasons"]


def test_a_month_that_is_run_again_late_does_not_replace_a_newer_champion(promoted: Path) -> None:
    assert run(promoted, "2026-03").code == 0
    done = run(promoted, "2026-02", "--force")
    assert (done.code, done.out) == (0, f"2026-02 kept, in {promoted / 'runs/2026-02/002'}\n")
    assert champion(promoted) == "2026-03/001"


def test_promote_of_a_month_that_led_to_the_champion_changes_nothing(promoted: Path) -> None:
    assert run(promoted, "2026-03").code == 0
    before = (promoted / "registry.json").read_bytes()
    done = run(promoted, "2026-02", "--promote")
    assert (done.code, "already done: promoted" in done.out) == (0, True)
    assert (promoted / "registry.json").read_bytes() == before


def test_a_refused_repetition_of_a_month_that_the_champion_has_learned_promises_nothing(
    promoted: Path,
) -> None:
    done = run(promoted, "2026-02", *toy.REFUSE)
    assert done.code == 3
    assert "the champion stays, and has learned this month's rows already" in done.err
    assert "the next month learns" not in done.err
    first = run(promoted, "2026-03", *toy.REFUSE)
    assert first.code == 3
    assert "the champion stays, and the next month learns this one's rows, too" in first.err


def test_after_a_refusal_for_want_of_golden_rows_the_golden_sets_are_to_be_mended(launched: Path) -> None:
    (launched / "golden/2026-02.jsonl").unlink()
    done = run(launched, "2026-02")
    assert done.code == 3
    last = done.err.splitlines()[-1]
    assert "Mend the golden sets (golden/{month}.jsonl), then: retrain run --month 2026-02." in last
    assert "retrain diagnose" not in last
