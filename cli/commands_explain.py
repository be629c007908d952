"""`retrain report`, `diagnose` and `tune`: what happened in a month, what moved, and which lambda to take."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli import render
from cli.exit_codes import GATE_REFUSED
from cli.options import (
    ConfigOption,
    DeviceOption,
    JsonOption,
    MonthOption,
    OverrideOption,
    SeedOption,
    ThreadsOption,
    WaitOption,
    WorkspaceOption,
    locked_and_mended,
    month_or_previous,
    opened,
    prepare_torch,
    runtime,
    workspace_root,
)

RefArgument = Annotated[
    str, typer.Argument(metavar="[REF]", help="A month, champion, an attempt's id or a path.")
]
TextOption = Annotated[
    bool, typer.Option("--include-text", help="Show what customers wrote, not only ids and labels.")
]
FileOption = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", help="(default: report.html in the attempt's folder)"),
]

LambdasOption = Annotated[
    str | None,
    typer.Option("--lambdas", metavar="A,B,...", help="Candidates (default: a grid over decades)."),
]
KeepOption = Annotated[
    float,
    typer.Option("--keep", min=0.0, max=1.0, help="Share of the plain fine-tuning gain that must stay."),
]
ConfidenceOption = Annotated[
    float, typer.Option("--confidence", min=0.5, max=0.999, help="Of the bootstrap intervals.")
]
SweepOption = Annotated[
    bool, typer.Option("--sweep", help="Train every candidate, not only the deciding few.")
]
TrainingsOption = Annotated[
    int, typer.Option("--trainings", min=1, help="At most so many besides plain fine-tuning.")
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Exit with 3 when no lambda can be chosen.")]
WriteOption = Annotated[bool, typer.Option("--write", help="Put the chosen lambda into retrain.yaml.")]

RowsOption = Annotated[
    int, typer.Option("--rows", min=0, help="Take the gradient of so many training rows; 0 for none.")
]
TopOption = Annotated[int, typer.Option("--top", min=1, help="Show so many of them, and of the label pairs.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command()(report)
    app.command()(diagnose)
    app.command()(tune)


def report(
    ref: RefArgument = "champion",
    include_text: TextOption = False,
    output: FileOption = None,
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    wait: WaitOption = 0.0,
) -> None:
    """Write one attempt's page: verdict, golden matrix, changes, flips, curves, layers, data, lineage."""
    root = workspace_root(workspace, config_file)
    with locked_and_mended(root, wait):
        from pipeline.inspection.reporting import write_report
        from pipeline.store.workspace import Workspace

        file = write_report(
            Workspace(root), ref, include_text=include_text, output=output.resolve() if output else None
        )
    render.data(str(file))


def diagnose(
    ref: RefArgument = "champion",
    rows: RowsOption = 200,
    top: TopOption = 10,
    include_text: TextOption = False,
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """What moved, whether it went to protected weights, what flipped, and which rows pushed for it."""
    root = workspace_root(workspace, config_file)
    with locked_and_mended(root, wait):
        prepare_torch(threads)
        from cli.progress_bars import progress_on_stderr
        from pipeline.inspection.diagnosis import diagnose as diagnose_attempt
        from pipeline.store.workspace import Workspace

        found = diagnose_attempt(
            Workspace(root),
            ref,
            rows=rows,
            shown=top,
            include_text=include_text,
            device=device,
            progress=progress_on_stderr(),
        )
    if as_json:
        render.document(asdict(found))
    else:
        from cli.explanations import diagnosis_text

        render.data(diagnosis_text(found, top))


def tune(
    month: MonthOption = None,
    lambdas: LambdasOption = None,
    keep: KeepOption = 0.8,
    confidence: ConfidenceOption = 0.95,
    sweep: SweepOption = False,
    trainings: TrainingsOption = 4,
    strict: StrictOption = False,
    write: WriteOption = False,
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    override: OverrideOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    seed: SeedOption = None,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Show what each lambda costs the earlier months and leaves to the new one, and choose."""
    which = month_or_previous(month)
    candidates = _lambdas(lambdas)
    root, config = opened(workspace, config_file, override, seed)
    with locked_and_mended(root, wait):
        used = prepare_torch(threads)
        from pipeline.experiments.tune import TuneSettings, tune_month, write_choice
        from pipeline.store.workspace import Workspace

        render.show_log()
        space = Workspace(root)
        result = tune_month(
            space,
            config,
            which,
            TuneSettings(candidates, keep, confidence, sweep, trainings),
            runtime=runtime(used, device),
        )
        if write and result.chosen is not None:
            write_choice(space, result.key, result.chosen)
            render.note(f"{space.config_file}: {result.key} is {result.chosen:g} now")
    if as_json:
        render.document(asdict(result))
    else:
        from cli.explanations import frontier_text

        render.data(frontier_text(result))
        render.data(f"\nrun directory: {root / 'runs' / result.attempt / 'tune'}")
    if strict and result.chosen is None:
        raise typer.Exit(GATE_REFUSED)


def _lambdas(text: str | None) -> tuple[float, ...] | None:
    """Candidates from `A,B,...`, ascending.

    Raises:
        UsageError: when one is not a positive number, or larger than the configuration takes.
    """
    from pipeline.config import LARGEST_STRENGTH
    from pipeline.errors import UsageError

    if text is None:
        return None
    try:
        values = sorted({float(part) for part in text.split(",")})
    except ValueError:
        values = []
    if not values or not all(0.0 < value <= LARGEST_STRENGTH for value in values):
        raise UsageError(
            f"--lambdas {text}: expected positive numbers such as 0.1,1,10; lambda 0 is always trained"
        )
    return tuple(values)
