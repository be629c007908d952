"""The champion changes in one step, with its history, and the link follows."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from pipeline.errors import ArtifactCorrupt, CannotWrite, NoInput
from pipeline.store.records import CheckpointRef, Registry
from pipeline.store.registry import (
    mend_link,
    promote,
    read_registry,
    roll_back_to,
    rollback,
    succession,
    verify_checkpoint,
)
from pipeline.store.workspace import Workspace

from .samples import AT, champion_of, failing_at, killed_at, run_attempt, tree, verdict


def candidate(workspace: Workspace, month: str) -> CheckpointRef:
    found = run_attempt(workspace, month, promoted=False).read_manifest().candidate
    assert found is not None
    return found


def put(workspace: Workspace, ref: CheckpointRef) -> Registry:
    return promote(
        workspace, ref, action="promote", by="cron", reason="passed the gate", verdict=verdict(), at=AT
    )


def back(workspace: Workspace) -> Registry:
    return rollback(workspace, by="ann", reason="complaints", at=AT)


def test_no_registry_means_no_champion(workspace: Workspace) -> None:
    assert read_registry(workspace) == Registry()
    assert not mend_link(workspace)


def test_a_promotion_is_recorded_and_linked(workspace: Workspace) -> None:
    first, second = candidate(workspace, "2026-01"), candidate(workspace, "2026-02")
    put(workspace, first)
    registry = put(workspace, second)
    assert read_registry(workspace) == registry
    assert registry.champion == second
    assert [entry.previous for entry in registry.history] == [None, first]
    assert registry.history[1].verdict == verdict()
    assert (registry.history[1].by, registry.history[1].at) == ("cron", AT)
    assert os.readlink(workspace.champion_link) == "runs/2026-02/001/finetune/checkpoint"
    assert (workspace.champion_link / "config.json").is_file()


def test_promoting_the_champion_again_adds_nothing_but_mends_the_link(workspace: Workspace) -> None:
    first = candidate(workspace, "2026-01")
    before = put(workspace, first)
    workspace.champion_link.unlink()
    assert put(workspace, first) == before
    assert len(read_registry(workspace).history) == 1
    assert workspace.champion_link.is_symlink()


def test_a_damaged_checkpoint_is_never_promoted(workspace: Workspace) -> None:
    first, second = candidate(workspace, "2026-01"), candidate(workspace, "2026-02")
    put(workspace, first)
    model = workspace.resolve(second.path) / "model.safetensors"
    model.chmod(0o600)
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    before = tree(workspace.root)
    with pytest.raises(
        ArtifactCorrupt, match=f"damaged: .*{second.sha256}, it has [0-9a-f]{{64}}.*--month 2026-02"
    ):
        put(workspace, second)
    assert tree(workspace.root) == before


def test_a_missing_checkpoint_is_told(workspace: Workspace) -> None:
    first = candidate(workspace, "2026-01")
    shutil.rmtree(workspace.resolve(first.path))
    with pytest.raises(ArtifactCorrupt, match="the checkpoint of attempt 2026-01/001 is missing"):
        verify_checkpoint(workspace, first)


def test_a_registry_that_names_a_way_out_is_refused(workspace: Workspace) -> None:
    first = candidate(workspace, "2026-01")
    outside = workspace.root.parent / "outside"
    shutil.copytree(workspace.resolve(first.path), outside)
    shutil.rmtree(workspace.resolve(first.path))
    (workspace.root / first.path).symlink_to(outside)
    with pytest.raises(ArtifactCorrupt, match="found a symbolic link; links are not followed here"):
        put(workspace, first)


def test_rollbacks_go_back_one_champion_at_a_time(workspace: Workspace) -> None:
    refs = [candidate(workspace, month) for month in ("2026-01", "2026-02", "2026-03")]
    for ref in refs:
        put(workspace, ref)
    assert back(workspace).champion == refs[1]
    assert os.readlink(workspace.champion_link) == refs[1].path
    registry = back(workspace)
    assert registry.champion == refs[0]
    assert [entry.action for entry in registry.history] == ["promote"] * 3 + ["rollback"] * 2
    assert registry.history[-1].previous == refs[1]
    assert registry.history[-1].reason == "complaints"
    with pytest.raises(NoInput, match=r"there is no earlier champion to go back to. Run: retrain status"):
        back(workspace)


def test_a_promotion_after_a_rollback_goes_back_to_what_was_rolled_back_to(workspace: Workspace) -> None:
    refs = [candidate(workspace, month) for month in ("2026-01", "2026-02", "2026-03")]
    put(workspace, refs[0])
    put(workspace, refs[1])
    back(workspace)
    assert succession(put(workspace, refs[2])) == [refs[0], refs[2]]
    assert back(workspace).champion == refs[0]


def test_a_champion_can_come_back_after_another(workspace: Workspace) -> None:
    first, second = candidate(workspace, "2026-01"), candidate(workspace, "2026-02")
    for ref in (first, second, first):
        put(workspace, ref)
    assert back(workspace).champion == second


def test_nothing_to_roll_back_to_in_an_empty_workspace(workspace: Workspace) -> None:
    with pytest.raises(NoInput, match="there is no earlier champion"):
        back(workspace)


def test_a_lagging_link_is_mended(workspace: Workspace) -> None:
    first = candidate(workspace, "2026-01")
    put(workspace, first)
    assert not mend_link(workspace)
    workspace.champion_link.unlink()
    workspace.champion_link.symlink_to("runs/elsewhere")
    assert mend_link(workspace)
    assert os.readlink(workspace.champion_link) == first.path


def test_a_folder_where_the_link_should_be_is_told(workspace: Workspace) -> None:
    workspace.champion_link.mkdir()
    with pytest.raises(CannotWrite, match="champion: expected a symbolic link"):
        put(workspace, candidate(workspace, "2026-01"))


def test_a_moved_workspace_keeps_its_champion(workspace: Workspace, tmp_path: Path) -> None:
    put(workspace, candidate(workspace, "2026-01"))
    moved = Workspace(workspace.root.rename(tmp_path / "moved"))
    champion = read_registry(moved).champion
    assert champion is not None
    verify_checkpoint(moved, champion)
    assert not mend_link(moved)
    assert (moved.champion_link / "config.json").is_file()


def test_killed_anywhere_in_a_promotion_the_registry_names_a_sound_checkpoint(workspace: Workspace) -> None:
    first, second = candidate(workspace, "2026-01"), candidate(workspace, "2026-02")
    number = 0
    while True:
        workspace.registry_file.unlink(missing_ok=True)
        workspace.champion_link.unlink(missing_ok=True)
        put(workspace, first)
        killed = killed_at(number, lambda: put(workspace, second))
        champion = read_registry(workspace).champion
        assert champion in (first, second)
        assert champion is not None
        verify_checkpoint(workspace, champion)
        put(workspace, second)
        workspace.sweep()
        assert champion_of(read_registry(workspace)) == "2026-02/001"
        assert os.readlink(workspace.champion_link) == second.path
        assert not [name for name in os.listdir(workspace.root) if name.endswith(".tmp")]
        if not killed:
            break
        number += 1
    assert number == 8


def test_a_failing_disk_leaves_a_sound_champion(workspace: Workspace) -> None:
    first, second = candidate(workspace, "2026-01"), candidate(workspace, "2026-02")
    put(workspace, first)
    for number in range(4):
        with pytest.raises(CannotWrite, match=r"registry.json: cannot write it: No space left on device"):
            failing_at(number, errno.ENOSPC, lambda: put(workspace, second))
        assert read_registry(workspace).champion == first


def test_a_rollback_to_a_month_passes_over_a_damaged_champion_and_never_stops_halfway(
    workspace: Workspace,
) -> None:
    refs = [candidate(workspace, month) for month in ("2026-01", "2026-02", "2026-03", "2026-04")]
    for ref in refs:
        put(workspace, ref)
    shutil.rmtree(workspace.resolve(refs[2].path))
    registry = roll_back_to(workspace, "2026-02", by="ann", reason="complaints", at=AT)
    assert registry == read_registry(workspace)
    assert (registry.champion, succession(registry)) == (refs[1], refs[:2])
    assert [entry.previous for entry in registry.history[-2:]] == [refs[3], refs[2]]
    assert os.readlink(workspace.champion_link) == refs[1].path
    shutil.rmtree(workspace.resolve(refs[0].path))
    before = tree(workspace.root)
    with pytest.raises(ArtifactCorrupt, match="the checkpoint of attempt 2026-01/001 is missing"):
        roll_back_to(workspace, "2026-01", by="ann", reason="complaints", at=AT)
    assert tree(workspace.root) == before
