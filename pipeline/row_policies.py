"""What is done about rows that disagree, whatever their order: labels spelled in two ways, texts with two labels."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from pipeline.labels import LabelSet

Policy = Literal["newest", "majority", "refuse"]
Key = TypeVar("Key")


@dataclass(frozen=True, order=True)
class Spelling:
    """A label that is another one but for case, white space or Unicode form, and is read as that one."""

    written: str
    label: str
    rows: int

    def __str__(self) -> str:
        return f"{self.rows} row(s) have the label {self.written!r}, which is read as {self.label!r}"


def spellings(written: Iterable[str], known: LabelSet) -> dict[str, str]:
    """Each label that is not spelled as it ought to be, to how it is: as the model knows it, else as most rows have it.

    Args:
        written: the labels of all rows, with repetitions.
        known: the model's; they keep their spelling, even two that differ by case alone.
    """
    counts = Counter(written)
    taken = {spelling_key(name): name for name in reversed(known.names)}
    unknown = [label for label in counts if label not in known]
    for label in sorted(unknown, key=lambda label: (-counts[label], label)):
        taken.setdefault(spelling_key(label), label)
    return {label: taken[spelling_key(label)] for label in unknown if taken[spelling_key(label)] != label}


def spelling_key(label: str) -> str:
    """What two spellings of one label have in common."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    return "".join(folded.split())


def losers(
    rows: Sequence[Key],
    *,
    text: Callable[[Key], str],
    label: Callable[[Key], str],
    moment: Callable[[Key], str],
    policy: Policy | None,
) -> Mapping[int, str]:
    """Places of rows whose text other rows give another label, and that the policy leaves out, to the reason.

    `newest` keeps the label that was given last, `majority` the one that most rows give; where that is a tie, and under
    `refuse`, all rows of the text are left out. None leaves none out.

    Args:
        text: of a row, in the form in which texts are compared.
        label, moment: of a row; moments sort as they follow each other.
    """
    if policy is None:
        return {}
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(text(row), []).append(place)
    found: dict[int, str] = {}
    for same in places.values():
        labels = sorted({label(rows[place]) for place in same})
        if len(labels) < 2:
            continue
        winner = _winner(rows, same, label, moment, policy)
        others = ", ".join(map(repr, labels))
        for place in same:
            if label(rows[place]) != winner:
                kept = f"{winner!r} is kept ({policy})" if winner is not None else "none is kept"
                found[place] = f"the same text has the labels {others}: {kept}"
    return found


def _winner(
    rows: Sequence[Key],
    same: Sequence[int],
    label: Callable[[Key], str],
    moment: Callable[[Key], str],
    policy: Policy,
) -> str | None:
    if policy == "refuse":
        return None
    if policy == "newest":
        last = max(moment(rows[place]) for place in same)
        given = {label(rows[place]) for place in same if moment(rows[place]) == last}
        return given.pop() if len(given) == 1 else None
    (first, most), (_, next_most), *_ = Counter(label(rows[place]) for place in same).most_common()
    return first if most > next_most else None
