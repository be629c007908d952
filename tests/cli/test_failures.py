"""What goes wrong in use: the message, the exit code, and that the champion stays."""

import json
import os
import shutil
from pathlib import Path

import pytest

from pipeline.store.lock import workspace_lock
from tests import toy
from tests.conftest import Done, call

CHECKPOINT = "runs/2026-01/001/finetune/checkpoint"


def run(workspace: Path, *words: object, month: str = "2026-02") -> Done:
    done = call("run", "--month", month, "-w", workspace, *words)
    if done.code not in (0, 3):
        champion = json.loads((workspace / "registry.json").read_text())["champion"]
        assert champion["attempt"] == "2026-01/001"
    return done


def feedback(workspace: Path) -> list[dict[str, object]]:
    return toy.read_jsonl(workspace / "feedback/2026-02.jsonl")


def rewrite(workspace: Path, rows: list[dict[str, object]], text: str = "") -> None:
    file = toy.write_jsonl(workspace / "feedback/2026-02.jsonl", rows)
    file.write_text(file.read_text() + text)


def damage(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 0x10
    file.chmod(0o644)
    file.write_bytes(bytes(content))


def refused_rows(workspace: Path) -> list[dict[str, object]]:
    return toy.read_jsonl(next((workspace / "runs/2026-02/001").glob("*ingest*/rejected.jsonl")))


def test_a_wrong_configuration_tells_all_problems_at_once(launched: Path) -> None:
    done = run(launched, "-o", "ewc.lambda=-1", "-o", "trian.epochs=3", "-o", "gate.confidence=95")
    assert done.code == 78
    assert "retrain.yaml, -o ewc.lambda, -o trian.epochs, -o gate.confidence: 3 problem(s)" in done.err
    assert all(f"\n  {key}: " in done.err for key in ("ewc.lambda", "trian", "gate.confidence"))


def test_a_folder_that_is_no_workspace_names_init(tmp_path: Path) -> None:
    done = call("run", "--month", "2026-02", "-w", tmp_path / "nowhere")
    assert done.code == 78
    assert "no such file. Run: retrain init" in done.err


@pytest.mark.parametrize("command", ["run", "ingest"])
@pytest.mark.parametrize("month", ["2026-13", "january", "2026-1"])
def test_a_bad_month_is_a_usage_error(launched: Path, command: str, month: str) -> None:
    done = call(command, "--month", month, "-w", launched)
    assert (done.code, done.err) == (2, f"retrain: month {month!r}: expected YYYY-MM, such as 2026-10\n")


def test_a_bad_month_of_launch_is_a_usage_error(new_workspace: Path) -> None:
    done = call("launch", "--data", new_workspace / "launch.jsonl", "--month", "2026", "-w", new_workspace)
    assert (done.code, done.err) == (2, "retrain: month '2026': expected YYYY-MM, such as 2026-10\n")


@pytest.mark.parametrize("device", ["tpu", "cuda:1"])
def test_a_device_that_does_not_exist_is_a_usage_error(launched: Path, device: str) -> None:
    done = run(launched, "--device", device)
    assert done.code == 2
    assert f"--device {device}: " in done.err


def test_texts_longer_than_the_model_reads_are_a_configuration_error(launched: Path) -> None:
    done = run(launched, "-o", "model.max_length=1024")
    assert done.code == 78
    assert "model.max_length 1024: BertForSequenceClassification reads at most 32 tokens" in done.err


def test_too_many_rows_with_unknown_labels_stop_the_month(launched: Path) -> None:
    rows = feedback(launched)
    for row in rows[12:16]:
        row["label"] = "unheard of"
    rewrite(launched, rows)
    done = run(launched)
    assert done.code == 65
    assert (
        "feedback/2026-02.jsonl: 4 of 30 rows are refused, at most 5% may be (ingest.max_rejected)"
        in done.err
    )
    assert (
        "2026-02.jsonl line 13: unknown label 'unheard of': only a catalog row may bring a new label"
        in done.err
    )
    refused = refused_rows(launched)
    assert [row["line"] for row in refused] == [13, 14, 15, 16]
    assert all(row["file"] == "feedback/2026-02.jsonl" for row in refused)
    assert refused[0]["row"] == rows[12]
    assert not (launched / "runs/2026-02/001/ingest").exists()


def test_the_message_names_the_file_of_the_refused_rows(launched: Path) -> None:
    rewrite(launched, [{**row, "label": ""} for row in feedback(launched)])
    done = run(launched)
    named = done.err.split("All are in ")[1].splitlines()[0].rstrip(".")
    assert len(toy.read_jsonl(Path(named))) == 30


def test_mended_feedback_is_taken_by_the_same_attempt(launched: Path) -> None:
    rows = feedback(launched)
    rewrite(launched, [{**row, "label": ""} for row in rows])
    assert run(launched).code == 65
    rewrite(launched, rows)
    assert run(launched, "--until", "ingest").code == 0
    assert (launched / "runs/2026-02/001/ingest/train.parquet").is_file()


def test_few_refused_rows_are_recorded_with_their_reasons_and_do_not_stop_the_month(launched: Path) -> None:
    rows = feedback(launched)
    golden = toy.toy_stream().golden["2026-01"][0]["text"]
    rows[3]["text"] = golden.upper() + "!!"
    rewrite(launched, rows)
    assert run(launched, "--until", "ingest").code == 0
    assert [(row["line"], row["reason"]) for row in refused_rows(launched)] == [
        (4, "the text is a golden row; training on it would spoil the test")
    ]
    summary = json.loads((launched / "runs/2026-02/001/ingest/summary.json").read_text())
    assert (summary["rows"], summary["rejected"]) == (29, 1)


def test_lines_that_are_no_json_are_refused_with_their_numbers(launched: Path) -> None:
    rewrite(launched, feedback(launched), 'not json\n{"text": "cut off\n')
    done = run(launched, "--until", "ingest", "-o", "ingest.max_rejected=0.1")
    assert done.code == 0
    assert [row["line"] for row in refused_rows(launched)] == [31, 32]
    assert all(row["row"] is None for row in refused_rows(launched))


def test_an_empty_file_is_no_input(launched: Path) -> None:
    rewrite(launched, [])
    done = run(launched)
    assert done.code == 66
    assert "feedback/2026-02.jsonl holds no row of it" in done.err
    assert not (launched / "runs/2026-02").exists()


def test_a_file_of_an_unknown_form_is_told(launched: Path) -> None:
    shutil.move(launched / "feedback/2026-02.jsonl", launched / "feedback/2026-02.docx")
    done = run(launched, "-o", "ingest.sources=[{path: 'feedback/{month}.docx'}]")
    assert done.code == 65
    assert "2026-02.docx" in done.err
    assert ".jsonl" in done.err


@pytest.mark.parametrize(
    ("arm", "position"), [("default", 3), ("default", 40), ("default", -5), ("plain", -5), ("freeze", -5)]
)
def test_changed_bits_of_the_champion_are_found_before_a_month_starts(
    launched: Path, arm: str, position: int
) -> None:
    damage(launched / CHECKPOINT / "model.safetensors", position)
    done = run(launched, "-o", f"arm={arm}")
    assert done.code == 5
    assert str(launched / CHECKPOINT) in done.err
    assert not (launched / "runs/2026-02/001/finetune").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "--checkpoint", "2026-01"),
        ("eval", "--candidate", "2026-01", "--baseline", "2026-01", "--golden", "golden/2026-01.jsonl"),
        ("fisher", "compute", "2026-01", "--force"),
    ],
)
def test_changed_bits_are_found_by_every_command_that_reads_the_weights(
    launched: Path, words: tuple[str, ...]
) -> None:
    damage(launched / CHECKPOINT / "model.safetensors", -5)
    done = call(*words, "-w", launched)
    assert done.code == 5, done
    assert "recorded the checkpoint's hash" in done.err


