"""Workspaces to disturb, and what an undisturbed month makes of them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disturbance import StandingClock, artifacts, copy_of, finished_month, steps_of
from tests.faults.outcome import Undisturbed


@pytest.fixture(autouse=True, scope="package")
def same_circumstances() -> Iterator[None]:
    """What differs from run to run without being a fault: time, the checkout; and flushing, which takes long."""
    from cli import options
    from pipeline.modeling import trainer_checkpoints
    from pipeline.store import environment

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options, "datetime", StandingClock)
        patch.setattr(environment, "_git_state", lambda: (None, None))
        patch.setattr(trainer_checkpoints, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setenv("TOKENIZERS_PARALLELISM", "false")
        yield


@pytest.fixture(scope="package")
def undisturbed(_launched: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """What the month comes to when nothing happens, and by which changes to the disk."""
    workspace = copy_of(_launched, tmp_path_factory.mktemp("undisturbed") / "workspace")
    steps = steps_of(workspace)
    return Undisturbed(workspace, artifacts(workspace), finished_month(workspace), steps)
