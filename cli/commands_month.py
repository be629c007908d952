"""`retrain init`, `launch`, `run`, `pull` and `ingest`: the commands that do the month's work."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import render
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
)
from cli.telling import telling
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.month.decision import Outcome
    from pipeline.month.wish import Wish
    from pipeline.months import Month
    from pipeline.stages.stage import RunContext

DataOption = Annotated[Path, typer.Option("--data", help="Labelled rows: .jsonl, .csv or .parquet.")]
LaunchMonth = Annotated[str, typer.Option("--month", metavar="YYYY-MM", help="The month of the launch.")]
AdoptOption = Annotated[
    Path | None,
    typer.Option("--checkpoint", help="Adopt this fine-tuned checkpoint instead of training one."),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Run everything again, in a new attempt.")]
PromoteOption = Annotated[
    bool | None,
    typer.Option(
        "--promote/--no-promote", help="Promote even when the gate refuses, or not even when it passes."
    ),
]
FromOption = Annotated[
    str | None, typer.Option("--from", metavar="STAGE", help="Run again from this stage on.")
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="STAGE", help="Stop after this stage.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print what would run, and why; write nothing.")
]
ReviewOption = Annotated[
    Path | None,
    typer.Option("--review", metavar="FILE.csv", help="Write the month's doubtful rows for a person."),
]
ReviewedOption = Annotated[
    Path | None,
    typer.Option("--reviewed", metavar="FILE.csv", help="Take back what the person filled in."),
]
EmptyOption = Annotated[bool, typer.Option("--allow-empty", help="Record a month without feedback as done.")]
ReplaceOption = Annotated[
    bool,
    typer.Option(
        "--replace", help="Write over the rows that were pulled before, where there are others now."
    ),
]
GapOption = Annotated[bool, typer.Option("--allow-gap", help="Pass over months that were never run.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command()(init)
    app.command()(launch)
    app.command()(run)
    app.command()(pull)
    app.command()(ingest)
    app.command()(demo)


def init(folder: Annotated[Path, typer.Argument(metavar="[DIR]")] = Path()) -> None:
    """Write a workspace: a commented retrain.yaml, feedback/, golden/ and runs/."""
    from pipeline.operations.new_workspace import make_workspace

    written = make_workspace(folder)
    render.note(f"{folder}: {', '.join(written) if written else 'nothing to do, all is there'}")
    render.note(f"Next: retrain launch --data launch.jsonl --month YYYY-MM --workspace {folder}")


def launch(
    data: DataOption,
    month: LaunchMonth,
    checkpoint: AdoptOption = None,
    force: ForceOption = False,
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    override: OverrideOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    seed: SeedOption = None,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Train the first champion from the base model, or adopt one that is already fine-tuned."""
    root, config = opened(workspace, config_file, override, seed)
    with telling(config, month) as tell, locked_and_mended(root, wait):
        used = prepare_torch(threads)
        from pipeline.month.run import launch as launch_month
        from pipeline.month.wish import Wish
        from pipeline.months import Month
        from pipeline.stages.stage import LaunchInput
        from pipeline.store.workspace import Workspace

        render.show_log()
        outcome = launch_month(
            Workspace(root),
            config,
            Month.parse(month),
            LaunchInput(data.resolve(), checkpoint.resolve() if checkpoint else None),
            wish=Wish(force=force),
            runtime=runtime(used, device),
        )
    tell(outcome)
    _finish(root, outcome, as_json)


