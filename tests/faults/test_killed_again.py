"""`--force` and `--from`, killed and run again: the attempt that they opened is gone on with, none piles up."""

import json
from pathlib import Path

import pytest

from pipeline.months import Month
from pipeline.recorded.lineage import finished_attempt
from pipeline.store.workspace import Workspace
from tests.faults.disturbance import KILLED, MONTH, copy_of, killing, run_month, run_with
from tests.faults.outcome import Undisturbed


def attempts(workspace: Path) -> list[str]:
    return [run.attempt for run in Workspace(workspace).attempts(Month.parse(MONTH))]


@pytest.mark.parametrize("words", [("--force",), ("--from", "ingest"), ("--from", "fisher")], ids=" ".join)
def test_the_same_command_goes_on_with_the_attempt_that_it_opened(
    undisturbed: Undisturbed, tmp_path: Path, words: tuple[str, ...]
) -> None:
    workspace = copy_of(undisturbed.workspace, tmp_path / "again")
    first = json.loads((workspace / f"runs/{MONTH}/001/manifest.json").read_text())
    for number in (20, 90, 140):
        assert run_with(workspace, killing(number), *words) == KILLED
        assert attempts(workspace) == [f"{MONTH}/001", f"{MONTH}/002"]
    done = run_month(workspace, *words)
    assert done.code == 0, done.err
    assert attempts(workspace) == [f"{MONTH}/001", f"{MONTH}/002"]
    ended = finished_attempt(Workspace(workspace), Month.parse(MONTH))
    assert ended is not None
    assert ended.attempt == f"{MONTH}/002"
    again = json.loads(ended.manifest_file.read_text())
    assert again["candidate"]["sha256"] == first["candidate"]["sha256"]
    assert run_month(workspace, *words).code == 0
    assert attempts(workspace)[-1] == f"{MONTH}/003"


def test_another_command_does_not_take_an_open_attempt_for_its_own(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    workspace = copy_of(undisturbed.workspace, tmp_path / "other")
    assert run_month(workspace, "--from", "ingest", "--until", "fisher").code == 0
    assert run_month(workspace, "--force", "--until", "ingest").code == 0
    assert attempts(workspace)[-1] == f"{MONTH}/003"


def test_a_command_that_came_to_its_end_is_done_again_when_it_is_given_again(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    workspace = copy_of(undisturbed.workspace, tmp_path / "until")
    for number in (2, 3):
        assert run_month(workspace, "--force", "--until", "ingest").code == 0
        assert attempts(workspace)[-1] == f"{MONTH}/{number:03d}"