def test_a_cut_model_file_is_corrupt(launched: Path) -> None:
    file = launched / CHECKPOINT / "model.safetensors"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-100])
    assert run(launched).code == 5


def test_a_cut_model_file_outside_of_the_workspace_is_corrupt_too(
    new_workspace: Path, launched: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(launched / CHECKPOINT, tmp_path / "adopted"))
    file = source / "model.safetensors"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-100])
    data = new_workspace / "launch.jsonl"
    done = call("launch", "--data", data, "--checkpoint", source, "--month", "2026-01", "-w", new_workspace)
    assert done.code == 5
    assert f"{source}: model.safetensors is damaged" in done.err


def test_a_fisher_of_another_checkpoint_is_refused_with_both_hashes(launched: Path, promoted: Path) -> None:
    file = launched / "runs/2026-01/001/finetune/checkpoint/fisher.safetensors"
    done = call("fisher", "compute", "2026-02", "-w", promoted)
    assert done.code == 0, done.err
    shutil.copy(promoted / "runs/2026-02/001/finetune/checkpoint/fisher.safetensors", file)
    done = run(launched)
    assert done.code == 5
    here, there = (
        json.loads((promoted / f"runs/{month}/001/manifest.json").read_text())["candidate"]["sha256"]
        for month in ("2026-01", "2026-02")
    )
    assert f"{file}: was computed for the checkpoint {there}, the checkpoint here is {here}" in done.err
    assert "Run: fisher compute" in done.err
    assert call("fisher", "compute", "2026-01", "--force", "-w", launched).code == 0
    assert run(launched).code == 0


