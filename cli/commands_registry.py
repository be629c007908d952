"""`retrain promote` and `rollback`: change the champion by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli import render
from cli.options import ConfigOption, WaitOption, WorkspaceOption, locked_and_mended, who_asks, workspace_root

ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the history.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command()(promote)
    app.command()(rollback)


def promote(
    ref: Annotated[str, typer.Argument(metavar="REF", help="A month or an attempt's id.")],
    reason: ReasonOption = "by hand",
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    wait: WaitOption = 0.0,
) -> None:
    """Make a finished candidate the champion, whatever the gate said."""
    root, reason = workspace_root(workspace, config_file), _text(reason)
    with locked_and_mended(root, wait):
        from pipeline.errors import UsageError
        from pipeline.recorded.present_labels import require_present_labels
        from pipeline.store.registry import promote as promote_checkpoint
        from pipeline.store.workspace import Workspace

        space = Workspace(root)
        found = space.find(ref)
        if found.ref is None or found.run is None:
            raise UsageError(
                f"{ref}: lies outside of the runs. Run: retrain launch --checkpoint {ref} --data FILE"
            )
        require_present_labels(space, found.run)
        verdict = found.run.read_manifest().verdict
        promote_checkpoint(
            space,
            found.ref,
            action="promote" if verdict is not None and verdict.passed else "force",
            by=who_asks(),
            reason=reason,
            verdict=verdict,
            at=_now(),
        )
    render.data(f"champion: {found.ref.month}, {found.ref.path}")


def rollback(
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="MONTH", help="The champion of this month; again does nothing more."),
    ] = None,
    reason: ReasonOption = "by hand",
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    wait: WaitOption = 0.0,
) -> None:
    """Make the champion before the present one the champion again."""
    root, reason = workspace_root(workspace, config_file), _text(reason)
    with locked_and_mended(root, wait) as lagged:
        from pipeline.recorded.present_labels import require_present_labels
        from pipeline.store.registry import read_registry, roll_back_to, rollback_target
        from pipeline.store.registry import rollback as roll_back
        from pipeline.store.workspace import Workspace

        space, by = Workspace(root), who_asks()
        registry = read_registry(space)
        if to is None and lagged and registry.history[-1].action == "rollback":
            render.note("The rollback that was stopped is finished. To go further back, run it again.")
        else:
            require_present_labels(space, space.attempt(rollback_target(space, to).attempt))
            if to is not None:
                registry = roll_back_to(space, to, by=by, reason=reason, at=_now())
            else:
                registry = roll_back(space, by=by, reason=reason, at=_now())
    if registry.champion is not None:
        render.data(f"champion: {registry.champion.month}, {registry.champion.path}")


def _text(reason: str) -> str:
    """A reason for the history, which holds text alone.

    Raises:
        UsageError: it holds bytes that are no UTF-8.
    """
    from pipeline.errors import UsageError

    try:
        reason.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            f"--reason {reason}: expected UTF-8 text, found other bytes. Check the terminal's encoding"
        ) from None
    return reason


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
