"""Where a month starts from, whatever killed runs and rollbacks left."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.errors import ArtifactCorrupt, NoInput, UsageError
from pipeline.months import Month
from pipeline.recorded.lineage import (
    ancestors,
    base_for,
    carried_months,
    refused_months,
    require_no_gap,
    require_sound,
)
from pipeline.store.records import Manifest
from pipeline.store.registry import read_registry
from pipeline.store.run_directory import RunDirectory
from pipeline.store.workspace import Workspace
from tests.conftest import call


def test_the_line_of_descent_starts_with_the_launch(promoted: Path) -> None:
    workspace = Workspace(promoted)
    champion = read_registry(workspace).champion
    assert [ref.attempt for ref in ancestors(workspace, champion)] == ["2026-01/001", "2026-02/001"]
    assert ancestors(workspace, None) == []


def test_a_month_starts_from_the_newest_ancestor_before_it(promoted: Path) -> None:
    workspace = Workspace(promoted)
    assert base_for(workspace, Month(2026, 3)).attempt == "2026-02/001"
    assert base_for(workspace, Month(2026, 2)).attempt == "2026-01/001"
    with pytest.raises(NoInput, match=r"no champion from an earlier month; the first is of 2026-01"):
        base_for(workspace, Month(2026, 1))


def test_refused_months_are_those_since_the_base(refused: Path, promoted: Path) -> None:
    for root, expected in ((refused, [Month(2026, 2)]), (promoted, [])):
        workspace = Workspace(root)
        assert refused_months(workspace, base_for(workspace, Month(2026, 3)), Month(2026, 3)) == expected


def test_an_attempt_that_was_killed_before_its_manifest_was_written_does_not_count(refused: Path) -> None:
    workspace = Workspace(refused)
    shutil.copytree(refused / "runs/2026-02/001/ingest", refused / "runs/2026-02/002/ingest")
    base = base_for(workspace, Month(2026, 3))
    require_no_gap(workspace, base, Month(2026, 3))
    assert refused_months(workspace, base, Month(2026, 3)) == [Month(2026, 2)]
    shutil.rmtree(refused / "runs/2026-02/001")
    with pytest.raises(UsageError, match="2026-02 were never run"):
        require_no_gap(workspace, base, Month(2026, 3))


def test_a_gap_of_thousands_of_years_is_told_in_a_line(refused: Path) -> None:
    workspace, late = Workspace(refused), Month(9999, 1)
    base = base_for(workspace, late)
    with pytest.raises(UsageError) as gap:
        require_no_gap(workspace, base, late)
    assert "2026-03, 2026-04, 2026-05, 2026-06, 2026-07, 2026-08 and 95668 more, up to 9998-12," in str(
        gap.value
    )
    assert refused_months(workspace, base, late) == [Month(2026, 2)]


def test_a_month_that_was_run_late_is_learned_with_the_next(launched: Path) -> None:
    """2026-02 was passed over, and run when 2026-03 was champion already."""
    assert call("run", "--month", "2026-03", "--allow-gap", "--promote", "-w", launched).code == 0
    late = call("run", "--month", "2026-02", "-w", launched)
    assert late.code == 0
    assert (
        "passed, but the champion is newer (2026-03); not promoted, the next month learns its rows"
        in late.err
    )
    workspace = Workspace(launched)
    assert read_registry(workspace).champion.month == "2026-03"  # type: ignore[union-attr]
    next_month = Month(2026, 4)
    base = base_for(workspace, next_month)
    assert carried_months(workspace, base, next_month) == [Month(2026, 2)]
    # neither the champion's own month, finished without it, nor the late month is made stale by it
    assert carried_months(workspace, base_for(workspace, Month(2026, 3)), Month(2026, 3)) == []
    before = sorted(launched.rglob("*"))
    for month in ("2026-02", "2026-03"):
        assert "already done" in call("run", "--month", month, "--allow-gap", "-w", launched).out
    assert sorted(launched.rglob("*")) == before


def test_a_killed_attempt_is_gone_on_with(refused: Path) -> None:
    done = call("run", "--month", "2026-02", "-w", refused, "--until", "fisher", "--from", "ingest")
    assert done.code == 0
    (refused / "runs/2026-02/002/manifest.json").unlink()
    done = call("run", "--month", "2026-02", "-w", refused)
    assert done.code == 0, done.err
    manifest = json.loads((refused / "runs/2026-02/002/manifest.json").read_text())
    assert set(manifest["stages"]) == {"ingest", "fisher", "finetune", "eval"}
    assert "ingest: runs" not in done.err


def test_a_checkpoint_is_sound_when_it_has_the_recorded_hash(promoted: Path) -> None:
    workspace = Workspace(promoted)
    for ref in ("champion", "2026-01", "runs/2026-02/001/finetune/checkpoint", str(promoted / "base")):
        require_sound(workspace, workspace.find(ref))
    config = promoted / "runs/2026-02/001/finetune/checkpoint/config.json"
    config.chmod(0o644)
    config.write_text(config.read_text() + " ")
    for ref in ("champion", "runs/2026-02/001/finetune/checkpoint"):
        with pytest.raises(ArtifactCorrupt, match="recorded the checkpoint's hash"):
            require_sound(workspace, workspace.find(ref))


def test_a_later_month_reads_the_manifest_of_the_launch_no_more_often(
    promoted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = RunDirectory.read_manifest

    def counted(run: RunDirectory) -> Manifest:
        reads.append(run.attempt)
        return read(run)

    monkeypatch.setattr(RunDirectory, "read_manifest", counted)
    assert call("run", "--month", "2026-03", "--no-promote", "-w", promoted).code == 0
    second = reads.count("2026-01/001")
    reads.clear()
    assert call("run", "--month", "2026-02", "--force", "--no-promote", "-w", promoted).code == 0
    assert 0 < second <= reads.count("2026-01/001")
