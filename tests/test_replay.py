"""The replay memory and the order of an epoch."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipeline.replay import epoch_order, replay_memory
from pipeline.rows import Row


def rows(prefix: str, counts: dict[str, int]) -> list[Row]:
    return [
        Row(f"{prefix}{label}{i}", "2026-01-01T00:00:00Z", "launch", f"text {prefix} {label} {i}", label)
        for label, count in counts.items()
        for i in range(count)
    ]


def test_places_are_shared_equally_over_labels() -> None:
    memory = replay_memory([rows("l", {"a": 50, "b": 5, "c": 20})], launch_rows=12, month_rows=0, seed=0)
    assert Counter(row.label for row in memory) == {"a": 4, "b": 4, "c": 4}


def test_a_label_with_few_rows_leaves_its_places_to_others() -> None:
    memory = replay_memory([rows("l", {"a": 50, "b": 1})], launch_rows=10, month_rows=0, seed=0)
    assert Counter(row.label for row in memory) == {"a": 9, "b": 1}


def test_a_later_months_places_go_to_labels_that_the_memory_lacks() -> None:
    tables = [rows("l", {"a": 20, "b": 20}), rows("m", {"a": 20, "new": 20})]
    memory = replay_memory(tables, launch_rows=8, month_rows=4, seed=0)
    assert Counter(row.label for row in memory[8:]) == {"new": 4}


def test_a_further_month_adds_rows_and_pushes_none_out() -> None:
    tables = [rows("l", {"a": 9, "b": 9}), rows("m", {"a": 9, "c": 9}), rows("n", {"b": 9})]
    shorter = replay_memory(tables[:2], launch_rows=6, month_rows=3, seed=1)
    assert replay_memory(tables, launch_rows=6, month_rows=3, seed=1)[: len(shorter)] == shorter


def test_the_memory_does_not_depend_on_the_order_of_rows() -> None:
    table = rows("l", {"a": 9, "b": 9})
    assert replay_memory([table], launch_rows=6, month_rows=0, seed=1) == replay_memory(
        [table[::-1]], launch_rows=6, month_rows=0, seed=1
    )


@given(
    count=st.integers(1, 40),
    memory=st.integers(0, 15),
    new_per_step=st.integers(1, 9),
    replayed=st.integers(0, 5),
    epoch=st.integers(0, 3),
)
def test_every_new_row_stands_once_in_an_epoch(
    count: int, memory: int, new_per_step: int, replayed: int, epoch: int
) -> None:
    new, old = [f"n{i}" for i in range(count)], [f"o{i}" for i in range(memory)]
    order = epoch_order(new, old, new_per_step=new_per_step, replayed_per_step=replayed, seed=3, epoch=epoch)
    assert sorted(i for i in order if i < count) == list(range(count))
    steps = -(-count // new_per_step)
    assert len(order) == count + (steps * replayed if memory else 0)


def test_a_step_holds_new_rows_and_then_replayed_ones() -> None:
    order = epoch_order(
        [f"n{i}" for i in range(5)],
        ["x", "y", "z"],
        new_per_step=2,
        replayed_per_step=1,
        seed=0,
        epoch=0,
    )
    assert [index >= 5 for index in order] == [False, False, True, False, False, True, False, True]


def test_the_memory_is_gone_through_evenly_across_epochs() -> None:
    new, old = [f"n{i}" for i in range(6)], ["x", "y", "z"]
    replayed = [
        index
        for epoch in range(3)
        for index in epoch_order(new, old, new_per_step=2, replayed_per_step=2, seed=0, epoch=epoch)
        if index >= 6
    ]
    assert Counter(replayed) == {6: 6, 7: 6, 8: 6}


def test_epochs_differ_in_order() -> None:
    new = [f"n{i}" for i in range(20)]
    first, second = (
        epoch_order(new, [], new_per_step=4, replayed_per_step=0, seed=0, epoch=epoch) for epoch in (0, 1)
    )
    assert first != second


def test_a_later_row_of_the_same_id_is_another_row_unless_its_text_is_the_same() -> None:
    def numbered(text: str) -> list[Row]:
        return [
            Row(str(i), "2026-01-01T00:00:00Z", "correction", f"{text} {i}", "a" if i % 2 else "b")
            for i in range(6)
        ]

    def chosen(*tables: list[Row]) -> int:
        return len(replay_memory(tables, launch_rows=6, month_rows=6, seed=0))

    assert chosen(numbered("x"), numbered("y")) == 12
    assert chosen(numbered("x"), numbered("x")) == 6
