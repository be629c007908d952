"""The cap of a month that is too large: each label's share as it was, whatever the order."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipeline.rows import Row
from pipeline.sampling import stratified


def rows(counts: dict[str, int]) -> list[Row]:
    return [
        Row(f"{label} {n}", "2026-02-01T00:00:00Z", "correction", f"t {label} {n}", label)
        for label, count in counts.items()
        for n in range(count)
    ]


def test_each_labels_share_stays_and_small_labels_keep_a_row() -> None:
    kept = Counter(row.label for row in stratified(rows({"a": 600, "b": 390, "c": 9, "d": 1}), 100, seed=0))
    assert kept == {"a": 59, "b": 39, "c": 1, "d": 1}


def test_the_same_rows_are_kept_in_every_order() -> None:
    table = rows({"a": 60, "b": 40})
    expected = {row.id for row in stratified(table, 30, seed=0)}
    for seed in range(5):
        random.Random(seed).shuffle(table)
        assert {row.id for row in stratified(table, 30, seed=0)} == expected
    assert {row.id for row in stratified(table, 30, seed=1)} != expected


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 200))
def test_the_cap_is_kept_exactly(counts: list[int], limit: int) -> None:
    table = rows({f"l{n}": count for n, count in enumerate(counts)})
    kept = stratified(table, limit, seed=0)
    assert len(kept) == min(limit, len(table))
    assert len({row.id for row in kept}) == len(kept)


def test_a_new_label_comes_first_where_there_is_hardly_room() -> None:
    kept = stratified(rows({"a": 50, "b": 40, "new": 1}), 2, seed=0, learned=("new",))
    assert "new" in {row.label for row in kept}
