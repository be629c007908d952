"""A stage is there completely or not at all, and what is there is what was recorded."""

import errno
import os
import stat
from collections.abc import Callable
from functools import partial as bound
from pathlib import Path

import pytest

from pipeline.errors import ArtifactCorrupt, CannotWrite, NoInput, UsageError
from pipeline.store import atomic
from pipeline.store.hashing import sha256_file
from pipeline.store.stage_directory import (
    commit_stage,
    open_stage,
    partial_folder,
    read_stage,
    require_stage,
    verify_stage,
)

from .samples import count_steps, failing_at, killed_at, stage_record, tree, write_checkpoint

PLANNED = stage_record("finetune")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "runs" / "2026-01").mkdir(parents=True)
    return tmp_path / "runs" / "2026-03" / "001" / "finetune"


def commit(target: Path) -> None:
    partial = open_stage(target, PLANNED.identity(), resumable=True)
    write_checkpoint(partial / "checkpoint")
    atomic.write_json(partial / "deltas.json", {"classifier.weight": 0.5})
    commit_stage(partial, target, PLANNED)


def test_a_finished_stage_has_its_outputs_and_their_hashes(target: Path) -> None:
    commit(target)
    record = verify_stage(target)
    assert sorted(record.outputs) == ["checkpoint/config.json", "checkpoint/model.safetensors", "deltas.json"]
    assert record.outputs["deltas.json"] == sha256_file(target / "deltas.json")
    assert record.identity() == PLANNED.identity()
    assert read_stage(target) == require_stage(target) == record


def test_nothing_of_the_work_is_left_beside_or_inside(target: Path) -> None:
    commit(target)
    assert sorted(os.listdir(target.parent)) == ["finetune"]
    assert sorted(os.listdir(target)) == ["checkpoint", "deltas.json", "record.json"]


def test_finished_files_are_read_only_and_the_folders_take_a_fisher(target: Path) -> None:
    commit(target)
    for path in target.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o400)


def test_equal_work_gives_equal_bits(target: Path) -> None:
    commit(target)
    other = target.parent.parent / "002" / "finetune"
    commit(other)
    assert tree(target) == tree(other)


def test_an_unfinished_stage_is_none(target: Path) -> None:
    open_stage(target, PLANNED.identity())
    assert read_stage(target) is None
    with pytest.raises(NoInput, match=r"there is no finished stage. Run: retrain run --month 2026-03"):
        verify_stage(target)


def test_a_finished_stage_is_never_written_again(target: Path) -> None:
    commit(target)
    with pytest.raises(UsageError, match=r"is finished.* retrain run --month 2026-03 --force"):
        open_stage(target, PLANNED.identity())
    with pytest.raises(UsageError, match="is finished"):
        commit_stage(partial_folder(target), target, PLANNED)


def test_resume_is_kept_for_the_same_work_and_the_rest_is_not(target: Path) -> None:
    partial = open_stage(target, PLANNED.identity(), resumable=True)
    (partial / "resume" / "state").write_bytes(b"1")
    (partial / "half an output").write_bytes(b"")
    again = open_stage(target, PLANNED.identity(), resumable=True)
    assert again == partial
    assert (partial / "resume" / "state").read_bytes() == b"1"
    assert sorted(os.listdir(partial)) == ["identity.json", "resume"]


def test_resume_is_dropped_for_other_work(target: Path) -> None:
    partial = open_stage(target, PLANNED.identity(), resumable=True)
    (partial / "resume" / "state").write_bytes(b"1")
    open_stage(target, stage_record("finetune", seed=1).identity(), resumable=True)
    assert os.listdir(partial / "resume") == []


def test_resume_is_dropped_when_it_is_not_asked_for_or_its_identity_is_damaged(target: Path) -> None:
    partial = open_stage(target, PLANNED.identity(), resumable=True)
    (partial / "resume" / "state").write_bytes(b"1")
    (partial / "identity.json").write_bytes(b"{")
    open_stage(target, PLANNED.identity(), resumable=True)
    assert os.listdir(partial / "resume") == []
    (partial / "resume" / "state").write_bytes(b"1")
    open_stage(target, PLANNED.identity())
    assert os.listdir(partial) == ["identity.json"]


@pytest.mark.parametrize("planted", [".finetune.partial", ".finetune.partial/resume"])
def test_a_planted_link_is_never_worked_through(target: Path, tmp_path: Path, planted: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"")
    target.parent.mkdir(parents=True)
    if planted.endswith("resume"):
        open_stage(target, PLANNED.identity())
    (target.parent / planted).symlink_to(outside)
    partial = open_stage(target, PLANNED.identity(), resumable=True)
    assert not partial.is_symlink()
    assert not (partial / "resume").is_symlink()
    assert os.listdir(outside) == ["kept"]


