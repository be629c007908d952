"""`retrain init` and `retrain launch`: a workspace, and its first champion."""

import json
import os
import shutil
from pathlib import Path

import pytest

from pipeline.store.hashing import checkpoint_hash
from tests import toy
from tests.conftest import call

LAUNCH = "runs/2026-01/001"


def manifest(workspace: Path, attempt: str = LAUNCH) -> dict[str, object]:
    content: dict[str, object] = json.loads((workspace / attempt / "manifest.json").read_text())
    return content


def test_init_writes_a_commented_configuration_and_the_folders(tmp_path: Path) -> None:
    done = call("init", tmp_path / "new")
    assert done.code == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "feedback",
        "golden",
        "retrain.yaml",
        "runs",
    ]
    assert "# " in (tmp_path / "new" / "retrain.yaml").read_text()
    assert done.out == ""
    assert "Next: retrain launch" in done.err


def test_init_changes_nothing_that_is_there(tmp_path: Path) -> None:
    call("init", tmp_path)
    (tmp_path / "retrain.yaml").write_text("seed: 7\n")
    done = call("init", tmp_path)
    assert (done.code, (tmp_path / "retrain.yaml").read_text()) == (0, "seed: 7\n")
    assert "nothing to do" in done.err


def test_launch_writes_the_whole_run_directory(launched: Path) -> None:
    run = launched / LAUNCH
    files = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert files >= {
        "manifest.json", "config.yaml", "run.log", "events.jsonl",
        "ingest/train.parquet", "ingest/validation.parquet", "ingest/rejected.jsonl", "ingest/labels.json",
        "ingest/summary.json", "finetune/checkpoint/config.json", "finetune/checkpoint/model.safetensors",
        "finetune/checkpoint/tokenizer.json", "finetune/metrics.jsonl", "finetune/deltas.json",
        "eval/scorecard.json", "eval/predictions.parquet", "eval/gate.json",
    }  # fmt: skip
    assert not list(run.rglob(".*"))


def test_launch_makes_its_checkpoint_the_champion(launched: Path) -> None:
    registry = json.loads((launched / "registry.json").read_text())
    assert registry["champion"]["month"] == "2026-01"
    assert [entry["action"] for entry in registry["history"]] == ["launch"]
    link = launched / "champion"
    assert link.is_symlink()
    assert not os.path.isabs(os.readlink(link))
    assert link.resolve() == (launched / LAUNCH / "finetune/checkpoint").resolve()


def test_launch_learns_the_toy_task(launched: Path) -> None:
    scorecard = json.loads((launched / LAUNCH / "eval/scorecard.json").read_text())
    assert scorecard["own"]["overall"]["accuracy_after"] >= 90


def test_the_manifest_holds_what_is_needed_to_repeat_the_run(launched: Path) -> None:
    content = manifest(launched)
    assert (content["kind"], content["status"], content["exit_code"]) == ("launch", "finished", 0)
    assert content["parent"] is None
    stages = content["stages"]
    assert isinstance(stages, dict)
    assert set(stages) == {"ingest", "finetune", "eval"}
    environment = content["environment"]
    assert isinstance(environment, dict)
    assert environment["threads"] == 1
    assert {"torch", "transformers"} <= set(environment["packages"])


def test_nothing_inside_the_workspace_names_where_it_lies(promoted: Path) -> None:
    made_in = str(json.loads((promoted / LAUNCH / "manifest.json").read_text())["command"][-1]).encode()
    assert made_in.startswith(b"/")
    for file in promoted.rglob("*"):
        if not file.is_file() or file.name == "report.html":
            continue  # the report shows the command line, as the manifest does
        content = file.read_bytes()
        if file.name == "manifest.json":
            content = json.dumps({k: v for k, v in json.loads(content).items() if k != "command"}).encode()
        assert made_in not in content, file


def test_launching_again_does_nothing(launched: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in launched.rglob("*") if file.is_file()}
    done = call("launch", "--data", launched / "launch.jsonl", "--month", "2026-01", "-w", launched)
    assert (done.code, done.out.split(",")[0]) == (0, "2026-01 already done: promoted")
    after = {file: file.stat().st_mtime_ns for file in launched.rglob("*") if file.is_file()}
    assert {
        file.name for file in before.keys() ^ after.keys() | {f for f in before if before[f] != after.get(f)}
    } <= {".retrain.lock"}


def test_a_second_launch_of_another_month_is_a_usage_error(launched: Path) -> None:
    done = call("launch", "--data", launched / "launch.jsonl", "--month", "2026-03", "-w", launched)
    assert done.code == 2
    assert "has a champion already, of 2026-01. Run: retrain run for the months after it" in done.err
    assert not (launched / "runs/2026-03").exists()


def test_launch_with_force_starts_anew_in_a_new_attempt(promoted: Path) -> None:
    data = promoted / "launch.jsonl"
    done = call(
        "launch", "--data", data, "--month", "2026-01", "--force", "-w", promoted, "-o", "launch.epochs=1"
    )
    assert done.code == 0, done.err
    assert "promoted, in" in done.out
    registry = json.loads((promoted / "registry.json").read_text())
    assert registry["champion"]["attempt"] == "2026-01/002"


