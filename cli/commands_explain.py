"""`retrain report`, `diagnose` and `tune`: what happened in a month, what moved, and which lambda to take."""

from pathlib import Path
from typing import Annotated

import typer

from cli import render
from cli.options import ConfigOption, WaitOption, WorkspaceOption, locked, workspace_root

RefArgument = Annotated[
    str, typer.Argument(metavar="[REF]", help="A month, champion, an attempt's id or a path.")
]
TextOption = Annotated[
    bool, typer.Option("--include-text", help="Show what customers wrote, not only ids and labels.")
]
FileOption = Annotated[
    Path | None, typer.Option("--output", metavar="FILE", help="[default: report.html in the attempt's folder]")
]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command()(report)


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
    with locked(root, wait):
        from pipeline.stages.reporting import write_report
        from pipeline.store.run_directory import Workspace

        file = write_report(
            Workspace(root), ref, include_text=include_text, output=output.resolve() if output else None
        )
    render.data(str(file))
