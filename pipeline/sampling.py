"""Which rows are held out, set aside or sampled: by hashes of seed and content, whatever the order of the rows."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from pipeline.normal_text import normalise
from pipeline.row_task import ONE_LABEL, RowTask
from pipeline.rows import Row
from pipeline.seeded import rank


def hold_out(
    rows: Sequence[Row],
    fraction: float,
    *,
    seed: int,
    purpose: str,
    learned: Collection[str] = (),
    task: RowTask = ONE_LABEL,
) -> tuple[list[Row], list[Row]]:
    """Split rows into (kept, held out): `round(n * fraction)` rows, chosen by a hash of seed, purpose and id.

    The choice of a row does not depend on the order of the rows. At least one row is always kept, and one of
    every label of `learned`.
    """
    count = min(round(len(rows) * fraction), max(len(rows) - 1, 0))
    ranked = sorted(rows, key=lambda row: rank(row.id, seed=seed, purpose=purpose))
    return _split(rows, [[row] for row in ranked[:count]], learned, task)


def set_aside(
    rows: Sequence[Row],
    fraction: float,
    *,
    seed: int,
    learned: Collection[str] = (),
    task: RowTask = ONE_LABEL,
) -> tuple[list[Row], list[Row]]:
    """Split rows into (kept, golden), at most `round(n * fraction)`, so that no text is on both sides.

    Texts are compared as golden texts are, and chosen by a hash of the seed and the text. At least one row is
    always kept, and one of every label of `learned`.
    """
    left = min(round(len(rows) * fraction), max(len(rows) - 1, 0))
    same_text: dict[str, list[Row]] = {}
    for row in rows:
        same_text.setdefault(normalise(row.text), []).append(row)
    chosen: list[list[Row]] = []
    for text in sorted(same_text, key=lambda text: rank(text, seed=seed, purpose="golden")):
        if len(same_text[text]) <= left:
            chosen.append(same_text[text])
            left -= len(same_text[text])
    return _split(rows, chosen, learned, task)


def stratified(
    rows: Sequence[Row], limit: int, *, seed: int, learned: Collection[str] = (), task: RowTask = ONE_LABEL
) -> list[Row]:
    """At most `limit` rows, each group's share as it was, chosen by a hash of seed and id, in their given order.

    Of each group, and so of every label of `learned`, at least one row stays where the limit allows it; places that are
    left over go to the groups that lost most by rounding.
    """
    if len(rows) <= limit:
        return list(rows)
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: rank(row.id, seed=seed, purpose="cap")):
        groups.setdefault(task.group(row.label), []).append(row)
    order = sorted(groups, key=lambda name: (name not in learned, -len(groups[name]), name))
    exact = {name: limit * len(groups[name]) / len(rows) for name in groups}
    places = {name: max(int(exact[name]), 1) if n < limit else 0 for n, name in enumerate(order)}
    while sum(places.values()) > limit:  # the single places of small groups are taken from the largest
        places[max(places, key=lambda name: (places[name], name))] -= 1
    for name in sorted(groups, key=lambda name: (places[name] - exact[name], name)):
        if sum(places.values()) < limit and places[name] < len(groups[name]):
            places[name] += 1
    kept = {row.id for name, count in places.items() for row in groups[name][:count]}
    return [row for row in rows if row.id in kept]


def _split(
    rows: Sequence[Row], chosen: Iterable[Sequence[Row]], learned: Collection[str], task: RowTask
) -> tuple[list[Row], list[Row]]:
    """Take the chosen groups out, but for one that would leave a label of `learned` without a row."""
    remaining = Counter(name for row in rows for name in task.labels(row.label))
    taken: set[str] = set()
    for group in chosen:
        labels = Counter(name for row in group for name in task.labels(row.label))
        if any(label in learned and remaining[label] <= count for label, count in labels.items()):
            continue
        remaining -= labels
        taken |= {row.id for row in group}
    return [row for row in rows if row.id not in taken], [row for row in rows if row.id in taken]


def seeded_sample(rows: Sequence[Row], limit: int, *, seed: int, purpose: str) -> list[Row]:
    """At most `limit` rows, chosen by a hash of seed, purpose and id, in their given order."""
    if len(rows) <= limit:
        return list(rows)
    ranked = sorted(rows, key=lambda row: rank(row.id, seed=seed, purpose=purpose))
    chosen = {row.id for row in ranked[:limit]}
    return [row for row in rows if row.id in chosen]
