"""`retrain verify`, `gc`, `doctor` and `schedule`: keep a workspace and its machine in order."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import render
from cli.exit_codes import EXIT_CODES
from cli.options import (
    ConfigOption,
    DeviceOption,
    JsonOption,
    ThreadsOption,
    WaitOption,
    WorkspaceOption,
    config_in_force,
    existing_root,
    locked_and_mended,
    prepare_torch,
    workspace_root,
)
from pipeline.errors import ArtifactCorrupt, BadConfig, UsageError

if TYPE_CHECKING:
    from pipeline.operations.maintenance import Kept
    from pipeline.store.workspace import Workspace

MIB = 2**20


class Scheduler(StrEnum):
    """What runs the month."""

    CRON = "cron"
    SYSTEMD = "systemd"
    K8S = "k8s"


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command()(verify)
    app.command()(gc)
    app.command()(doctor)
    app.command()(schedule)


def verify(
    ref: Annotated[
        str | None,
        typer.Argument(metavar="[REF]", help="A month, an attempt or `champion` [default: --all]."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="The registry and every attempt.")] = False,
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove every hash, every binding and every value of what is recorded; write nothing."""
    from pipeline.operations.maintenance import verify as verify_artifacts

    if ref is not None and everything:
        raise UsageError("verify: name a REF or give --all, not both")
    found = verify_artifacts(_workspace(workspace, config_file), ref)
    if as_json:
        render.document(asdict(found))
    else:
        for problem in found.problems:
            render.data(problem)
        state = f"{len(found.problems)} problem(s)" if found.problems else "all sound"
        render.data(f"{found.attempts} attempt(s), {found.files} file(s) as recorded: {state}")
    if found.problems:
        raise typer.Exit(EXIT_CODES[ArtifactCorrupt])


def gc(
    keep: Annotated[
        int, typer.Option("--keep", min=1, metavar="MONTHS", help="How many newest months stay whole.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")] = False,
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Remove attempts that neither the registry nor a later month needs, and weights that nothing starts from."""
    from pipeline.operations.maintenance import removable, remove

    space = _workspace(workspace, config_file)
    configured = config_file is not None or space.config_file.exists()
    all_weights = configured and config_in_force(space.root, config_file, None).ewc.months == "separate"
    if dry_run:
        attempts = removable(space, keep, all_weights=all_weights)
    else:
        with locked_and_mended(space.root, wait):
            attempts = removable(space, keep, all_weights=all_weights)
            remove(space, attempts)
    gone = [kept for kept in attempts if kept.reason is None]
    if as_json:
        render.document({"removed": not dry_run, "attempts": [asdict(kept) for kept in attempts]})
        return
    verb = "would go" if dry_run else "removed"
    rows = [
        [kept.attempt, f"{kept.size / MIB:.1f} MiB", "stays" if kept.reason else verb, _because(kept, verb)]
        for kept in attempts
    ]
    render.data(render.table(["attempt", "size", "", "because"], rows))
    render.data(f"{len(gone)} attempt(s), {sum(kept.size for kept in gone) / MIB:.1f} MiB: {verb}")
    lighter = [kept for kept in attempts if kept.weights]
    if lighter:
        size = sum(kept.weights for kept in lighter) / MIB
        render.data(f"weights of {len(lighter)} attempt(s) that stay, {size:.1f} MiB: {verb}")


def _because(kept: Kept, verb: str) -> str:
    if kept.reason is None or not kept.weights:
        return kept.reason or ""
    return f"{kept.reason}; its weights, {kept.weights / MIB:.1f} MiB: {verb}"


def doctor(
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look whether this machine and workspace are fit for a run."""
    prepare_torch(threads)
    from pipeline.operations.doctor import examine
    from pipeline.store.workspace import Workspace

    space = Workspace(workspace_root(workspace, config_file))
    found = examine(space, now=datetime.now(UTC), device=device, config_file=config_file)
    if as_json:
        render.document([asdict(finding) for finding in found])
    else:
        for finding in found:
            render.data(f"{'ok ' if finding.sound else 'BAD'} {finding.name + ':':<14} {finding.text}")
    if not all(finding.sound for finding in found):
        raise typer.Exit(EXIT_CODES[BadConfig])


def schedule(
    scheduler: Annotated[Scheduler, typer.Argument(metavar="cron|systemd|k8s")],
    mail: Annotated[
        str | None, typer.Option("--mail", metavar="ADDRESS", help="Who is told of a failure.")
    ] = None,
    image: Annotated[
        str, typer.Option("--image", help="k8s: the container image.")
    ] = "monthly-retrain:latest",
    volume: Annotated[str, typer.Option("--volume", help="k8s: the volume claim.")] = "retrain-workspace",
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Print what makes cron, systemd or Kubernetes run every month, ready to install."""
    from pipeline.operations.schedule import Job, cron, kubernetes, systemd

    program = shutil.which("retrain") or str(Path(sys.executable).parent / "retrain")
    job = Job(
        Path(program).absolute(), workspace_root(workspace, config_file).absolute(), mail, image, volume
    )
    writers = {Scheduler.CRON: cron, Scheduler.SYSTEMD: systemd, Scheduler.K8S: kubernetes}
    render.data(writers[scheduler](job))


def _workspace(workspace: Path | None, config_file: Path | None) -> Workspace:
    from pipeline.store.workspace import Workspace

    return Workspace(existing_root(workspace, config_file))
