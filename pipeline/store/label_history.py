"""Which labels were renamed, merged or retired: `label-changes.json` of the workspace, to which entries are only added.

Call what writes here with the workspace's lock held.
"""

from typing import Literal

from pipeline.label_changes import LabelChange, LabelChanges
from pipeline.months import Month
from pipeline.store import reading
from pipeline.store.records import MonthText, Record, UtcSeconds, read_record, write_record
from pipeline.store.workspace import Workspace


class LabelEntry(Record):
    """One change, or `undo`, which takes back the newest one that stands."""

    action: Literal["rename", "merge", "retire", "undo"]
    label: str
    to: str | None
    since: MonthText
    at: UtcSeconds
    by: str
    reason: str

    def change(self) -> LabelChange:
        assert self.action != "undo"
        return LabelChange(self.action, self.label, self.to, Month.parse(self.since))


class LabelHistory(Record):
    """All that was ever said about labels, oldest first."""

    version: Literal[1] = 1
    history: tuple[LabelEntry, ...] = ()

    def standing(self) -> LabelChanges:
        """The changes that were not undone."""
        stand: list[LabelChange] = []
        for entry in self.history:
            if entry.action == "undo":
                stand.pop()
            else:
                stand.append(entry.change())
        return LabelChanges(tuple(stand))

    def just_undone(self) -> LabelChange | None:
        """The change that the newest entry took back; None where it is no undo."""
        if not self.history or self.history[-1].action != "undo":
            return None
        return LabelHistory(history=self.history[:-1]).standing().changes[-1]


def read_label_history(workspace: Workspace) -> LabelHistory:
    """The history; an empty one where no label was ever changed.

    Raises:
        ArtifactCorrupt: it is damaged.
    """
    file = workspace.label_changes_file
    if reading.kind_of(file) == "nothing":
        return LabelHistory()
    return read_record(file, LabelHistory, mend="Restore it from a backup")


def read_label_changes(workspace: Workspace) -> LabelChanges:
    """The changes that stand.

    Raises:
        ArtifactCorrupt: as `read_label_history`.
    """
    return read_label_history(workspace).standing()


def add_label_entry(workspace: Workspace, entry: LabelEntry) -> None:
    """Add one entry; the file is replaced atomically.

    Raises:
        ArtifactCorrupt: the file is damaged; nothing was written.
        AccessDenied, CannotWrite: as `atomic.write_file`.
    """
    history = read_label_history(workspace).history
    write_record(workspace.label_changes_file, LabelHistory(history=(*history, entry)))


def copy_label_history(source: Workspace, target: Workspace) -> None:
    """Let a workspace that repeats another's months have its label changes, too."""
    history = read_label_history(source)
    if history != read_label_history(target):
        write_record(target.label_changes_file, history)