@pytest.mark.parametrize("position", [20, 3000, -9])
def test_a_damaged_fisher_is_refused(launched: Path, promoted: Path, position: int) -> None:
    file = Path(shutil.copy(promoted / CHECKPOINT / "fisher.safetensors", launched / CHECKPOINT))
    damage(file, position)
    done = run(launched)
    assert done.code == 5
    assert str(file) in done.err


def test_a_damaged_fisher_of_a_finished_month_is_found(promoted: Path) -> None:
    damage(promoted / CHECKPOINT / "fisher.safetensors", -9)
    done = call("run", "--month", "2026-02", "-w", promoted)
    assert done.code == 5
    assert "fisher.safetensors: damaged: recorded with the hash" in done.err


@pytest.mark.parametrize("name", ["ingest/train.parquet", "finetune/metrics.jsonl", "eval/scorecard.json"])
def test_changed_outputs_of_a_finished_month_are_found(promoted: Path, name: str) -> None:
    damage(promoted / "runs/2026-02/001" / name, 10)
    done = call("run", "--month", "2026-02", "-w", promoted)
    assert done.code == 5
    assert name.rpartition("/")[2] in done.err


@pytest.mark.parametrize("name", ["registry.json", "runs/2026-01/001/manifest.json"])
def test_a_record_that_was_changed_by_hand_is_found(launched: Path, name: str) -> None:
    file = launched / name
    file.chmod(0o644)
    file.write_text(file.read_text().replace("2026-01", "2026-00"))
    done = call("run", "--month", "2026-02", "-w", launched)
    assert done.code == 5
    assert str(file) in done.err


def test_a_golden_set_with_rows_that_were_trained_on_is_told(launched: Path) -> None:
    file = launched / "golden/2026-02.jsonl"
    learned = toy.read_jsonl(launched / "launch.jsonl")[:2]
    rows = [
        {"id": f"seen-{n}", "text": str(r["text"]).upper(), "label": r["label"]}
        for n, r in enumerate(learned)
    ]
    toy.write_jsonl(file, [*toy.read_jsonl(file), *rows])
    done = run(launched, "--until", "ingest")
    assert done.code == 0
    assert "row(s) of golden/2026-02.jsonl were trained on in earlier months" in done.err
    summary = json.loads((launched / "runs/2026-02/001/ingest/summary.json").read_text())
    assert 1 <= summary["golden_learned_before"] <= 2  # a launch row may have been held out for validation


