"""The rows of a step come short ones first; which rows a step has does not depend on that."""

import pytest

from pipeline.modeling.batches import Examples
from pipeline.modeling.row_order import EpochOrder, micro_batches
from pipeline.replay import epoch_order


def of_lengths(name: str, *lengths: int) -> Examples:
    ids = tuple(f"{name}{index}" for index in range(len(lengths)))
    return Examples.of_labels(ids, tuple([1] * length for length in lengths), (0,) * len(lengths))


NEW, MEMORY = of_lengths("new", 9, 3, 7, 2, 8, 5, 4), of_lengths("old", 6, 1, 6)


def test_each_step_has_its_own_rows_and_short_ones_first() -> None:
    order = EpochOrder(NEW, MEMORY, new_per_step=3, replayed_per_step=2, seed=4)
    expected = epoch_order(NEW.ids, MEMORY.ids, new_per_step=3, replayed_per_step=2, seed=4, epoch=1)
    order.set_epoch(1)
    found = list(order)
    lengths = [len(ids) for ids in NEW.encoded + MEMORY.encoded]
    assert len(found) == len(order) == len(expected)
    for start in (0, 5, 10):
        step = found[start : start + 5]
        assert sorted(step) == sorted(expected[start : start + 5])
        assert [lengths[row] for row in step] == sorted(lengths[row] for row in step)


@pytest.mark.parametrize(
    ("rows", "device", "count"),
    [(48, "cpu", 3), (32, "cpu", 2), (40, "cpu", 2), (15, "cpu", 1), (48, "cuda", 1)],
)
def test_a_cpu_takes_a_step_in_micro_batches_of_sixteen_rows_or_more(
    rows: int, device: str, count: int
) -> None:
    assert micro_batches(rows, device) == count
