"""Feedback that one user or one label floods: found before it is learned, by shares alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.seeded import rank

FEWEST_ROWS = 20
"""A month of fewer rows is no flood, whoever gave them."""


@dataclass(frozen=True)
class Flood:
    """One user's or one label's share of a month.

    Attributes:
        what: `user` or `label`.
        name: which.
        rows: how many rows.
        share: of the month's rows.
        usual: the largest share that is expected.
    """

    what: str
    name: str
    rows: int
    share: float
    usual: float

    def __str__(self) -> str:
        usual = f"at most {100 * self.usual:.0f}% is expected"
        return f"{self.what} {self.name!r} has {self.rows} row(s), {100 * self.share:.0f}% of the month's; {usual}"


def flooding_users(users: Sequence[str | None], largest: float) -> list[Flood]:
    """The users who gave more than a share of a month's rows, the largest first.

    Args:
        users: who gave each row; None where it does not say, and then nobody is counted for it.
        largest: the share that one user may have.
    """
    counts = Counter(user for user in users if user is not None)
    if len(users) < FEWEST_ROWS:
        return []
    return [
        Flood("user", user, count, count / len(users), largest)
        for user, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if count > largest * len(users)
    ]


def jumping_labels(labels: Sequence[str], before: Mapping[str, int], jump: float) -> list[Flood]:
    """The labels whose share of a month is larger than before by more than `jump`, the largest first.

    Args:
        labels: of the month's rows.
        before: rows of each label in the months before; labels that are not in it are new, and no jump.
        jump: difference of shares, 0 to 1.
    """
    total = sum(before.values())
    if len(labels) < FEWEST_ROWS or not total:
        return []
    counts = Counter(label for label in labels if label in before)
    return [
        Flood("label", label, count, count / len(labels), before[label] / total + jump)
        for label, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if count / len(labels) > before[label] / total + jump
    ]


def over_the_cap(users: Sequence[str | None], ids: Sequence[str], largest: float, *, seed: int) -> set[int]:
    """Places of the rows beyond what each flooding user may give, chosen by a hash of seed and id, whatever their order.

    What remains of a user is at most `largest` of all rows as they came.
    """
    allowed = int(largest * len(users))
    found: set[int] = set()
    for flood in flooding_users(users, largest):
        places = [place for place, user in enumerate(users) if user == flood.name]
        places.sort(key=lambda place: rank(ids[place], seed=seed, purpose="flood"))
        found |= set(places[allowed:])
    return found
