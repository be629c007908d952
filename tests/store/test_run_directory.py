"""Everything has one place, REFs find it, and nothing leads outside the workspace."""

import os
import shutil
from pathlib import Path

import pytest

from pipeline.errors import ArtifactCorrupt, CannotWrite, NoInput, UsageError
from pipeline.months import Month
from pipeline.store import atomic
from pipeline.store.registry import promote, rollback
from pipeline.store.run_directory import RunDirectory
from pipeline.store.stage_directory import open_stage
from pipeline.store.workspace import Workspace

from .samples import AT, manifest, run_attempt, stage_record, tree, verdict, write_checkpoint

MARCH = Month(2026, 3)


def test_the_workspace_lays_out_its_files(workspace: Workspace) -> None:
    root = workspace.root
    assert workspace.config_file == root / "retrain.yaml"
    assert (workspace.feedback, workspace.golden) == (root / "feedback", root / "golden")
    assert (workspace.registry_file, workspace.champion_link) == (root / "registry.json", root / "champion")
    assert os.fspath(workspace) == str(root)
    assert repr(workspace) == f"Workspace('{root}')"


def test_attempts_are_numbered_and_sorted_by_number(workspace: Workspace) -> None:
    for number in ("010", "002", "1000", "001"):
        (workspace.runs / "2026-03" / number).mkdir(parents=True)
        (workspace.runs / "2026-03" / number / "run.log").write_bytes(b"")
    for ignored in (".DS_Store", "notes", "01", "001x"):
        (workspace.runs / "2026-03" / ignored).mkdir()
    assert [run.attempt for run in workspace.attempts(MARCH)] == [
        "2026-03/001",
        "2026-03/002",
        "2026-03/010",
        "2026-03/1000",
    ]
    assert workspace.new_attempt(MARCH).attempt == "2026-03/1001"


def test_an_attempt_that_was_left_empty_is_used_again(workspace: Workspace) -> None:
    first = workspace.new_attempt(MARCH)
    assert workspace.attempts(MARCH) == []
    assert workspace.months() == []
    assert workspace.new_attempt(MARCH) == first
    first.log("begun")
    assert workspace.latest_attempt(MARCH) == first
    assert workspace.months() == [MARCH]
    assert workspace.new_attempt(MARCH).attempt == "2026-03/002"


def test_a_month_without_attempts_has_none(workspace: Workspace) -> None:
    assert workspace.attempts(MARCH) == []
    assert workspace.latest_attempt(MARCH) is None


def test_links_in_place_of_months_and_attempts_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "001").mkdir(parents=True)
    workspace.runs.mkdir()
    (workspace.runs / "2026-03").symlink_to(outside)
    with pytest.raises(ArtifactCorrupt, match="2026-03: expected a file or folder, found a symbolic link"):
        workspace.new_attempt(MARCH)
    with pytest.raises(ArtifactCorrupt, match="symbolic link"):
        workspace.months()
    (workspace.runs / "2026-03").unlink()
    (workspace.runs / "2026-03").mkdir()
    (workspace.runs / "2026-03" / "001").symlink_to(outside)
    with pytest.raises(ArtifactCorrupt, match="001: expected a file or folder, found a symbolic link"):
        workspace.attempts(MARCH)
    assert sorted(os.listdir(outside)) == ["001"]


def test_runs_may_be_a_link_to_another_disk(workspace: Workspace, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".x.0123456789ab.tmp").touch()
    workspace.runs.symlink_to(outside)
    run = workspace.new_attempt(MARCH)
    run.log("begun")
    assert workspace.latest_attempt(MARCH) == run
    assert workspace.relative(run.folder) == "runs/2026-03/001"
    assert workspace.resolve("runs/2026-03/001") == run.folder
    assert [path.name for path in workspace.sweep()] == [".x.0123456789ab.tmp"]
    checkpoint = outside / "2026-03/001/finetune/checkpoint"
    checkpoint.mkdir(parents=True)
    (checkpoint / "config.json").touch()
    assert workspace.find(str(checkpoint)).run == run
    (outside / "2026-04").symlink_to(tmp_path)
    with pytest.raises(ArtifactCorrupt, match="2026-04: expected a file or folder, found a symbolic link"):
        workspace.months()


def test_runs_may_not_be_a_link_that_leads_nowhere(workspace: Workspace, tmp_path: Path) -> None:
    workspace.runs.symlink_to(tmp_path / "unmounted")
    assert workspace.months() == []
    with pytest.raises(CannotWrite, match="runs"):
        workspace.new_attempt(MARCH)


@pytest.mark.parametrize("name", ["../x", "/etc", "runs/../../x", "runs//x", "", ".", "runs/\0"])
def test_recorded_paths_never_lead_outside(workspace: Workspace, name: str) -> None:
    with pytest.raises(ArtifactCorrupt, match="which is not inside"):
        workspace.resolve(name)


