"""Where a month starts from, and which months came before it."""

from collections.abc import Collection, Sequence

from pipeline.errors import ArtifactCorrupt, NoInput, UsageError
from pipeline.label_changes import NO_CHANGES, LabelChanges
from pipeline.months import Month
from pipeline.store.label_history import read_label_changes
from pipeline.store.records import CheckpointRef, Manifest
from pipeline.store.registry import read_registry, verify_checkpoint
from pipeline.store.removed import removed_month, removed_months
from pipeline.store.run_directory import RunDirectory
from pipeline.store.stage_directory import read_stage
from pipeline.store.workspace import Found, Workspace

_LAST = Month(9999, 12)
_MONTHS_NAMED = 6
"""How many months a message names."""


def ancestors(workspace: Workspace, checkpoint: CheckpointRef | None) -> list[CheckpointRef]:
    """The checkpoint and all that it descends from, the launch first; empty for None.

    Raises:
        ArtifactCorrupt: an attempt of the line is missing, or its manifest is damaged.
    """
    line: list[CheckpointRef] = []
    while checkpoint is not None:
        line.append(checkpoint)
        attempt = checkpoint.attempt
        try:
            checkpoint = workspace.attempt(attempt).read_manifest().parent
        except NoInput:
            raise ArtifactCorrupt(
                f"{workspace.runs / attempt}: is missing, though {line[0].attempt} descends from it. "
                "Restore it from a backup, or make another candidate the champion: retrain promote REF"
            ) from None
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
    """Months since the base whose candidate was refused, frozen or rolled back: the base has not learned them."""
    return [
        between
        for between in _months_known(workspace)
        if base.month < str(between) < str(month) and _had_candidate(workspace, between)
    ]


def carried_months(
    workspace: Workspace, base: CheckpointRef, month: Month, recorded: Collection[str] = ()
) -> list[Month]:
    """Earlier months whose feedback the base has not learned, so that it is learned along with the month's.

    Beside those since the base they are months that were run late, when the champion was newer already. A month that was
    promoted without such a one is not made stale by it: the next month takes it along.

    Args:
        recorded: the months that the attempt at hand took along already.
    """
    champion = read_registry(workspace).champion
    goes_on = champion is None or champion.month < str(month)
    line = ancestors(workspace, base)
    learned = _learned_by(workspace, line)
    return [
        earlier
        for earlier in _months_known(workspace)
        if line[0].month < str(earlier) < str(month)
        and (str(earlier) > base.month or (learned is not None and str(earlier) not in learned))
        and (goes_on or str(earlier) in recorded)
        and _had_candidate(workspace, earlier)
    ]


def why_not_learned(workspace: Workspace, month: Month) -> str:
    """What became of a month that has to be learned along with a later one, in words."""
    if any(entry.checkpoint.month == str(month) for entry in read_registry(workspace).history):
        return "was rolled back"
    attempt = finished_attempt(workspace, month)
    verdict = attempt.read_manifest().verdict if attempt is not None else None
    return "was not promoted" if verdict is None or verdict.passed else "was refused"


def _learned_by(workspace: Workspace, line: Sequence[CheckpointRef]) -> set[str] | None:
    """The months whose feedback a line of checkpoints was trained on; None where an early release did not record it."""
    learned: set[str] = set()
    for ref in line[1:]:
        record = read_stage(workspace.attempt(ref.attempt).stage("ingest"))
        months = record.config.get("months") if record is not None else None
        if not isinstance(months, list):
            return None
        learned |= {str(month) for month in months}
    return learned


def has_learned(workspace: Workspace, month: Month) -> bool:
    """Whether the champion, or one that it descends from, was trained on a month's feedback, as far as that is recorded."""
    return str(month) in (
        _learned_by(workspace, ancestors(workspace, read_registry(workspace).champion)) or set()
    )


def _months_known(workspace: Workspace) -> list[Month]:
    """The months that have attempts, or had some that were removed."""
    return sorted({*workspace.months(), *removed_months(workspace)})


def _had_candidate(workspace: Workspace, month: Month) -> bool | None:
    """Whether a month's newest finished attempt made a candidate, or found no feedback; None where none finished."""
    manifest = _finished(workspace, month)
    if manifest is not None:
        return manifest.candidate is not None
    removed = removed_month(workspace, month)
    return None if removed is None else removed.had_candidate


def recorded_as_empty(workspace: Workspace, month: Month) -> bool:
    """Whether the month's newest finished attempt says that there was no feedback."""
    return _had_candidate(workspace, month) is False


def require_no_gap(
    workspace: Workspace, base: CheckpointRef, month: Month, *, left_out: Collection[str] = ()
) -> None:
    """Refuse to pass over months that were never run.

    Args:
        left_out: months that are passed over on purpose.

    Raises:
        UsageError: naming the missing months.
    """
    known = set(_months_known(workspace))
    missing = [
        str(m)
        for m in months_between(base, month)
        if str(m) not in left_out and (m not in known or _had_candidate(workspace, m) is None)
    ]
    if missing:
        named = ", ".join(missing[:_MONTHS_NAMED])
        if len(missing) > _MONTHS_NAMED:
            named += f" and {len(missing) - _MONTHS_NAMED} more, up to {missing[-1]},"
        raise UsageError(
            f"{month}: the months {named} were never run after {base.month}. "
            f"Run: retrain run --month {missing[0]}, or pass over them with --allow-gap"
        )


def finished_attempt(workspace: Workspace, month: Month) -> RunDirectory | None:
    """A month's newest finished attempt."""
    for attempt in reversed(workspace.attempts(month)):
        if not attempt.has_manifest():
            continue  # killed while it took over stages that were fresh
        if attempt.read_manifest().status == "finished":
            return attempt
    return None


def _finished(workspace: Workspace, month: Month) -> Manifest | None:
    attempt = finished_attempt(workspace, month)
    return None if attempt is None else attempt.read_manifest()


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