def test_a_golden_set_of_an_earlier_month_that_came_late_with_rows_of_its_training_is_told(
    promoted: Path,
) -> None:
    file = promoted / "golden/2026-02.jsonl"
    learned = [
        {"id": f"seen-{n}", "text": r["text"], "label": r["label"]}
        for n, r in enumerate(toy.read_jsonl(promoted / "feedback/2026-02.jsonl"))
    ]
    toy.write_jsonl(file, [*toy.read_jsonl(file), *learned])
    done = call("run", "--month", "2026-03", "--until", "ingest", "-w", promoted)
    assert done.code == 0
    assert "27 row(s) of golden/2026-02.jsonl were trained on in earlier months" in done.err
    summary = json.loads((promoted / "runs/2026-03/001/ingest/summary.json").read_text())
    assert summary["golden_learned_before"] == 27  # three of the thirty were held out for validation


def test_training_that_diverges_promotes_nothing_and_can_be_run_again(launched: Path) -> None:
    done = run(launched, "-o", "train.learning_rate=1e30")
    assert done.code == 4
    assert "training diverged at step" in done.err
    assert "nothing was promoted" in done.err
    assert not (launched / "runs/2026-02/001/finetune").exists()
    assert run(launched).code == 0


@pytest.mark.parametrize("strength", ["1e25", "1e30"])
def test_a_penalty_beyond_what_a_number_holds_stops_the_month(launched: Path, strength: str) -> None:
    done = run(launched, "-o", "arm=ewc", "-o", f"ewc.lambda={strength}")
    assert done.code == 4
    assert "nothing was promoted" in done.err
    assert "ower the lambda that the log names" in done.err
    assert not (launched / "runs/2026-02/001/finetune").exists()


@pytest.mark.parametrize(("form", "strength"), [("gradient", "1e10"), ("proximal", "1e20")])
def test_a_penalty_of_any_strength_that_a_number_holds_ties_the_weights(
    launched: Path, form: str, strength: str
) -> None:
    assert run(launched, "-o", "arm=ewc", "-o", f"ewc.form={form}", "-o", f"ewc.lambda={strength}").code == 0


def test_a_launch_that_diverges_leaves_no_champion(new_workspace: Path) -> None:
    words = ("--month", "2026-01", "-w", new_workspace, "-o", "launch.learning_rate=1e30")
    done = call("launch", "--data", new_workspace / "launch.jsonl", *words)
    assert done.code == 4
    assert not (new_workspace / "registry.json").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--month", "2026-02"),
        ("launch", "--month", "2026-01", "--data", "launch.jsonl"),
        ("promote", "2026-01"),
        ("rollback",),
        ("fisher", "compute", "2026-01"),
    ],
)
def test_a_second_writer_is_told_who_is_at_work(launched: Path, words: tuple[str, ...]) -> None:
    with workspace_lock(launched):
        done = call(*words, "-w", launched)
    assert done.code == 75
    assert f"process {os.getpid()} on " in done.err
    assert "is at work in this workspace" in done.err


@pytest.mark.parametrize("words", [("status",), ("show", "champion"), ("predict",), ("config", "show")])
def test_commands_that_only_read_need_no_lock(launched: Path, words: tuple[str, ...]) -> None:
    with workspace_lock(launched):
        assert call(*words, "-w", launched).code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_workspace_that_may_not_be_written_is_access_denied(launched: Path) -> None:
    launched.chmod(0o500)
    try:
        done = call("run", "--month", "2026-02", "-w", launched)
    finally:
        launched.chmod(0o700)
    assert done.code == 77
    assert str(launched) in done.err


def test_a_device_that_is_lacking_leaves_a_finished_month_as_it_was(promoted: Path) -> None:
    words = ("--device", "cuda", "-o", "gate.max_drop=1")
    done = call("run", "--month", "2026-02", "-w", promoted, *words)
    assert done.code == 2
    assert [path.name for path in sorted((promoted / "runs/2026-02").iterdir())] == ["001"]
    assert call("verify", "-w", promoted).code == 0