def test_paths_are_relative_to_the_workspace(workspace: Workspace) -> None:
    assert workspace.relative(workspace.runs / "2026-03") == "runs/2026-03"
    with pytest.raises(UsageError, match="lies outside the workspace"):
        workspace.relative(workspace.root.parent)


def test_a_workspace_reached_through_a_link_is_the_same_workspace(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(workspace.root)
    assert Workspace(tmp_path / "link").root == workspace.root


def test_an_attempt_knows_its_places(workspace: Workspace) -> None:
    run = RunDirectory(workspace.runs / "2026-03" / "001")
    assert (run.month, run.attempt, run.number) == (MARCH, "2026-03/001", 1)
    assert run.checkpoint == run.folder / "finetune" / "checkpoint"
    names = [
        f.name for f in (run.manifest_file, run.config_file, run.log_file, run.events_file, run.report_file)
    ]
    assert names == ["manifest.json", "config.yaml", "run.log", "events.jsonl", "report.html"]
    with pytest.raises(UsageError, match=r"stage '../x': expected one of ingest, fisher, finetune, eval"):
        run.stage("../x")


def test_a_manifest_is_kept_until_finished_and_then_never_changed(workspace: Workspace) -> None:
    run = workspace.new_attempt(MARCH)
    run.write_manifest(manifest())
    finished = manifest(status="finished", exit_code=0)
    run.write_manifest(finished)
    run.write_manifest(finished)
    assert run.read_manifest() == finished
    with pytest.raises(UsageError, match=r"2026-03/001 is finished and is not changed any more.*--force"):
        run.write_manifest(manifest(status="finished", exit_code=3))
    assert run.manifest_file.stat().st_mode & 0o777 == 0o400


def test_a_manifest_of_another_attempt_is_refused(workspace: Workspace) -> None:
    first, other = workspace.new_attempt(MARCH), workspace.new_attempt(Month(2026, 4))
    with pytest.raises(UsageError, match="a manifest of 2026-04/001 cannot be kept here"):
        first.write_manifest(manifest("2026-04/001"))
    first.write_manifest(manifest())
    shutil.copy(first.manifest_file, other.manifest_file)
    with pytest.raises(ArtifactCorrupt, match="belongs to attempt 2026-03/001, not to 2026-04/001"):
        other.read_manifest()


def test_a_missing_manifest_is_no_input(workspace: Workspace) -> None:
    run = workspace.new_attempt(MARCH)
    assert not run.has_manifest()
    with pytest.raises(NoInput, match=r"manifest.json: there is no such file"):
        run.read_manifest()


def test_events_are_lines_of_json_and_the_log_is_lines_of_text(workspace: Workspace) -> None:
    run = workspace.new_attempt(MARCH)
    run.append_event("stage finished", at=AT, stage="ingest", seconds=1.5)
    run.append_event("finished", at=AT)
    run.log("one")
    assert run.events_file.read_text().splitlines() == [
        f'{{"at": "{AT}", "event": "stage finished", "seconds": 1.5, "stage": "ingest"}}',
        f'{{"at": "{AT}", "event": "finished"}}',
    ]
    assert run.log_file.read_text() == "one\n"


def test_a_month_means_its_newest_promoted_attempt(workspace: Workspace) -> None:
    promoted = run_attempt(workspace)
    refused = run_attempt(workspace, promoted=False, fresh=True)
    workspace.new_attempt(MARCH).write_manifest(manifest("2026-03/003"))
    assert workspace.find("2026-03").run == promoted
    assert workspace.find("2026-03/002").run == refused
    assert workspace.find("2026-03/002").checkpoint == refused.checkpoint
    assert workspace.find("2026-03").ref == promoted.read_manifest().candidate


def test_a_month_without_promotion_means_its_newest_finished_attempt(workspace: Workspace) -> None:
    run_attempt(workspace, promoted=False)
    second = run_attempt(workspace, promoted=False, fresh=True)
    assert workspace.find("2026-03").run == second


def test_an_attempt_promoted_by_hand_counts_as_promoted(workspace: Workspace) -> None:
    first = run_attempt(workspace, promoted=False)
    run_attempt(workspace, promoted=False, fresh=True)
    ref = first.read_manifest().candidate
    assert ref is not None
    promote(
        workspace, ref, action="force", by="ann", reason="it is better", verdict=verdict(passed=False), at=AT
    )
    assert workspace.find("2026-03").run == first


def test_the_champion_is_the_registrys(workspace: Workspace) -> None:
    first = run_attempt(workspace, "2026-01")
    second = run_attempt(workspace, "2026-02")
    assert workspace.find("champion").run == second
    rollback(workspace, by="ann", reason="complaints", at=AT)
    assert workspace.find("champion").run == first
    assert workspace.find("champion").checkpoint == first.checkpoint


def test_no_champion_yet_names_the_command_that_makes_one(workspace: Workspace) -> None:
    with pytest.raises(NoInput, match=r"there is no champion yet. Run: retrain launch --data FILE"):
        workspace.find("champion")


def test_paths_find_checkpoints_and_attempts(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_attempt(workspace)
    ref = run.read_manifest().candidate
    for path in (str(run.checkpoint), "runs/2026-03/001/finetune/checkpoint", str(run.folder)):
        found = workspace.find(path)
        assert (found.checkpoint, found.run, found.ref) == (run.checkpoint, run, ref)
    monkeypatch.chdir(run.folder)
    assert workspace.find("finetune/checkpoint").run == run
    assert workspace.find("./../../../champion").ref == ref


def test_a_checkpoint_outside_belongs_to_no_attempt(workspace: Workspace, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "elsewhere")
    found = workspace.find(str(tmp_path / "elsewhere"))
    assert (found.checkpoint, found.run, found.ref) == (tmp_path / "elsewhere", None, None)
    with pytest.raises(NoInput, match=r"is no checkpoint \(config.json is missing\)"):
        workspace.find(str(tmp_path))


def test_an_unfinished_stage_is_no_checkpoint(workspace: Workspace) -> None:
    run = run_attempt(workspace)
    other = workspace.new_attempt(MARCH)
    partial = open_stage(other.stage("finetune"), stage_record("finetune").identity())
    write_checkpoint(partial / "checkpoint")
    with pytest.raises(NoInput, match="belongs to a stage that is not finished"):
        workspace.find(str(partial / "checkpoint"))
    assert workspace.find("2026-03").run == run


@pytest.mark.parametrize(
    "ref",
    ["2026-04", "2026-03/009", "none", "../x", "2026-3", "2026-13", "\uff12026-03", "2026-03\n", "", "\0",
     "2026-03/../../x", "2026-03/001/../../../..", "x" * 5000],
)  # fmt: skip
def test_what_is_not_found_is_told_with_what_exists(workspace: Workspace, ref: str) -> None:
    run_attempt(workspace)
    before = tree(workspace.root)
    with pytest.raises(NoInput, match=r"Attempts here: 2026-03/001. Run: retrain status"):
        workspace.find(ref)
    assert tree(workspace.root) == before


def test_an_empty_workspace_names_the_first_command(workspace: Workspace) -> None:
    with pytest.raises(NoInput, match=r"no attempts in .* yet. Run: retrain launch --data FILE"):
        workspace.find("2026-03")


def test_a_long_list_of_attempts_is_shortened(workspace: Workspace) -> None:
    for number in range(25):
        RunDirectory(workspace.runs / "2026-03" / f"{number + 1:03d}").folder.mkdir(parents=True)
        (workspace.runs / "2026-03" / f"{number + 1:03d}" / "run.log").write_bytes(b"")
    with pytest.raises(NoInput, match=r"Attempts here: \.\.\. 2026-03/006, .*2026-03/025"):
        workspace.find("2026-04")


def test_an_attempt_without_a_checkpoint_is_told(workspace: Workspace) -> None:
    workspace.new_attempt(MARCH).write_manifest(manifest(status="finished", exit_code=0))
    with pytest.raises(NoInput, match=r"attempt 2026-03/001: has no checkpoint"):
        workspace.find("2026-03/001")
    with pytest.raises(NoInput, match="month 2026-03: no finished attempt has a checkpoint"):
        workspace.find("2026-03")


@pytest.mark.parametrize(
    "attempt", ["2026-03", "2026-03/1", "2026-03/001\n", "../001", "2026-03/\uff10\uff10\uff11"]
)
def test_attempt_ids_have_one_form(workspace: Workspace, attempt: str) -> None:
    with pytest.raises(UsageError, match="expected an id such as 2026-03/001"):
        workspace.attempt(attempt)


def test_a_lost_checkpoint_is_told(workspace: Workspace) -> None:
    run = run_attempt(workspace)
    shutil.rmtree(run.checkpoint)
    with pytest.raises(ArtifactCorrupt, match="checkpoint: is missing; attempt 2026-03/001 names it"):
        workspace.find("champion")


def test_sweeping_clears_runs_and_the_root_but_not_what_users_put_there(workspace: Workspace) -> None:
    run = run_attempt(workspace)
    workspace.feedback.mkdir()
    left_over = [workspace.root / ".registry.json.0123456789ab.tmp", run.checkpoint / ".tmpXIct0m"]
    kept = workspace.feedback / ".tmpXIct0m"
    for path in (*left_over, kept):
        path.write_bytes(b"")
    assert sorted(workspace.sweep()) == sorted(left_over)
    assert kept.exists()
    atomic.remove_tree(workspace.runs)
    assert workspace.sweep() == []
