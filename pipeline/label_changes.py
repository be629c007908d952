"""What became of labels after the launch: renamed, merged or retired, each from a month on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.errors import UsageError
from pipeline.labels import LabelSet
from pipeline.months import Month
from pipeline.rows import Row

ChangeKind = Literal["rename", "merge", "retire"]
_FEWEST = 2
"""A classifier of one label has nothing to tell apart."""


@dataclass(frozen=True)
class LabelChange:
    """One change of one label.

    Attributes:
        label: the name that it had until then.
        to: the new name, or the label that it is merged into; None where it is retired.
        since: the first month in which the change is in force.
    """

    kind: ChangeKind
    label: str
    to: str | None
    since: Month

    def __str__(self) -> str:
        became = {"rename": "called {to!r}", "merge": "part of {to!r}", "retire": "retired"}[self.kind]
        return f"label {self.label!r} is {became.format(to=self.to)} from {self.since} on"

    def as_record(self) -> dict[str, str | None]:
        """Plain values, for files and hashes."""
        return {"kind": self.kind, "label": self.label, "to": self.to, "since": str(self.since)}


@dataclass(frozen=True)
class LabelChanges:
    """Changes in the order in which they were made, which is that of their months.

    A label keeps its id for ever. A renamed one has another name at its id; a merged or retired one is closed: its id
    and name stay, nothing is trained on it and it is never answered.
    """

    changes: tuple[LabelChange, ...] = ()

    def between(self, launch: Month, last: Month) -> LabelChanges:
        """The changes after one month and up to another: a launch starts anew, with what it calls its labels."""
        return LabelChanges(tuple(c for c in self.changes if launch < c.since <= last))

    def name_of(self, label: str) -> str:
        """What a label that somebody wrote down in any month is called now; a retired one keeps its name."""
        for change in self.changes:
            if change.to is not None and change.label == label:
                label = change.to
        return label

    def own_name(self, label: str) -> str:
        """A label's present name at its own id: merges are left aside."""
        for change in self.changes:
            if change.kind == "rename" and change.label == label:
                assert change.to is not None
                label = change.to
        return label

    @property
    def closed(self) -> frozenset[str]:
        """The names of the labels that are merged or retired."""
        return frozenset(c.label for c in self.changes if c.kind != "rename")

    def retired(self, label: str) -> LabelChange | None:
        """The change that retired a label, under any name that it had; None for others."""
        name = self.name_of(label)
        return next((c for c in self.changes if c.kind == "retire" and c.label == name), None)

    def renamed(self, labels: LabelSet) -> LabelSet:
        """A model's labels under their new names, ids as they were.

        Raises:
            UsageError: a new name came into the model by itself meanwhile.
        """
        clash = self.clash(labels)
        if clash is not None:
            raise UsageError(
                f"{clash}, but the month before brought a label of that name by itself. Run: retrain labels undo, "
                f"then retrain labels merge {clash.label!r} {clash.to!r}"
            )
        names = list(labels.names)
        for change in self.changes:
            if change.kind == "rename" and change.label in names:
                assert change.to is not None
                names[names.index(change.label)] = change.to
        return LabelSet(tuple(names))

    def clash(self, labels: LabelSet) -> LabelChange | None:
        """The first rename to a name that came into the model by itself meanwhile; None where all can be."""
        names = list(labels.names)
        for change in self.changes:
            if change.kind != "rename" or change.label not in names:
                continue
            if change.to in names:
                return change
            assert change.to is not None
            names[names.index(change.label)] = change.to
        return None

    def closed_ids(self, labels: LabelSet) -> tuple[int, ...]:
        """The ids of closed labels, ascending, among labels under their present names."""
        return tuple(i for i, name in enumerate(labels.names) if name in self.closed)

    def merges(self, labels: LabelSet) -> tuple[tuple[int, int], ...]:
        """(id of the merged label, id of the one that it is part of now), in order, among labels under present names."""
        pairs = [(c.label, self.name_of(c.label)) for c in self.changes if c.kind == "merge"]
        return tuple((labels.ids[a], labels.ids[b]) for a, b in pairs if a in labels and b in labels)

    def as_records(self) -> list[dict[str, str | None]]:
        """Plain values, oldest first."""
        return [change.as_record() for change in self.changes]

    def require_sense(self, change: LabelChange, labels: LabelSet) -> None:
        """Refuse a further change that cannot be.

        Args:
            labels: the champion's, under the names that all changes so far give them.

        Raises:
            UsageError: saying what was found, and what to do instead.
        """
        live = [name for name in labels.names if name not in self.closed]
        self._require_live(change.label, live)
        if self.changes and change.since < self.changes[-1].since:
            raise UsageError(
                f"--month {change.since}: {self.changes[-1]}, and changes come into force in the order in which they are "
                f"made. Give --month {self.changes[-1].since} or later, or run: retrain labels undo"
            )
        if change.kind == "rename":
            assert change.to is not None
            self._require_free(change.label, change.to, labels, live)
            return
        if change.to is not None:
            if change.to == change.label:
                raise UsageError(f"label {change.label!r}: cannot be merged into itself. Name another label")
            self._require_live(change.to, live)
        if len(live) - 1 < _FEWEST:
            raise UsageError(
                f"label {change.label!r}: expected at least {_FEWEST} labels to remain, found {len(live) - 1}: there "
                "would be nothing to tell apart. Launch anew with other labels"
            )

    def _require_live(self, label: str, live: Sequence[str]) -> None:
        if label in live:
            return
        if label in self.closed:
            found = str(next(c for c in self.changes if c.label == label and c.kind != "rename"))
        elif self.name_of(label) != label:
            found = f"it is called {self.name_of(label)!r} now"
        else:
            found = f"the champion's labels are {', '.join(map(repr, live))}"
        raise UsageError(
            f"label {label!r}: expected a label in use, found none: {found}. Run: retrain labels"
        )

    def _require_free(self, label: str, to: str, labels: LabelSet, live: Sequence[str]) -> None:
        if to == label:
            raise UsageError(f"label {label!r}: has that name already. Give another one")
        if to in live:
            raise UsageError(
                f"label {to!r}: is in use, and two labels cannot have one name. To make one label of both, run: "
                f"retrain labels merge {label!r} {to!r}"
            )
        # a name stands for one id for ever, so that rows of any month and models of any month can be read
        if to in labels or self.own_name(to) not in (to, label):
            raise UsageError(
                f"label {to!r}: was the name of another label, and rows that carry it are counted as "
                f"{self.name_of(to)!r}. Give a name that was never used"
            )


NO_CHANGES = LabelChanges()


def present_rows(rows: Iterable[Row], changes: LabelChanges) -> list[Row]:
    """Rows of earlier months as they count now: under present names, without those of retired labels."""
    return [
        replace(row, label=changes.name_of(row.label)) for row in rows if changes.retired(row.label) is None
    ]
