"""What evaluations recorded: scorecards and the gate's verdicts, read back."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import ArtifactCorrupt
from pipeline.evaluation.gate import Verdict
from pipeline.evaluation.scorecard import Scorecard, scorecard_from_record
from pipeline.months import Month
from pipeline.recorded.lineage import finished_attempt, refused_months
from pipeline.recorded.names import GATE_FILE, SCORECARD_FILE
from pipeline.store import reading
from pipeline.store.records import CheckpointRef
from pipeline.store.stage_directory import require_output
from pipeline.store.workspace import Workspace


def recorded_verdict(folder: Path) -> Verdict:
    """The gate's verdict of a finished evaluation."""
    try:
        return TypeAdapter(Verdict).validate_python(reading.read_json(require_output(folder, GATE_FILE)))
    except ValidationError as error:
        raise ArtifactCorrupt(f"{folder / GATE_FILE}: is no verdict: {error.errors()[0]['msg']}") from None


def recorded_scorecard(folder: Path) -> Scorecard:
    """The scorecard of a finished evaluation."""
    content: Any = reading.read_json(require_output(folder, SCORECARD_FILE))
    return scorecard_from_record(content, where=str(folder / SCORECARD_FILE))


def earlier_scorecards(workspace: Workspace, month: Month) -> dict[str, Scorecard]:
    """Each month before `month` to the scorecard of its newest evaluated attempt, as the page of `month` shows them.

    Raises:
        ArtifactCorrupt: one of them is damaged.
    """
    cards = {}
    for earlier in workspace.months():
        folders = [run.stage("eval") for run in workspace.attempts(earlier)] if earlier < month else []
        evaluated = [folder for folder in folders if (folder / SCORECARD_FILE).exists()]
        if evaluated:
            cards[str(earlier)] = recorded_scorecard(evaluated[-1])
    return cards


def losing_refusals(workspace: Workspace, base: CheckpointRef, month: Month) -> int:
    """How many months in a row since the base, up to the one before `month`, were refused for what they lost."""
    count = 0
    for refused in reversed(refused_months(workspace, base, month)):
        attempt = finished_attempt(workspace, refused)
        if attempt is None or not recorded_verdict(attempt.stage("eval")).refused_for_losses:
            break
        count += 1
    return count
