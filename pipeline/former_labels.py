"""Labels that are gone, found again where feedback spells them in another case, white space or Unicode form."""

from collections import Counter

from pipeline.label_changes import LabelChanges
from pipeline.labels import LabelSet
from pipeline.row_policies import Spelling, spelling_key


class FormerLabels:
    """Reads a label that was renamed, merged or retired as the changes name it, and counts what was spelled otherwise.

    Args:
        changes: of labels.
        labels: the model's, under present names; of these the ones in use keep whatever is spelled like them.
    """

    def __init__(self, changes: LabelChanges, labels: LabelSet) -> None:
        gone = {change.label for change in changes.changes}
        self.live = LabelSet(tuple(name for name in labels.names if name not in changes.closed))
        """The model's labels that are in use."""
        taken = {spelling_key(name) for name in self.live.names}
        self._exact = {*gone, *self.live.names}
        self._by_key = {spelling_key(name): name for name in sorted(gone) if spelling_key(name) not in taken}
        self._found: Counter[tuple[str, str]] = Counter()

    def __call__(self, label: str) -> str:
        """The label as the changes name it; any other one as it is."""
        if not self._by_key or label in self._exact:
            return label
        meant = self._by_key.get(spelling_key(label), label)
        if meant != label:
            self._found[label, meant] += 1
        return meant

    @property
    def told(self) -> tuple[Spelling, ...]:
        """The spellings that were read as another one so far."""
        return tuple(
            sorted(Spelling(written, meant, count) for (written, meant), count in self._found.items())
        )
