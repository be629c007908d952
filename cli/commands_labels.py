"""`retrain labels`: what the labels are, and how they are renamed, merged, retired."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import render
from cli.options import (
    ConfigOption,
    JsonOption,
    WaitOption,
    WorkspaceOption,
    config_in_force,
    existing_root,
    locked_and_mended,
    who_asks,
)

if TYPE_CHECKING:
    from pipeline.label_changes import ChangeKind

labels = typer.Typer(
    name="labels", help="Tell, rename, merge or retire labels.", rich_markup_mode=None, add_completion=False
)

LabelArgument = Annotated[str, typer.Argument(metavar="LABEL", help="A label in use.")]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--month",
        metavar="YYYY-MM",
        help="The first month in which it is in force [default: the one after the newest that was run]",
    ),
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the history.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say whether it can be; write nothing.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    labels.callback(invoke_without_command=True)(show)
    labels.command()(rename)
    labels.command()(merge)
    labels.command()(retire)
    labels.command()(undo)
    app.add_typer(labels, name="labels")


def show(
    context: typer.Context,
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """The champion's labels: id, name, month that brought it, training and golden rows, what became of it."""
    if context.invoked_subcommand is not None:
        return
    from pipeline.operations.relabelling import label_states
    from pipeline.store.workspace import Workspace

    root = existing_root(workspace, config_file)
    states = label_states(Workspace(root), config_in_force(root, config_file, None))
    if as_json:
        render.document([asdict(state) for state in states])
        return
    rows = [[str(s.id), s.name, s.since, str(s.rows), str(s.golden), s.state] for s in states]
    render.data(render.table(["id", "label", "since", "rows", "golden", "state"], rows, left=3))


def rename(
    label: LabelArgument,
    to: Annotated[str, typer.Argument(metavar="NEW", help="A name that was never used.")],
    month: SinceOption = None,
    reason: ReasonOption = "by hand",
    dry_run: DryRunOption = False,
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    wait: WaitOption = 0.0,
) -> None:
    """Give a label another name; rows under the old one count as the new."""
    _change("rename", label, to, month, reason, dry_run, workspace, config_file, wait)


def merge(
    label: LabelArgument,
    into: Annotated[str, typer.Argument(metavar="INTO", help="The label that it becomes part of.")],
    month: SinceOption = None,
    reason: ReasonOption = "by hand",
    dry_run: DryRunOption = False,
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    wait: WaitOption = 0.0,
) -> None:
    """Make a label part of another; its rows count as the other's, and it is not answered any more."""
    _change("merge", label, into, month, reason, dry_run, workspace, config_file, wait)


def retire(
    label: LabelArgument,
    month: SinceOption = None,
    reason: ReasonOption = "by hand",
    dry_run: DryRunOption = False,
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    wait: WaitOption = 0.0,
) -> None:
    """Stop training on a label and answering it; its golden rows are left out."""
    _change("retire", label, None, month, reason, dry_run, workspace, config_file, wait)


def undo(
    label: Annotated[
        str | None,
        typer.Argument(metavar="[LABEL]", help="Whose change it is; with it, again does nothing more."),
    ] = None,
    reason: ReasonOption = "by hand",
    dry_run: DryRunOption = False,
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    wait: WaitOption = 0.0,
) -> None:
    """Take back the newest change, as long as no champion was made with it."""
    root = existing_root(workspace, config_file)
    with locked_and_mended(root, wait):
        from pipeline.operations.relabelling import undo_label_change
        from pipeline.store.workspace import Workspace

        done = undo_label_change(
            Workspace(root), label, by=who_asks(), reason=reason, at=_now(), dry_run=dry_run
        )
    render.data(f"{'would be undone' if dry_run else 'undone'}: {done}")


def _change(
    kind: ChangeKind,
    label: str,
    to: str | None,
    month: str | None,
    reason: str,
    dry_run: bool,
    workspace: Path | None,
    config_file: Path | None,
    wait: float,
) -> None:
    root = existing_root(workspace, config_file)
    with locked_and_mended(root, wait):
        from pipeline.months import Month
        from pipeline.operations.relabelling import change_label
        from pipeline.store.workspace import Workspace

        done = change_label(
            Workspace(root),
            kind,
            label,
            to,
            month=Month.parse(month) if month is not None else None,
            by=who_asks(),
            reason=reason,
            at=_now(),
            dry_run=dry_run,
        )
    render.data(f"{'would be written' if dry_run else 'written'}: {done}")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