def run(
    month: MonthOption = None,
    dry_run: DryRunOption = False,
    again_from: FromOption = None,
    until: UntilOption = None,
    force: ForceOption = False,
    promote: PromoteOption = None,
    allow_empty: EmptyOption = False,
    allow_gap: GapOption = False,
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    override: OverrideOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    seed: SeedOption = None,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Retrain on a month's feedback, test on every golden set up to it, and promote or refuse."""
    which = month_or_previous(month)
    root, config = opened(workspace, config_file, override, seed)
    from pipeline.month.wish import Wish

    wish = Wish(promote, again_from, until, force, allow_empty, allow_gap)
    if dry_run:
        _dry_run(root, which, config, wish, as_json=as_json)
        return
    with telling(config, str(which)) as tell, locked_and_mended(root, wait):
        used = prepare_torch(threads)
        from pipeline.month.run import run_month
        from pipeline.store.workspace import Workspace

        render.show_log()
        outcome = run_month(
            Workspace(root),
            config,
            which,
            wish=wish,
            runtime=runtime(used, device),
        )
    tell(outcome)
    _finish(root, outcome, as_json)


def ingest(
    month: MonthOption = None,
    review: ReviewOption = None,
    reviewed: ReviewedOption = None,
    force: ForceOption = False,
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    override: OverrideOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    seed: SeedOption = None,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Run the ingest stage alone, or have its doubtful rows reviewed by a person."""
    if review is None and reviewed is None:
        run(
            month, until="ingest", force=force, workspace=workspace, config_file=config_file, override=override,
            device=device, threads=threads, seed=seed, wait=wait, as_json=as_json,
        )  # fmt: skip
        return
    if force or (review is not None and reviewed is not None):
        raise UsageError("--review, --reviewed and --force: expected one of them")
    root, config = opened(workspace, config_file, override, seed)
    with locked_and_mended(root, wait):
        prepare_torch(threads)
        from cli.progress_bars import progress_on_stderr
        from pipeline.month.run import month_context
        from pipeline.store.workspace import Workspace

        render.show_log()
        context = month_context(
            Workspace(root), config, month_or_previous(month), device=device, progress=progress_on_stderr()
        )
        if review is not None:
            _write_review(context, review, as_json=as_json)
        else:
            assert reviewed is not None
            _take_back(context, reviewed, as_json=as_json)


def _write_review(context: RunContext, file: Path, *, as_json: bool) -> None:
    from pipeline.operations.review import write_review

    written = write_review(context, file.absolute())
    if as_json:
        from dataclasses import asdict

        render.document(asdict(written))
    else:
        rows = [[reason, str(count)] for reason, count in written.reasons.items()]
        render.data(render.table(["reason", "rows"], [*rows, ["in all", str(written.rows)]]))
    render.note(
        f"{written.rows} of {written.looked_at} rows are in {file}. Fill in corrected_label and keep, then run: "
        f"retrain ingest --reviewed {file} --month {context.month}"
    )


def _take_back(context: RunContext, file: Path, *, as_json: bool) -> None:
    from pipeline.operations.reviewed import take_back

    taken = take_back(context, file.absolute())
    if as_json:
        from dataclasses import asdict

        render.document(asdict(taken))
    else:
        render.data(f"{taken.file}: {taken.corrected} row(s) corrected, {taken.left_out} left out")
    if not taken.changed:
        render.note("All of it was known before; nothing was written.")
    render.note(f"It counts from the next ingest on. Run: retrain run --month {context.month}")


def pull(
    month: MonthOption = None,
    replace: ReplaceOption = False,
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    override: OverrideOption = None,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Write a month's rows of the database that ingest.sql names to feedback/MONTH.sql.jsonl, as `run` does by itself."""
    which = month_or_previous(month)
    root, config = opened(workspace, config_file, override)
    with locked_and_mended(root, wait):
        from pipeline.stages.pull import pull as pull_month
        from pipeline.store.workspace import Workspace

        render.show_log()
        pulled = pull_month(
            Workspace(root), config, which, now=datetime.now(UTC), environment=os.environ, replace=replace
        )
    record = pulled.record
    if as_json:
        render.document({"file": pulled.file, "written": pulled.written, **record.model_dump(mode="json")})
        return
    done = "" if pulled.written else "already there: "
    render.data(f"{which} {done}{record.rows} row(s) from {record.address}, in {pulled.file}")


def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]")] = Path("demo-workspace"),
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
) -> None:
    """Launch and retrain three months on a synthetic help desk, plain fine-tuning beside EWC."""
    used = prepare_torch(threads)
    from cli.views import matrix_text
    from pipeline.experiments.demo import run_demo

    render.show_log()
    result = run_demo(
        folder,
        seed=seed or 0,
        runtime=runtime(used),
    )
    for arm, matrix in result.matrices.items():
        render.data(
            f"\nAccuracy of each month's {arm} model (rows) on each month's golden set (columns), in points"
        )
        render.data(matrix_text(matrix))
    render.data("")
    for arm, change in result.prior_change.items():
        render.data(f"{arm:<5}: {change:+.2f} points a month on the golden rows of earlier months")
    render.data(f"\nrun directory: {result.run_directory}")


def _dry_run(root: Path, month: Month, config: Config, wish: Wish, *, as_json: bool) -> None:
    from pipeline.month.run import dry_run, month_context
    from pipeline.store.workspace import Workspace

    steps = dry_run(month_context(Workspace(root), config, month), wish)
    if as_json:
        render.document([{"stage": s.stage.name, "runs": s.runs, "reason": s.reason} for s in steps])
        return
    if not steps:
        render.data(f"{month}: no feedback; it would be recorded as empty")
        return
    rows = [[s.stage.name, "runs" if s.runs else "fresh", s.reason if s.runs else ""] for s in steps]
    render.data(render.table(["stage", "", "reason"], rows, left=3))


def _finish(root: Path, outcome: Outcome, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        render.document({**asdict(outcome), "month": str(outcome.month), "run": f"runs/{outcome.attempt}"})
    else:
        done = "already done: " if outcome.already else ""
        forced = " (forced)" if outcome.forced else ""
        render.data(f"{outcome.month} {done}{outcome.status}{forced}, in {root / 'runs' / outcome.attempt}")
        for reason in outcome.reasons:
            render.data(f"  refused: {reason}")
        if outcome.rolled_back:
            render.data(
                "  rolled back since; to serve it again: "
                f"retrain promote {outcome.attempt} --reason WHY; to train it again: add --force"
            )
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)
