"""What must hold after any fault, and after the same command was run again."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.store.registry import read_registry, verify_checkpoint
from pipeline.store.verification import verify_workspace
from pipeline.store.workspace import Workspace
from tests.faults.disturbance import artifacts, finished_month, run_month


@dataclass(frozen=True)
class Undisturbed:
    """A month in which nothing happened.

    Attributes:
        workspace: where it was run.
        artifacts: what is there now.
        launch: what the launch had left, without the Fisher.
        steps: the changes to the disk, in order.
    """

    workspace: Path
    artifacts: dict[str, bytes]
    launch: dict[str, bytes]
    steps: list[str]


def assert_nothing_is_lost(workspace: Path, undisturbed: Undisturbed) -> None:
    """The registry names a sound checkpoint, and the finished month has not changed."""
    space = Workspace(workspace)
    champion = read_registry(space).champion
    assert champion is not None
    verify_checkpoint(space, champion)
    assert finished_month(workspace) == undisturbed.launch


def assert_converges(workspace: Path, undisturbed: Undisturbed) -> None:
    """Running the same command again ends in the bits of a run that was never disturbed."""
    done = run_month(workspace)
    assert done.code == 0, done.err
    found = artifacts(workspace)
    assert found.keys() == undisturbed.artifacts.keys()
    assert [n for n in found if found[n] != undisturbed.artifacts[n]] == []
    assert verify_workspace(Workspace(workspace)).problems == ()
