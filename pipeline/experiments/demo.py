"""The demo: a help desk launched and retrained for three months, plain fine-tuning beside EWC."""

from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.config_loading import load_config
from pipeline.evaluation.accuracy_matrix import AccuracyMatrix
from pipeline.helpdesk.stream import HelpdeskStream, helpdesk_stream
from pipeline.inspection.history import workspace_history
from pipeline.month.run import launch, run_month
from pipeline.month.wish import Runtime, Wish
from pipeline.operations.new_workspace import make_workspace
from pipeline.recorded.scorecards import recorded_scorecard
from pipeline.stages.stage import LaunchInput
from pipeline.store.tables import write_jsonl
from pipeline.store.workspace import Workspace

ARMS = ("plain", "default")


@dataclass(frozen=True)
class DemoResult:
    """What the demo ends with.

    Attributes:
        matrices: arm to month x golden-set accuracies, points.
        prior_change: arm to the mean change a month on the golden rows of earlier months, points.
        run_directory: of the last month of the default arm.
    """

    matrices: dict[str, AccuracyMatrix]
    prior_change: dict[str, float]
    run_directory: Path


def run_demo(folder: Path, *, seed: int, runtime: Runtime) -> DemoResult:
    """Launch once, then retrain every month with each arm, in one workspace an arm.

    The second arm's workspace adopts the first one's launch.

    The plain arm is promoted whatever the gate says, as a team without a gate would do.
    """
    stream = helpdesk_stream(seed)
    matrices, changes = {}, {}
    launched: Path | None = None
    for arm in ARMS:
        workspace = _workspace(folder / arm, stream)
        config = load_config(workspace.config_file, overrides=[f"arm={arm}", f"seed={seed}"])
        launch(
            workspace,
            config.model_copy(update={"arm": "default"}),
            stream.launch_month,
            LaunchInput(workspace.root / "launch.jsonl", launched),
            runtime=runtime,
        )
        launched = launched or workspace.find(str(stream.launch_month)).checkpoint
        differences = []
        for month in sorted(stream.feedback):
            wish = Wish(promote=True) if arm == "plain" else Wish()
            run_month(workspace, config, month, wish=wish, runtime=runtime)
            attempt = workspace.latest_attempt(month)
            assert attempt is not None
            pooled = recorded_scorecard(attempt.stage("eval")).pooled
            if pooled is not None and pooled.difference is not None:
                differences.append(pooled.difference)
        matrices[arm] = workspace_history(workspace).matrix
        changes[arm] = sum(differences) / len(differences)
    last = Workspace(folder / ARMS[-1]).latest_attempt(max(stream.feedback))
    assert last is not None
    return DemoResult(matrices, changes, last.folder)


def _workspace(folder: Path, stream: HelpdeskStream) -> Workspace:
    make_workspace(folder, config="demo.yaml")
    workspace = Workspace(folder)
    write_jsonl(workspace.root / "launch.jsonl", [asdict(row) for row in stream.launch])
    for month, rows in stream.feedback.items():
        write_jsonl(workspace.feedback / f"{month}.jsonl", [asdict(row) for row in rows])
    for month, golden in stream.golden.items():
        write_jsonl(workspace.golden / f"{month}.jsonl", [asdict(row) for row in golden])
    return workspace
