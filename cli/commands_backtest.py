"""`retrain backtest`: the team's own experiment, arms side by side over past months."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import render
from cli.options import (
    ConfigOption,
    DeviceOption,
    JsonOption,
    OverrideOption,
    ThreadsOption,
    WorkspaceOption,
    opened,
    prepare_torch,
    runtime,
)

if TYPE_CHECKING:
    from pipeline.experiments.backtest_result import BacktestResult
    from pipeline.months import Month

MonthsOption = Annotated[
    str, typer.Option("--months", metavar="A..B", help="The months to replay after the launch.")
]
ArmsOption = Annotated[
    str, typer.Option("--arms", help="Some of freeze,plain,head,l2sp,ewc,replay,calibrate,default,joint.")
]
SeedsOption = Annotated[str, typer.Option("--seeds", help="Such as 1,2,3.")]
LaunchDataOption = Annotated[
    Path | None, typer.Option("--data", help="Launch data [default: that of the workspace's launch].")
]
LaunchMonthOption = Annotated[
    str | None, typer.Option("--launch-month", metavar="YYYY-MM", help="[default: the month before A]")
]
FolderOption = Annotated[
    Path | None, typer.Option("--output", help="The backtest's folder [default: WORKSPACE/backtest].")
]


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(backtest)


def backtest(
    months: MonthsOption,
    arms: ArmsOption = "freeze,plain,ewc,default",
    seeds: SeedsOption = "1",
    data: LaunchDataOption = None,
    launch_month: LaunchMonthOption = None,
    output: FolderOption = None,
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    override: OverrideOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replay past months with several arms, without touching the champion, and say which one to ship."""
    root, config = opened(workspace, config_file, override)
    first, last = _range(months)
    used = prepare_torch(threads)
    from pipeline.experiments.backtest import backtest as run_backtest
    from pipeline.experiments.backtest import known_launch_data
    from pipeline.experiments.backtest_result import as_record
    from pipeline.store import atomic
    from pipeline.store.lock import workspace_lock
    from pipeline.store.output_places import require_place_for_a_backtest
    from pipeline.store.workspace import Workspace

    render.show_log()
    space = Workspace(root)
    folder = output if output is not None else root / "backtest"
    require_place_for_a_backtest(space, folder)
    atomic.make_folder(folder)
    with workspace_lock(folder):
        start = first.previous
        if launch_month is not None:
            from pipeline.months import Month

            start = Month.parse(launch_month)
        result = run_backtest(
            space,
            config,
            folder=folder,
            launch_data=data.resolve() if data is not None else known_launch_data(space, folder),
            launch_month=start,
            months=first.until(last),
            arms=[arm for arm in arms.split(",") if arm],
            seeds=_seeds(seeds),
            runtime=runtime(used, device),
        )
    if as_json:
        render.document(as_record(result))
        return
    render.data(backtest_text(result))
    render.data(f"\n{result.advice}")


def backtest_text(result: BacktestResult) -> str:
    """One line per arm; accuracies in points."""
    rows = [
        [
            arm.arm,
            f"{arm.prior_change:+.2f}",
            f"{arm.low:+.2f} to {arm.high:+.2f}",
            f"{arm.worst_cycle:+.2f}",
            f"{arm.launch_change:+.2f}",
            f"{arm.gain:+.2f}",
            " ".join(f"{name} {value:.1f}" for name, value in arm.own_by_slice.items()),
            f"{arm.final_accuracy:.2f}",
            f"{arm.seconds:.0f}",
        ]
        for arm in result.arms
    ]
    header = [
        "arm",
        "prior/cycle",
        "95% interval",
        "worst",
        "launch set",
        "gain",
        "own month after",
        "end",
        "s/month",
    ]
    return render.table(header, rows)


def _range(text: str) -> tuple[Month, Month]:
    from pipeline.errors import UsageError
    from pipeline.months import Month

    first, separator, last = text.partition("..")
    if not separator:
        raise UsageError(f"--months {text}: expected A..B, such as 2026-02..2026-07")
    if Month.parse(first) > Month.parse(last):
        raise UsageError(f"--months {text}: ends before it begins; expected A..B, such as 2026-02..2026-07")
    return Month.parse(first), Month.parse(last)


def _seeds(text: str) -> list[int]:
    from pipeline.errors import UsageError

    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) <= 10 and int(part) < 2**32 for part in parts):
        raise UsageError(f"--seeds {text[:80]}: expected numbers from 0 to 4294967295 such as 1,2,3")
    return [int(part) for part in parts]
