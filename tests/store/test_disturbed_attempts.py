"""A whole attempt, killed or refused at any change to the disk: the next run ends in the same bits."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from pipeline.errors import AccessDenied, CannotWrite
from pipeline.months import Month
from pipeline.sources.read import read_table
from pipeline.store import atomic
from pipeline.store.checkpoints import copy_checkpoint
from pipeline.store.hashing import checkpoint_hash
from pipeline.store.lock import workspace_lock
from pipeline.store.registry import mend_link, promote, read_registry, verify_checkpoint
from pipeline.store.stage_directory import open_stage, read_stage, verify_stage
from pipeline.store.verification import verify_workspace
from pipeline.store.workspace import Workspace

from .samples import AT, count_steps, failing_at, forked, killed_at, run_attempt, tree, verdict

# prime, so that the tests together meet every kind of step at every place in the attempt
STRIDE = 7


@pytest.fixture
def first_month(workspace: Workspace) -> Workspace:
    run_attempt(workspace, "2026-01")
    return workspace


def second_month(workspace: Workspace) -> None:
    workspace.sweep()
    mend_link(workspace)
    run_attempt(workspace, "2026-02")


def copy_of(workspace: Workspace, name: str) -> Workspace:
    return Workspace(Path(shutil.copytree(workspace.root, workspace.root.parent / name, symlinks=True)))


def check_invariant(workspace: Workspace, first: dict[str, bytes]) -> None:
    """The registry names a sound checkpoint, and the finished month has not changed."""
    champion = read_registry(workspace).champion
    assert champion is not None
    verify_checkpoint(workspace, champion)
    assert tree(workspace.runs / "2026-01") == first


def test_killed_anywhere_in_a_month(first_month: Workspace) -> None:
    first = tree(first_month.runs / "2026-01")
    undisturbed = copy_of(first_month, "undisturbed")
    steps = count_steps(lambda: second_month(undisturbed))
    assert steps > 100
    for number in range(0, steps, STRIDE):
        disturbed = copy_of(first_month, f"killed-{number}")
        assert killed_at(number, partial(second_month, disturbed))
        check_invariant(disturbed, first)
        second_month(disturbed)
        assert verify_workspace(disturbed).problems == ()
        assert tree(disturbed.root) == tree(undisturbed.root)


@pytest.mark.parametrize(("error", "begin"), [(errno.ENOSPC, 1), (errno.EIO, 3), (errno.EROFS, 5)])
def test_refused_by_the_disk_anywhere_in_a_month(first_month: Workspace, error: int, begin: int) -> None:
    first = tree(first_month.runs / "2026-01")
    undisturbed = copy_of(first_month, "undisturbed")
    steps = count_steps(lambda: second_month(undisturbed))
    for number in range(begin, steps, STRIDE):
        disturbed = copy_of(first_month, f"refused-{number}")
        with pytest.raises(CannotWrite, match=f"{disturbed.root}.*{os.strerror(error)}"):
            failing_at(number, error, partial(second_month, disturbed))
        check_invariant(disturbed, first)
        second_month(disturbed)
        assert verify_workspace(disturbed).problems == ()
        assert tree(disturbed.root) == tree(undisturbed.root)


def enter(workspace: Workspace) -> None:
    with workspace_lock(workspace):
        pass


def promote_again(workspace: Workspace) -> None:
    ref = Workspace(workspace.root).find("2026-01").ref
    assert ref is not None
    promote(workspace, ref, action="promote", by="ann", reason="", verdict=verdict(), at=AT)


OPERATIONS: dict[str, Callable[[Workspace], object]] = {
    "lock": enter,
    "months": Workspace.months,
    "attempts": lambda workspace: workspace.attempts(Month(2026, 1)),
    "new attempt": lambda workspace: workspace.new_attempt(Month(2026, 2)),
    "find champion": lambda workspace: workspace.find("champion"),
    "find month": lambda workspace: workspace.find("2026-01"),
    "registry": read_registry,
    "promote": promote_again,
    "mend": mend_link,
    "sweep": Workspace.sweep,
    "open stage": lambda w: open_stage(w.runs / "2026-02" / "001" / "ingest", {}),
    "read stage": lambda w: read_stage(w.runs / "2026-01" / "001" / "ingest"),
    "verify stage": lambda w: verify_stage(w.runs / "2026-01" / "001" / "ingest"),
    "hash": lambda w: checkpoint_hash(w.runs / "2026-01" / "001" / "finetune" / "checkpoint"),
    "copy": lambda w: copy_checkpoint(w.runs / "2026-01" / "001" / "finetune" / "checkpoint", w.root / "x"),
    "table": lambda w: read_table(w.root / "t.jsonl"),
    "folder": lambda w: atomic.make_folder(w.root / "a" / "b"),
    "append": lambda w: atomic.append_line(w.root / "run.log", "x"),
}


@pytest.fixture
def foreign_workspace() -> Iterator[Workspace]:
    """A workspace of root's, in a place that everybody can reach."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    workspace = Workspace(root / "workspace")
    workspace.root.mkdir(mode=0o700)
    run_attempt(workspace, "2026-01")
    (workspace.root / "t.jsonl").write_bytes(b"")
    yield workspace
    shutil.rmtree(root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_workspace_of_somebody_else_is_told_and_not_taken_for_an_empty_one(
    foreign_workspace: Workspace, operation: str
) -> None:
    before = tree(foreign_workspace.root)

    def work_as_nobody() -> int:
        os.setgid(65534)
        os.setuid(65534)
        try:
            OPERATIONS[operation](foreign_workspace)
        except AccessDenied:
            return 77
        return 0

    assert forked(work_as_nobody) == 77
    assert tree(foreign_workspace.root) == before