def test_an_attempt_that_was_killed_before_it_began_is_no_damage(promoted: Path) -> None:
    shutil.copytree(promoted / "runs/2026-02/001/ingest", promoted / "runs/2026-02/002/ingest")
    assert call("verify", "-w", promoted).code == 0


def test_why_a_stage_failed_is_kept_and_shown(launched: Path) -> None:
    kept = feedback(launched)
    rewrite(launched, [{**row, "kind": "praise"} for row in kept])
    assert run(launched).code == 65
    folder = launched / "runs/2026-02/001"
    assert "ingest: feedback/2026-02.jsonl: none of 30 rows" in (folder / "run.log").read_text()
    assert json.loads((folder / "events.jsonl").read_text().splitlines()[-1])["event"] == "failed"
    assert "failed:" in call("show", "2026-02", "-w", launched).out
    rewrite(launched, kept)
    assert run(launched).code == 0
    assert "failed:" not in call("show", "2026-02", "-w", launched).out


def test_a_few_refused_rows_are_told(launched: Path) -> None:
    rewrite(launched, [*feedback(launched), {"text": "odd", "label": "billing", "kind": "praise"}])
    done = run(launched, "--until", "ingest")
    assert done.code == 0
    assert "ingest: 1 of 31 rows are refused" in done.err
    assert "feedback/2026-02.jsonl line 31: kind: expected one of" in done.err


def test_a_launch_without_a_golden_set_is_warned_of(new_workspace: Path) -> None:
    (new_workspace / "golden/2026-01.jsonl").unlink()
    words = ("--data", new_workspace / "launch.jsonl", "--month", "2026-01", "-w", new_workspace)
    done = call("launch", *words)
    assert done.code == 0
    assert "2026-01 has no golden set" in done.err
    assert "golden/2026-01.jsonl" in done.err


def test_a_damaged_launch_is_made_anew_by_the_command_that_is_named(promoted: Path) -> None:
    weights = promoted / "runs/2026-01/001/finetune/checkpoint/model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    again = ("run", "--month", "2026-02", "--force", "-w", promoted)
    done = call(*again)
    assert done.code == 5
    assert "retrain launch --data FILE --month 2026-01 --force" in done.err
    words = ("--data", promoted / "launch.jsonl", "--month", "2026-01", "--force", "-w", promoted)
    assert call("launch", *words).code == 0
    assert call(*again).code == 0


@pytest.mark.parametrize(
    ("text", "file", "name"),
    [
        ("nope: 1\n", "retrain.yaml", "configuration"),
        ("{", "registry.json", "registry"),
        ("", "golden", "golden sets"),
    ],
)
def test_doctor_finds_what_a_run_would_fail_for(launched: Path, text: str, file: str, name: str) -> None:
    path = launched / file
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.chmod(0o644)
        path.write_text(text)
    findings = json.loads(call("doctor", "-w", launched, "--json").out)
    assert [item["name"] for item in findings if not item["sound"]] == [name]


def test_status_of_a_folder_that_is_no_workspace_is_no_input(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        done = call("status", "-w", folder)
        assert done.code == 66
        assert "there is no such workspace" in done.err


def test_a_configuration_error_names_where_the_values_come_from(
    launched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRAIN_EWC__LAMDA", "7")
    done = run(launched, "-o", "arm=foo")
    assert done.code == 78
    assert "retrain.yaml, RETRAIN_EWC__LAMDA, -o arm: 2 problem(s)" in done.err


@pytest.mark.parametrize(
    "words", [("run", "--month", "2026-02", "--wait", "60"), ("fisher", "compute", "champion")]
)
def test_several_processes_of_one_command_are_refused_at_once(
    launched: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = call(*words, "-w", launched)
    assert done.code == 2
    assert "WORLD_SIZE is 2: a launcher such as torchrun started several processes" in done.err
    assert not (launched / "runs" / "2026-02").exists()
