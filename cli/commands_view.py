"""`retrain eval`, `status`, `show` and `predict`: commands that read and never write the workspace."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import render
from cli.exit_codes import GATE_REFUSED
from cli.options import (
    ConfigOption,
    DeviceOption,
    JsonOption,
    OverrideOption,
    ThreadsOption,
    WorkspaceOption,
    config_in_force,
    existing_root,
    opened,
    prepare_torch,
    workspace_root,
)

if TYPE_CHECKING:
    from pipeline.inspection.history import AttemptSummary

GoldenOption = Annotated[
    str,
    typer.Option(
        "--golden", metavar="prior-months|PATH", help="Every prior month's golden set, or one file."
    ),
]
CandidateOption = Annotated[
    str | None, typer.Option("--candidate", metavar="REF", help="[default: the newest attempt's candidate]")
]
BaselineOption = Annotated[
    str | None, typer.Option("--baseline", metavar="REF", help="[default: what the candidate started from]")
]
ReportOnlyOption = Annotated[
    bool, typer.Option("--report-only", help="Exit with 0 even when the gate refuses.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command(name="eval")(evaluate)
    app.command()(status)
    app.command()(show)
    app.command()(predict)


def evaluate(
    golden: GoldenOption = "prior-months",
    candidate: CandidateOption = None,
    baseline: BaselineOption = None,
    report_only: ReportOnlyOption = False,
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    override: OverrideOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a candidate with what it started from on golden sets, and ask the gate."""
    root, config = opened(workspace, config_file, override)
    prepare_torch(threads)
    from cli.progress_bars import progress_on_stderr
    from cli.views import scorecard_text, verdict_text
    from pipeline.inspection.two_checkpoints import compare_checkpoints
    from pipeline.store.workspace import Workspace

    render.show_log()
    result = compare_checkpoints(
        Workspace(root),
        config,
        golden=golden,
        candidate=candidate,
        baseline=baseline,
        device=device,
        progress=progress_on_stderr(),
    )
    if as_json:
        render.document(
            {
                "candidate": result.candidate,
                "baseline": result.baseline,
                "scorecard": asdict(result.card),
                "verdict": asdict(result.verdict),
            }
        )
    else:
        render.data(f"candidate: {result.candidate}\nbaseline:  {result.baseline}\n")
        render.data(scorecard_text(result.card))
        render.data(verdict_text(result.verdict))
    if not result.verdict.passed and not report_only:
        raise typer.Exit(GATE_REFUSED)


def status(
    workspace: WorkspaceOption = None, config_file: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """The champion, each month's attempts with their outcome, and the month x golden-set accuracy matrix."""
    from cli.views import matrix_text
    from pipeline.inspection.history import workspace_history
    from pipeline.store.workspace import Workspace

    history = workspace_history(Workspace(existing_root(workspace, config_file)))
    if as_json:
        render.document(asdict(history))
        return
    if history.champion is None:
        render.data("champion: none yet. Run: retrain launch --data FILE --month YYYY-MM")
    else:
        render.data(f"champion: {history.champion['month']}, {history.champion['path']}")
    for change in history.label_changes:
        render.data(change)
    if history.attempts:
        rows = [[a.attempt, a.kind, a.arm, a.outcome, _standing(a)] for a in history.attempts]
        render.data("\n" + render.table(["attempt", "kind", "arm", "outcome", ""], rows, left=5))
    if history.matrix.months:
        render.data("\nAccuracy of each month's model (rows) on each month's golden set (columns), in points")
        render.data(matrix_text(history.matrix))


def _standing(attempt: AttemptSummary) -> str:
    """What an attempt still is good for, where that is worth a word."""
    if attempt.is_champion:
        return "champion"
    words = {"rolled back": attempt.rolled_back, "weights removed": attempt.weights_removed}
    return ", ".join(word for word, holds in words.items() if holds)


def show(
    ref: Annotated[str, typer.Argument(metavar="REF", help="A month, champion, an attempt's id or a path.")],
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """One attempt: its lineage, data, verdict, scorecard, and what moved."""
    from cli.views import scorecard_text, verdict_text
    from pipeline.inspection.history import attempt_details
    from pipeline.store.workspace import Workspace

    render.show_log()
    details = attempt_details(Workspace(workspace_root(workspace, config_file)), ref)
    if as_json:
        render.document(details.record)
        return
    for name, value in details.facts.items():
        render.data(f"{name + ':':<12} {value}")
    if details.card is not None:
        render.data("\n" + scorecard_text(details.card))
    if details.verdict is not None:
        render.data("\n" + verdict_text(details.verdict))
    if details.deltas:
        rows = [
            [
                str(delta["group"]),
                f"{delta['size']:,}",
                f"{delta['norm']:.4f}",
                f"{100 * delta['relative']:.2f}%",
                _percent(delta["fisher_mass"]),
                _percent(delta["weighted_share"]),
            ]
            for delta in details.deltas
        ]
        header = ["parameter group", "size", "change", "relative", "Fisher mass", "weighted change"]
        render.data("\n" + render.table(header, rows))


def predict(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Lines of text [default: stdin].")
    ] = None,
    checkpoint: Annotated[str, typer.Option("--checkpoint", metavar="REF")] = "champion",
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    override: OverrideOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Label lines of text; prints one JSON object a line: text, label, confidence (0 to 1)."""
    from pipeline.errors import BadData, NoInput

    if file is not None and not file.is_file():
        raise NoInput(f"{file}: no such file")
    try:
        raw = file.read_bytes() if file is not None else sys.stdin.buffer.read()
        lines = [line.removesuffix("\r") for line in raw.decode("utf-8").split("\n") if line.strip()]
    except UnicodeDecodeError as error:
        raise BadData(
            f"{file or 'stdin'}: expected UTF-8 text: {error.reason} at byte {error.start}"
        ) from None
    root = workspace_root(workspace, config_file)
    max_length = _max_length(root, config_file, override)
    prepare_torch(threads)
    from pipeline.modeling.device import choose_device
    from pipeline.modeling.tasks import load_learner
    from pipeline.recorded.lineage import require_sound
    from pipeline.store.workspace import Workspace

    space = Workspace(root)
    found = space.find(checkpoint)
    require_sound(space, found)
    learner = load_learner(found.checkpoint)
    learner.model.to(choose_device(device))
    answers = learner.month().answer(learner, lines, max_length)
    for text, (name, confidence) in zip(lines, answers, strict=True):
        render.json_line({"text": text, "label": name, "confidence": round(confidence, 6)})


def _max_length(root: Path, config_file: Path | None, override: list[str] | None) -> int:
    """The workspace's setting, or the default outside of one."""
    if config_file is None and not (root / "retrain.yaml").exists():
        from pipeline.config_loading import load_config

        return load_config(None, overrides=override or ()).model.max_length
    return config_in_force(root, config_file, override).model.max_length


def _percent(value: Any) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"
