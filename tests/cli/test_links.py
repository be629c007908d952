"""Links to a team's data, to its base model and to the runs are followed and said."""

import shutil
from pathlib import Path

from tests.conftest import call


def moved(path: Path, target: Path) -> Path:
    """Move a path elsewhere and leave a link to it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, target)
    path.symlink_to(target)
    return target


def snapshot(folder: Path, cache: Path) -> Path:
    """What a Hub cache makes of a checkpoint: links into a folder of blobs."""
    found = cache / "snapshots/main"
    found.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        shutil.copy(file, cache / "blobs" / str(number))
        (found / file.name).symlink_to(f"../../blobs/{number}")
    return found


def test_feedback_golden_sets_and_runs_may_be_links(launched: Path, tmp_path: Path) -> None:
    feedback = moved(launched / "feedback/2026-02.jsonl", tmp_path / "mounted/feedback.jsonl")
    golden = moved(launched / "golden", tmp_path / "mounted/golden")
    runs = moved(launched / "runs", tmp_path / "mounted/runs")
    done = call("run", "--month", "2026-02", "-w", launched)
    assert done.code == 0, done.err
    log = (launched / "runs/2026-02/001/run.log").read_text()
    said = "ingest: reads through symbolic links: "
    assert (
        f"{said}runs -> {runs}, feedback/2026-02.jsonl -> {feedback}, golden/2026-01.jsonl -> {golden}" in log
    )
    assert "already done" in call("run", "--month", "2026-02", "-w", launched).out
    assert call("verify", "--all", "-w", launched).code == 0
    assert (launched / "champion").resolve().is_relative_to(runs)
    assert call("show", str(runs / "2026-02/001"), "-w", launched).code == 0
    done = call("fisher", "compute", launched / "runs/2026-02/001", "--samples", "3")
    assert done.code == 0, done.err
    assert done.out.startswith(f"{launched}/runs/2026-02/001/finetune/checkpoint/fisher.safetensors")
    assert call("rollback", "-w", launched).code == 0


def test_without_links_nothing_is_said_of_them(promoted: Path) -> None:
    assert "symbolic links" not in (promoted / "runs/2026-02/001/run.log").read_text()


def test_launch_rows_and_a_base_model_in_a_hub_cache_may_be_links(
    new_workspace: Path, tmp_path: Path
) -> None:
    data = moved(new_workspace / "launch.jsonl", tmp_path / "rows.jsonl")
    base = snapshot(new_workspace / "base", tmp_path / "hub")
    words = ("--data", data.parent / "new/launch.jsonl", "--month", "2026-01", "-w", new_workspace)
    done = call("launch", *words, "-o", f"model.base={base}")
    assert done.code == 0, done.err
    assert f"finetune: reads through symbolic links: {base}/config.json -> {tmp_path}/hub/blobs/" in done.err


def test_a_checkpoint_in_a_hub_cache_is_adopted_as_files(
    launched: Path, new_workspace: Path, tmp_path: Path
) -> None:
    checkpoint = snapshot(launched / "runs/2026-01/001/finetune/checkpoint", tmp_path / "hub")
    words = ("--data", new_workspace / "launch.jsonl", "--month", "2026-01", "--checkpoint", checkpoint)
    done = call("launch", *words, "-w", new_workspace)
    assert done.code == 0, done.err
    copied = list((new_workspace / "champion").iterdir())
    assert {file.name for file in copied} == {file.name for file in checkpoint.iterdir()}
    assert not any(file.is_symlink() for file in copied)
    assert "already done" in call("launch", *words, "-w", new_workspace).out


def test_the_fisher_of_a_checkpoint_in_a_hub_cache_is_computed(launched: Path, tmp_path: Path) -> None:
    checkpoint = snapshot(launched / "runs/2026-01/001/finetune/checkpoint", tmp_path / "hub")
    words = ("--data", launched / "launch.jsonl", "--samples", "5", "--output", tmp_path / "f.safetensors")
    done = call("compute", checkpoint, *words, program="fisher")
    assert done.code == 0, done.err
    done = call("verify", tmp_path / "f.safetensors", "--checkpoint", checkpoint, program="fisher")
    assert done.code == 0, done.err