def test_an_adopted_checkpoint_is_copied_and_keeps_its_labels(
    launched: Path, base: Path, tmp_path: Path
) -> None:
    source = tmp_path / "adopted"
    shutil.copytree(launched / LAUNCH / "finetune/checkpoint", source)
    fresh = toy.write_workspace(tmp_path / "other", base)
    data = fresh / "launch.jsonl"
    done = call("launch", "--data", data, "--checkpoint", source, "--month", "2026-01", "-w", fresh)
    assert done.code == 0, done.err
    copied = fresh / LAUNCH / "finetune/checkpoint"
    assert (copied / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
    shutil.rmtree(source)
    done = call("run", "--month", "2026-02", "-w", fresh)
    assert done.code == 0, done.err
    labels = json.loads((fresh / "runs/2026-02/001/finetune/checkpoint/config.json").read_text())["label2id"]
    assert labels == {**json.loads((copied / "config.json").read_text())["label2id"], "roaming": 6}


def test_data_with_labels_that_the_adopted_checkpoint_lacks_is_refused(
    new_workspace: Path, launched: Path
) -> None:
    data = toy.write_jsonl(new_workspace / "launch.jsonl", [{"text": "a b", "label": "unheard of"}] * 3)
    source = launched / LAUNCH / "finetune/checkpoint"
    done = call("launch", "--data", data, "--checkpoint", source, "--month", "2026-01", "-w", new_workspace)
    assert done.code == 65
    assert "unknown label 'unheard of': the checkpoint's label2id does not have it" in done.err


def test_a_launch_records_the_model_that_it_started_from_and_tells_when_it_changed(launched: Path) -> None:
    stages = json.loads((launched / LAUNCH / "manifest.json").read_text())["stages"]
    assert stages["finetune"]["inputs"]["base model"] == checkpoint_hash(launched / "base")
    config = launched / "base" / "config.json"
    config.write_text(config.read_text() + " ")
    done = call("launch", "--data", launched / "launch.jsonl", "--month", "2026-01", "-w", launched)
    assert "finetune: runs (base model changed)" in done.err


@pytest.mark.parametrize("option", ["--data", "--checkpoint"])
def test_a_launch_from_what_is_absent_is_no_input(new_workspace: Path, option: str) -> None:
    options = {"--data": new_workspace / "launch.jsonl", option: new_workspace / "absent.jsonl"}
    words = [word for pair in options.items() for word in pair]
    done = call("launch", *words, "--month", "2026-01", "-w", new_workspace)
    assert done.code == 66
    assert "absent.jsonl" in done.err
    assert not (new_workspace / "registry.json").exists()


def test_a_launch_from_a_folder_of_rows_is_bad_data(new_workspace: Path) -> None:
    folder = new_workspace / "feedback"
    done = call("launch", "--data", folder, "--month", "2026-01", "-w", new_workspace)
    assert (done.code, f"{folder}: expected a .jsonl, .csv or .parquet file" in done.err) == (65, True)
    assert not list((new_workspace / "runs").iterdir())


def test_launch_without_its_base_model_is_no_input(new_workspace: Path) -> None:
    data = new_workspace / "launch.jsonl"
    done = call(
        "launch",
        "--data",
        data,
        "--month",
        "2026-01",
        "-w",
        new_workspace,
        "-o",
        "model.base=package:absent_x/m",
    )
    assert done.code == 66
    assert "package 'absent_x' is not installed" in done.err


def test_json_prints_one_document_and_nothing_else_on_stdout(new_workspace: Path) -> None:
    words = ("--month", "2026-01", "-w", new_workspace, "-o", "launch.epochs=1", "--json")
    done = call("launch", "--data", new_workspace / "launch.jsonl", *words)
    document = json.loads(done.out)
    assert (document["month"], document["status"], document["run"]) == ("2026-01", "promoted", LAUNCH)


def test_a_launch_of_one_label_is_refused_before_anything_is_trained(base: Path, tmp_path: Path) -> None:
    workspace = toy.write_workspace(tmp_path / "space", base)
    rows = [row for row in toy.toy_stream().launch if row["label"] == "billing"]
    toy.write_jsonl(workspace / "launch.jsonl", rows)
    done = call("launch", "--data", workspace / "launch.jsonl", "--month", "2026-01", "-w", workspace)
    assert done.code == 65, done.err
    assert "every row has the label 'billing', expected two labels or more" in done.err
    assert not (workspace / LAUNCH / "finetune").exists()


def test_nothing_below_a_folder_that_is_no_checkpoint_is_read(new_workspace: Path, tmp_path: Path) -> None:
    deep = tmp_path / "home"
    (deep / "/".join("abcdefghijklmnop")).mkdir(parents=True)  # deeper than a checkpoint's folders may lie
    words = ("--data", new_workspace / "launch.jsonl", "--month", "2026-01", "-w", new_workspace)
    done = call("launch", *words, "--checkpoint", deep)
    assert done.code == 66
    assert f"{deep}: expected a checkpoint folder, found no config.json" in done.err
    assert not (new_workspace / "runs" / "2026-01").exists()
