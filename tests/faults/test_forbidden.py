"""Folders that may not be read or written, as somebody without root's powers; and limits of the disk."""

import os
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import call
from tests.faults.disturbance import artifacts, copy_of, forked, run_month
from tests.faults.outcome import Undisturbed, assert_converges, assert_nothing_is_lost

NOBODY = 65534
FORBIDDEN, CANNOT_WRITE = 77, 74
as_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can become somebody else, or mount a file system"
)


@pytest.fixture
def reachable(launched: Path) -> Iterator[Path]:
    """The launched workspace in a place that everybody can reach, owned by somebody without powers."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    workspace = copy_of(launched, root / "workspace")
    for path in [workspace, *workspace.rglob("*")]:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    yield workspace
    subprocess.run(["chmod", "-R", "u+rwX", str(root)], check=True)
    shutil.rmtree(root)


def as_nobody(work: Callable[[], int]) -> int:
    def powerless() -> int:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        return work()

    return forked(powerless)


@as_root
@pytest.mark.parametrize("folder", [".", "runs", "runs/2026-01/001/finetune/checkpoint"])
def test_a_read_only_folder_is_told_and_nothing_is_written(reachable: Path, folder: str) -> None:
    (reachable / folder).chmod(0o555)
    before = artifacts(reachable)
    assert as_nobody(lambda: run_month(reachable, "--until", "fisher").code) == FORBIDDEN
    after = artifacts(reachable)
    assert {name: after[name] for name in before} == before
    # what was begun before the folder was met is unfinished work, which the next run takes up
    (reachable / folder).chmod(0o755)
    assert as_nobody(lambda: run_month(reachable).code) == 0


@as_root
@pytest.mark.parametrize("folder", ["runs", "golden", "feedback", "runs/2026-01/001/ingest"])
def test_a_folder_that_may_not_be_entered_is_told(reachable: Path, folder: str) -> None:
    (reachable / folder).chmod(0o000)
    assert as_nobody(lambda: run_month(reachable).code) == FORBIDDEN
    (reachable / folder).chmod(0o755)
    assert as_nobody(lambda: run_month(reachable).code) == 0


@as_root
@pytest.mark.parametrize("command", [("status",), ("show", "2026-01"), ("verify", "--all")])
def test_who_may_only_read_may_look(reachable: Path, command: tuple[str, ...]) -> None:
    for path in [reachable, *(path for path in reachable.rglob("*") if path.is_dir())]:
        path.chmod(0o555)
    before = artifacts(reachable)
    assert as_nobody(lambda: call(*command, "-w", reachable).code) == 0
    assert artifacts(reachable) == before


@as_root
def test_somebody_elses_workspace_is_told_and_left_alone(launched: Path) -> None:
    launched.parent.chmod(0o755)
    before = artifacts(launched)
    assert as_nobody(lambda: run_month(launched).code) == FORBIDDEN
    assert artifacts(launched) == before


@pytest.mark.parametrize("kibibytes", [1, 16, 80])
def test_a_limit_on_the_size_of_files_stops_the_run_and_the_next_one_goes_on(
    launched: Path, tmp_path: Path, undisturbed: Undisturbed, kibibytes: int
) -> None:
    workspace = copy_of(launched, tmp_path / "limited")

    def limited() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (kibibytes * 1024, resource.RLIM_INFINITY))
        return run_month(workspace).code

    assert forked(limited) == CANNOT_WRITE
    assert_nothing_is_lost(workspace, undisturbed)
    assert_converges(workspace, undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    # lazily: memory-mapped files of the test may be let go of a moment later
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@as_root
def test_a_full_disk_is_told_before_training_begins(launched: Path, small_disk: Path) -> None:
    workspace = copy_of(launched, small_disk / "workspace")
    done = run_month(workspace)
    assert done.code == CANNOT_WRITE
    assert "fine-tuning needs" in done.err
    assert "MiB of free space" in done.err
    assert call("verify", "-w", workspace).code == 0


@as_root
def test_a_disk_that_fills_up_while_training_loses_nothing(
    launched: Path, small_disk: Path, undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.stages import finetune

    workspace = copy_of(launched, small_disk / "workspace")
    monkeypatch.setattr(finetune, "require_free_space", lambda *_, **__: None)
    assert forked(lambda: run_month(workspace).code) == CANNOT_WRITE
    assert_nothing_is_lost(workspace, undisturbed)
    moved = copy_of(workspace, small_disk.parent / "roomy")
    assert_converges(moved, undisturbed)
