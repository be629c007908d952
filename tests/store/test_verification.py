"""Verification finds every damage, names it, and writes nothing."""

import shutil
import struct
from pathlib import Path

import pytest

from pipeline.errors import ArtifactCorrupt
from pipeline.store import atomic
from pipeline.store.fisher_file import write_fisher
from pipeline.store.hashing import sha256_file
from pipeline.store.records import write_record
from pipeline.store.run_directory import RunDirectory
from pipeline.store.verification import verify_attempt, verify_workspace
from pipeline.store.workspace import Workspace

from .samples import digest, manifest, run_attempt, tree
from .test_fisher_file import diagonal, metadata


def add_fisher(run: RunDirectory, *, checkpoint_sha256: str | None = None) -> Path:
    candidate = run.read_manifest().candidate
    assert candidate is not None
    tensors = diagonal()
    path = run.checkpoint / "fisher.safetensors"
    write_fisher(path, tensors, metadata(tensors, checkpoint_sha256=checkpoint_sha256 or candidate.sha256))
    return path


def test_a_sound_workspace_has_no_problems_and_stays_as_it_is(workspace: Workspace) -> None:
    for month in ("2026-01", "2026-02"):
        add_fisher(run_attempt(workspace, month))
    before = tree(workspace.root)
    found = verify_workspace(workspace)
    assert found.problems == ()
    assert (found.attempts, found.files) == (2, 2 * (1 + 6 + 1))
    assert tree(workspace.root) == before


def test_an_empty_workspace_is_sound(workspace: Workspace) -> None:
    assert verify_workspace(workspace).problems == ()


def test_a_flipped_bit_in_any_file_is_found_and_the_file_named(workspace: Workspace) -> None:
    run = run_attempt(workspace)
    add_fisher(run)
    names = [
        path.relative_to(workspace.root).as_posix()
        for path in sorted(workspace.root.rglob("*"))
        if path.is_file() and not path.is_relative_to(workspace.champion_link)
    ]
    assert len(names) == 13
    for name in names:
        path = workspace.root / name
        whole = path.read_bytes()
        path.chmod(0o600)
        for position in (0, len(whole) // 3, len(whole) - 2):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
            problems = verify_workspace(workspace).problems
            assert any(str(path) in problem for problem in problems), (name, problems)
        path.write_bytes(whole[:-1])
        assert any(str(path) in problem for problem in verify_workspace(workspace).problems), name
        path.write_bytes(whole)
    assert verify_workspace(workspace).problems == ()


def test_every_problem_is_told_not_the_first_only(workspace: Workspace) -> None:
    runs = [run_attempt(workspace, month) for month in ("2026-01", "2026-02", "2026-03")]
    for run in runs[:2]:
        shutil.rmtree(run.stage("eval"))
    problems = verify_workspace(workspace).problems
    assert len(problems) == 2
    assert all("there is no finished stage" in problem for problem in problems)


def test_a_stage_that_was_swapped_for_another_sound_one_is_found(workspace: Workspace) -> None:
    first, second = run_attempt(workspace, "2026-01"), run_attempt(workspace, "2026-02")
    shutil.rmtree(second.stage("ingest"))
    shutil.copytree(first.stage("ingest"), second.stage("ingest"))
    with pytest.raises(ArtifactCorrupt, match="ingest: its record differs from the manifest's"):
        verify_attempt(workspace, second)


def test_a_stage_that_the_manifest_does_not_know_is_found(workspace: Workspace) -> None:
    run = run_attempt(workspace)
    other = workspace.new_attempt(run.month)
    other.write_manifest(manifest(other.attempt, status="finished", exit_code=0))
    shutil.copytree(run.stage("eval"), other.stage("eval"))
    with pytest.raises(ArtifactCorrupt, match="eval: the manifest does not know this stage"):
        verify_attempt(workspace, other)


def test_a_fisher_of_another_month_is_found_with_both_hashes(workspace: Workspace) -> None:
    run = run_attempt(workspace)
    add_fisher(run, checkpoint_sha256=digest("e"))
    ref = run.read_manifest().candidate
    assert ref is not None
    expected = f"computed for the checkpoint {digest('e')}, the checkpoint here is {ref.sha256}"
    with pytest.raises(ArtifactCorrupt, match=expected):
        verify_attempt(workspace, run)


def test_files_beside_the_stages_are_verified(workspace: Workspace) -> None:
    run = workspace.new_attempt(run_attempt(workspace).month)
    atomic.write_file(run.config_file, b"arm: ewc\n")
    files = {"config.yaml": sha256_file(run.config_file)}
    run.write_manifest(manifest(run.attempt, files=files))
    assert verify_attempt(workspace, run) == 2
    run.config_file.write_bytes(b"arm: plain\n")
    with pytest.raises(
        ArtifactCorrupt, match=rf"config.yaml: damaged: .*{files['config.yaml']}, has [0-9a-f]{{64}}"
    ):
        verify_attempt(workspace, run)
    run.config_file.unlink()
    with pytest.raises(ArtifactCorrupt, match=r"config.yaml: is missing"):
        verify_attempt(workspace, run)


def test_weights_that_are_not_finite_are_found_even_when_recorded_so(workspace: Workspace) -> None:
    run = run_attempt(workspace, promoted=False)
    candidate = workspace.reference(run.checkpoint, run)
    model = run.checkpoint / "model.safetensors"
    model.chmod(0o600)
    model.write_bytes(model.read_bytes()[:-4] + struct.pack("<f", float("nan")))
    recorded = run.read_manifest()
    stage = recorded.stages["finetune"]
    outputs = {**stage.outputs, "checkpoint/model.safetensors": sha256_file(model)}
    stage = stage.model_copy(update={"outputs": outputs})
    write_record(run.stage("finetune") / "record.json", stage)
    candidate = workspace.reference(run.checkpoint, run)
    changed = recorded.with_stage(stage).model_copy(update={"candidate": candidate})
    write_record(run.manifest_file, changed)
    with pytest.raises(ArtifactCorrupt, match=r"model.safetensors: 'weight' holds NaN or infinite values"):
        verify_attempt(workspace, run)


def test_a_planted_link_among_the_runs_is_told(workspace: Workspace, tmp_path: Path) -> None:
    run_attempt(workspace)
    (workspace.runs / "2026-04").symlink_to(tmp_path)
    problems = verify_workspace(workspace).problems
    assert len(problems) == 1
    assert "symbolic link" in problems[0]