def test_left_overs_of_safetensors_are_no_outputs(target: Path) -> None:
    partial = open_stage(target, PLANNED.identity())
    (partial / ".tmpXIct0m").write_bytes(b"half a model")
    atomic.write_file(partial / "a", b"1")
    assert list(commit_stage(partial, target, PLANNED).outputs) == ["a"]


def test_a_link_among_the_outputs_is_refused(target: Path) -> None:
    partial = open_stage(target, PLANNED.identity())
    (partial / "planted").symlink_to("/etc/passwd")
    with pytest.raises(ArtifactCorrupt, match="planted: expected a file or folder, found a symbolic link"):
        commit_stage(partial, target, PLANNED)
    assert not target.exists()


def test_killed_anywhere_the_next_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed" / "finetune"
    commit(undisturbed)
    number = 0
    while True:
        target = tmp_path / str(number) / "finetune"

        def work(target: Path = target) -> None:
            if read_stage(target) is None:
                commit(target)

        killed = killed_at(number, work)
        if target.exists():
            verify_stage(target)
        work()
        assert tree(target.parent) == tree(undisturbed.parent)
        if not killed:
            break
        number += 1
    assert number > 30


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_is_told_and_the_next_run_ends_in_the_same_bits(tmp_path: Path, error: int) -> None:
    undisturbed = tmp_path / "undisturbed" / "finetune"
    commit(undisturbed)
    steps = count_steps(lambda: commit(tmp_path / "counted" / "finetune"))
    assert steps > 30
    for number in range(steps):
        target = tmp_path / str(number) / "finetune"
        with pytest.raises(CannotWrite, match=f"{tmp_path}.*{os.strerror(error)}"):
            failing_at(number, error, bound(commit, target))
        if read_stage(target) is None:
            commit(target)
        assert tree(target.parent) == tree(undisturbed.parent)


def flip(path: Path) -> None:
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [flip, cut])
@pytest.mark.parametrize(
    "name", ["checkpoint/config.json", "checkpoint/model.safetensors", "deltas.json", "record.json"]
)
def test_damage_to_any_file_is_told_with_both_hashes(
    target: Path, name: str, damage: Callable[[Path], None]
) -> None:
    commit(target)
    recorded = verify_stage(target).outputs.get(name)
    damage(target / name)
    with pytest.raises(ArtifactCorrupt, match=name) as refusal:
        verify_stage(target)
    if recorded is not None:
        assert recorded in str(refusal.value)
        assert sha256_file(target / name) in str(refusal.value)
        assert "retrain run --month 2026-03 --force" in str(refusal.value)


def test_missing_and_extra_files_are_told(target: Path) -> None:
    commit(target)
    (target / "extra").write_bytes(b"")
    with pytest.raises(ArtifactCorrupt, match="extra: is not among the recorded outputs"):
        verify_stage(target)
    (target / "extra").unlink()
    (target / "deltas.json").unlink()
    with pytest.raises(
        ArtifactCorrupt, match=r"deltas.json: is missing; recorded with the hash [0-9a-f]{64}"
    ):
        verify_stage(target)


def test_a_missing_record_is_told(target: Path) -> None:
    commit(target)
    (target / "record.json").unlink()
    with pytest.raises(ArtifactCorrupt, match=r"record.json: is missing from a finished stage"):
        read_stage(target)


def test_a_fisher_is_permitted_beside_a_checkpoint_only(target: Path) -> None:
    commit(target)
    atomic.write_file(target / "checkpoint" / "fisher.safetensors", b"x", read_only=True)
    (target / "checkpoint" / ".fisher.safetensors.0123456789ab.tmp").write_bytes(b"half")
    verify_stage(target)
    atomic.write_file(target / "fisher.safetensors", b"x")
    with pytest.raises(ArtifactCorrupt, match=r"finetune/fisher.safetensors: is not among"):
        verify_stage(target)


def test_a_link_in_place_of_a_stage_or_a_file_is_refused(target: Path) -> None:
    commit(target)
    moved = target.with_name("moved")
    target.rename(moved)
    target.symlink_to(moved)
    with pytest.raises(ArtifactCorrupt, match="expected a folder, found a symbolic link"):
        verify_stage(target)
    target.unlink()
    moved.rename(target)
    (target / "deltas.json").unlink()
    (target / "deltas.json").symlink_to("/etc/hostname")
    with pytest.raises(ArtifactCorrupt, match=r"deltas.json: expected a file or folder"):
        verify_stage(target)
