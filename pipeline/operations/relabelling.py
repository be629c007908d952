"""Change labels by hand, and tell what became of each."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.config import Config
from pipeline.errors import NoInput, UsageError
from pipeline.evaluation.golden import GoldenSet
from pipeline.label_changes import ChangeKind, LabelChange, LabelChanges
from pipeline.months import Month
from pipeline.recorded.checkpoint_labels import checkpoint_labels
from pipeline.recorded.golden_sets import golden_files, read_golden
from pipeline.recorded.lineage import ancestors, label_changes
from pipeline.recorded.rows import labels_of, training_rows
from pipeline.row_task import label_problem
from pipeline.sources.table import dialect_of
from pipeline.store.label_history import LabelEntry, add_label_entry, read_label_history
from pipeline.store.records import CheckpointRef
from pipeline.store.registry import read_registry
from pipeline.store.workspace import Workspace


@dataclass(frozen=True)
class LabelState:
    """One head row of the champion.

    Attributes:
        name: in the champion.
        since: the month that brought it.
        rows: training rows of the champion's line that count for it once every change is in force; of a retired label
            those that were learned.
        golden: golden rows up to the champion's month, counted alike.
        state: `in use`, or what becomes of it and when.
        changes: every change that made it, oldest first, those that come into force later among them.
    """

    id: int
    name: str
    since: str
    rows: int
    golden: int
    state: str
    changes: tuple[str, ...]


def label_states(workspace: Workspace, config: Config) -> tuple[LabelState, ...]:
    """The champion's labels by id.

    Raises:
        NoInput: there is no champion.
    """
    champion = _champion(workspace)
    line = ancestors(workspace, champion)
    labels = checkpoint_labels(workspace.resolve(champion.path))
    changes = label_changes(workspace, line)
    clash = changes.clash(labels)
    if (
        clash is not None
    ):  # no month can be made with it: it is told, and the labels are shown as they are without
        changes = LabelChanges(changes.changes[: changes.changes.index(clash)])
    present = changes.renamed(labels)
    sets = [labels_of(workspace.attempt(ref.attempt)) for ref in line]
    rows = _counted(
        [row.label for ref in line for row in training_rows(workspace.attempt(ref.attempt))], changes
    )
    golden = _counted([row.label for item in _golden(workspace, config, line) for row in item.rows], changes)
    return tuple(
        LabelState(
            id=number,
            name=labels.names[number],
            since=next(ref.month for ref, known in zip(line, sets, strict=True) if len(known) > number),
            rows=rows[name],  # those of a merged label are under the name of the one that it is part of
            golden=golden[name],
            state=_state(name, labels.names[number], changes)
            + (
                f", cannot be called {clash.to!r}: undo that"
                if clash is not None and clash.label == name
                else ""
            ),
            changes=tuple(str(c) for c in changes.changes if name in _names(c, changes)),
        )
        for number, name in enumerate(present.names)
    )


def change_label(
    workspace: Workspace,
    kind: ChangeKind,
    label: str,
    to: str | None,
    *,
    month: Month | None,
    by: str,
    reason: str,
    at: str,
    dry_run: bool = False,
) -> LabelChange:
    """Rename, merge or retire a label from a month on; finished months stay what they are.

    Args:
        month: the first month in which it is in force; None for the one after the newest that was run.
        by, reason, at: who, why and when, for the history.
        dry_run: find out whether it can be, and write nothing.

    Raises:
        UsageError: it cannot be; says why.
        NoInput: there is no champion.
    """
    champion = _champion(workspace)
    line = ancestors(workspace, champion)
    since = month if month is not None else max(workspace.months()).next
    if str(since) <= champion.month:
        raise UsageError(
            f"--month {since}: expected a month after {champion.month}, whose checkpoint is the champion: what is "
            f"promoted is not changed any more. Give --month {Month.parse(champion.month).next} or later"
        )
    problem = label_problem(to) if kind == "rename" and to is not None else None
    if problem is not None:
        raise UsageError(f"label {to!r}: {problem}")
    changes = label_changes(workspace, line)
    change = LabelChange(kind, label, to, since)
    changes.require_sense(change, changes.renamed(checkpoint_labels(workspace.resolve(champion.path))))
    if not dry_run:
        _write(workspace, kind, change, by=by, reason=reason, at=at)
    return change


def undo_label_change(
    workspace: Workspace,
    label: str | None = None,
    *,
    by: str,
    reason: str,
    at: str,
    dry_run: bool = False,
) -> LabelChange:
    """Take back the newest change, as long as no champion was made with it.

    Args:
        label: which the change is of. With it a repetition, such as after a kill, does nothing more.

    Raises:
        UsageError: it is in the champion, or of another label, or there is none.
        NoInput: there is no champion.
    """
    champion = _champion(workspace)
    changes = label_changes(workspace, ancestors(workspace, champion)).changes
    if label is not None and not (changes and changes[-1].label == label):
        undone = read_label_history(workspace).just_undone()
        if undone is not None and undone.label == label:
            return undone
        raise UsageError(
            f"label {label!r}: the newest change is {changes[-1] if changes else 'none'}, and the newest is undone first. "
            "Run: retrain labels"
        )
    if not changes:
        raise UsageError("there is no label change to undo. Run: retrain labels")
    newest = changes[-1]
    if str(newest.since) <= champion.month:
        back = (
            f" or rename it back: retrain labels rename {newest.to!r} {newest.label!r}"
            if newest.kind == "rename"
            else ""
        )
        raise UsageError(
            f"{newest}: the champion, of {champion.month}, was made with it. Go back before it first: "
            f"retrain rollback{back}"
        )
    if not dry_run:
        _write(workspace, "undo", newest, by=by, reason=reason, at=at)
    return newest


def _champion(workspace: Workspace) -> CheckpointRef:
    champion = read_registry(workspace).champion
    if champion is None:
        raise NoInput(
            f"{workspace.root}: there is no champion yet, so there are no labels. "
            "Run: retrain launch --data FILE --month YYYY-MM"
        )
    return champion


def _write(
    workspace: Workspace,
    action: Literal["rename", "merge", "retire", "undo"],
    change: LabelChange,
    *,
    by: str,
    reason: str,
    at: str,
) -> None:
    add_label_entry(
        workspace,
        LabelEntry(
            action=action,
            label=change.label,
            to=change.to,
            since=str(change.since),
            at=at,
            by=by,
            reason=reason,
        ),
    )


def _golden(workspace: Workspace, config: Config, line: Sequence[CheckpointRef]) -> list[GoldenSet]:
    files = golden_files(workspace, config.golden.path, line, None)
    return [read_golden(file, name=str(month), dialect=dialect_of(config)) for month, file in files.items()]


def _counted(labels: Sequence[str], changes: LabelChanges) -> Counter[str]:
    return Counter(changes.name_of(label) for label in labels)


def _state(name: str, in_champion: str, changes: LabelChanges) -> str:
    """What became of a label, from the changes that it may still wait for."""
    ended = next((c for c in changes.changes if c.kind != "rename" and c.label == name), None)
    words = []
    if name != in_champion:
        since = next(c.since for c in changes.changes[::-1] if c.to == name and c.kind == "rename")
        words.append(f"called {name!r} from {since} on")
    if ended is not None:
        what = "retired" if ended.to is None else f"part of {changes.name_of(ended.to)!r}"
        words.append(f"{what} from {ended.since} on")
    return ", ".join(words) or "in use"


def _names(change: LabelChange, changes: LabelChanges) -> set[str]:
    """The present names that a change is about."""
    if change.kind == "rename":
        return {changes.own_name(change.label)}
    return {change.label} | ({changes.own_name(change.to)} if change.to is not None else set())
