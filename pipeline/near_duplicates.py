"""Rows of one month that are nearly the same: found by the words and word pairs they share, and counted or left out."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.near import LEAST_ALIKE, parts_of, similarity
from pipeline.rows import RawRecord, Rejection, Row

NearPolicy = Literal["ignore", "report", "refuse"]
Numbers = NDArray[np.uint64]
_AT_A_TIME = 10_000
"""Texts whose parts are numbers at the same time."""
_MOST_BUCKETS = 2**24
"""Counters of how many texts have a part: parts share some, which costs time alone."""
_NEIGHBOURS = 20
"""Of many texts that share a rare part each is compared with so many next to it: nearly the same ones sort together."""
_MIX = np.uint64(0x9E3779B97F4A7C15)


def near_groups(texts: Collection[str], *, least: float = LEAST_ALIKE) -> list[list[str]]:
    """Groups of texts of which each is nearly the same as another one of its group, sorted; texts alone are in none.

    By the prefix filter: two texts that have `least` of their parts in common share one of the rarest
    `n - ceil(least * n) + 1` parts of either, n being how many it has. All texts that share one are compared, and of more
    than twenty-one each with its neighbours.

    Args:
        texts: in the form in which texts are compared; equal ones count once.
        least: the Jaccard similarity from which two texts are nearly the same.

    Source: Bayardo, Ma, Srikant 2007, "Scaling up all pairs similarity search".
    """
    ordered = sorted(set(texts))
    parts, owners, sizes = _rare_parts(ordered, least)
    order = np.lexsort((owners, parts))
    parts, owners = parts[order], owners[order]
    group = np.arange(len(ordered))
    for shift in range(1, _NEIGHBOURS + 1):
        shared = np.flatnonzero(parts[shift:] == parts[:-shift])
        if not len(shared):
            break
        pairs = np.unique(np.stack((owners[shared], owners[shared + shift]), axis=1), axis=0)
        small, large = np.sort(sizes[pairs], axis=1).T
        for one, other in pairs[small >= least * large].tolist():
            first, second = _root(group, one), _root(group, other)
            if first != second and similarity(parts_of(ordered[one]), parts_of(ordered[other])) >= least:
                group[max(first, second)] = min(first, second)
    members: dict[int, list[str]] = defaultdict(list)
    for place in np.flatnonzero(_grouped(group)).tolist():
        members[_root(group, place)].append(ordered[place])
    return list(members.values())


def _rare_parts(ordered: Sequence[str], least: float) -> tuple[Numbers, NDArray[np.int64], NDArray[np.int64]]:
    """(parts [P], owners [P], sizes [N]): the rarest parts of each text that another has, whose they are, and how many
    parts each text has."""
    numbers: dict[str, int] = defaultdict(count(1).__next__)
    words = [array("I", [numbers[word] for word in text.split()]) for text in ordered]
    buckets = min(4 << sum(map(len, words)).bit_length(), _MOST_BUCKETS)
    common = np.zeros(buckets, dtype=np.int32)
    for _, parts in _numbered(words):
        common += np.bincount(parts % np.uint64(buckets), minlength=buckets).astype(np.int32)
    rare, owners = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    sizes = np.zeros(len(ordered), dtype=np.int64)
    for owner, parts in _numbered(words):
        often = common[parts % np.uint64(buckets)]
        order = np.lexsort((parts, often, owner))
        new = np.ones(len(order), dtype=bool)  # a part that a text has twice counts once
        new[1:] = (parts[order][1:] != parts[order][:-1]) | (owner[order][1:] != owner[order][:-1])
        owner, parts, often = owner[order][new], parts[order][new], often[order][new]
        of_each = np.bincount(owner, minlength=len(ordered))
        sizes += of_each
        place = np.arange(len(owner)) - (np.cumsum(of_each) - of_each)[owner]
        few = (of_each * (1 - least) + 1e-9).astype(np.int64) + 1
        chosen = (place < few[owner]) & (often > 1)
        rare.append(parts[chosen])
        owners.append(owner[chosen])
    return np.concatenate(rare), np.concatenate(owners), sizes


def _numbered(words: Sequence[array[int]]) -> Iterator[tuple[NDArray[np.int64], Numbers]]:
    """(owners [P], parts [P]), some texts at a time: the words and word pairs of each text as numbers."""
    for start in range(0, len(words), _AT_A_TIME):
        some = words[start : start + _AT_A_TIME]
        flat = np.concatenate(
            [np.frombuffer(of, dtype=np.uint32) for of in some if of] or [np.zeros(0, np.uint32)]
        )
        singles = flat.astype(np.uint64)
        owner = np.repeat(np.arange(start, start + len(some)), [len(of) for of in some])
        inside = owner[1:] == owner[:-1]
        pairs = ((singles[:-1] << np.uint64(32)) | singles[1:])[inside]
        parts = np.concatenate((singles, pairs)) * _MIX  # an odd factor: different parts stay different
        parts ^= parts >> np.uint64(32)
        yield np.concatenate((owner, owner[1:][inside])), parts


def _root(group: NDArray[np.int64], place: int) -> int:
    while group[place] != place:
        group[place] = group[group[place]]
        place = group[place]
    return int(place)


def _grouped(group: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[N]: which texts are in a group with another one."""
    alone: NDArray[np.bool_] = group == np.arange(len(group))
    alone[group[~alone]] = False
    return ~alone


def without_near_duplicates(
    rows: Sequence[tuple[RawRecord, Row]], normal: Mapping[str, str], policy: NearPolicy
) -> tuple[list[tuple[RawRecord, Row]], list[Rejection], int]:
    """The rows that stay, the refused ones, and how many are nearly the same as one that stays, with its label.

    Of each group with one label the text that was given last stays, of several such the first by its letters; so the
    order of the rows does not matter.

    Args:
        rows: that can be used so far.
        normal: their texts, to the form in which texts are compared.
        policy: `refuse` leaves the others out, `report` counts them, `ignore` does not look.
    """
    if policy == "ignore":
        return list(rows), [], 0
    of_text: dict[str, list[int]] = defaultdict(list)
    for place, (_, row) in enumerate(rows):
        of_text[normal[row.text]].append(place)
    stays: dict[int, Row] = {}
    for same in near_groups(of_text):
        for places in _by_label(rows, [place for text in same for place in of_text[text]]):
            last = max(rows[place][1].created_at for place in places)
            kept = min(
                (normal[rows[place][1].text], place) for place in places if rows[place][1].created_at == last
            )
            stays |= {place: rows[kept[1]][1] for place in places if normal[rows[place][1].text] != kept[0]}
    if policy == "report":
        return list(rows), [], len(stays)
    refused = [_refused(rows[place][0], row) for place, row in stays.items()]
    return [pair for place, pair in enumerate(rows) if place not in stays], refused, 0


def _by_label(rows: Sequence[tuple[RawRecord, Row]], places: Iterable[int]) -> Iterator[list[int]]:
    by_label: dict[str, list[int]] = defaultdict(list)
    for place in places:
        by_label[rows[place][1].label].append(place)
    yield from by_label.values()


def _refused(record: RawRecord, kept: Row) -> Rejection:
    why = f"is nearly row {kept.id!r}, which has its label and is kept"
    return Rejection(record.file, record.line, why, record.fields, "near_duplicate")
