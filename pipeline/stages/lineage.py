"""Where a month starts from, and which months came before it."""

from collections.abc import Sequence

from pipeline.errors import NoInput, UsageError
from pipeline.label_changes import NO_CHANGES, LabelChanges
from pipeline.months import Month
from pipeline.store.label_history import read_label_changes
from pipeline.store.records import CheckpointRef, Manifest
from pipeline.store.registry import read_registry, verify_checkpoint
from pipeline.store.run_directory import Found, RunDirectory, Workspace

_LAST = Month(9999, 12)
_MONTHS_NAMED = 6
"""How many months a message names."""


def ancestors(workspace: Workspace, checkpoint: CheckpointRef | None) -> list[CheckpointRef]:
    """The checkpoint and all that it descends from, the launch first; empty for None."""
    line: list[CheckpointRef] = []
    while checkpoint is not None:
        line.append(checkpoint)
        checkpoint = workspace.attempt(checkpoint.attempt).read_manifest().parent
    return line[::-1]


def label_changes(workspace: Workspace, line: Sequence[CheckpointRef], last: Month = _LAST) -> LabelChanges:
    """The changes of labels that are in force in a month, for models that descend from a launch.

    Args:
        line: the line of descent, the launch first; empty for a launch itself, to which no change applies.
        last: the month; without one also those that come into force later.
    """
    if not line:
        return NO_CHANGES
    return read_label_changes(workspace).between(Month.parse(line[0].month), last)


def base_for(workspace: Workspace, month: Month) -> CheckpointRef:
    """The checkpoint that a month starts from: the champion, or its newest ancestor from before the month.

    A frozen month's checkpoint has learned nothing of its month: the one that it copied stands for it, and its
    feedback waits like that of a refused month.

    Raises:
        NoInput: when there is none.
    """
    champion = read_registry(workspace).champion
    if champion is None:
        raise NoInput(
            f"{workspace.root}: there is no champion yet. Run: retrain launch --data FILE --month YYYY-MM"
        )
    for checkpoint in reversed(ancestors(workspace, champion)):
        if checkpoint.month < str(month) and not _is_frozen(workspace, checkpoint):
            return checkpoint
    raise NoInput(
        f"{month}: no champion from an earlier month; the first is of {ancestors(workspace, champion)[0].month}. "
        "Run a later month"
    )


def months_between(base: CheckpointRef, month: Month) -> list[Month]:
    """The months after the base checkpoint's and before `month`."""
    return Month.parse(base.month).next.until(month.previous)


def _is_frozen(workspace: Workspace, checkpoint: CheckpointRef) -> bool:
    manifest = workspace.attempt(checkpoint.attempt).read_manifest()
    return manifest.kind == "month" and manifest.arm == "freeze"


def refused_months(workspace: Workspace, base: CheckpointRef, month: Month) -> list[Month]:
    """Months since the base whose candidate was refused or frozen: their feedback has not been learned yet."""
    refused = []
    for between in workspace.months():
        if not base.month < str(between) < str(month):
            continue
        manifest = _finished(workspace, between)
        if manifest is not None and manifest.candidate is not None:
            refused.append(between)
    return refused


def recorded_as_empty(workspace: Workspace, month: Month) -> bool:
    """Whether the month's newest finished attempt says that there was no feedback."""
    manifest = _finished(workspace, month)
    return manifest is not None and manifest.candidate is None


def require_no_gap(workspace: Workspace, base: CheckpointRef, month: Month) -> None:
    """Refuse to pass over months that were never run.

    Raises:
        UsageError: naming the missing months.
    """
    begun = set(workspace.months())
    missing = [
        str(m) for m in months_between(base, month) if m not in begun or _finished(workspace, m) is None
    ]
    if missing:
        named = ", ".join(missing[:_MONTHS_NAMED])
        if len(missing) > _MONTHS_NAMED:
            named += f" and {len(missing) - _MONTHS_NAMED} more, up to {missing[-1]},"
        raise UsageError(
            f"{month}: the months {named} were never run after {base.month}. "
            f"Run: retrain run --month {missing[0]}, or pass over them with --allow-gap"
        )


def _finished(workspace: Workspace, month: Month) -> Manifest | None:
    for attempt in reversed(workspace.attempts(month)):
        if not attempt.has_manifest():
            continue  # killed while it took over stages that were fresh
        manifest = attempt.read_manifest()
        if manifest.status == "finished":
            return manifest
    return None


def require_sound(workspace: Workspace, found: Found) -> None:
    """Prove that a checkpoint of the workspace is what its attempt recorded; one from elsewhere has no record.

    Raises:
        ArtifactCorrupt: it has another hash.
    """
    if found.run is None or not found.run.has_manifest():
        return
    candidate = found.run.read_manifest().candidate
    if candidate is not None and workspace.resolve(candidate.path) == found.checkpoint:
        verify_checkpoint(workspace, candidate)


def attempt_that_made(workspace: Workspace, checkpoint: CheckpointRef) -> RunDirectory:
    """The attempt in whose run directory a checkpoint lies."""
    return workspace.attempt(checkpoint.attempt)
