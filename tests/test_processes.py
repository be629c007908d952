"""The seam of processes: alone, and two that a launcher started."""

import time
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch.multiprocessing.spawn import spawn

from pipeline.processes import ALONE, Grouped, joined


@given(st.integers(0, 9), st.integers(1, 4))
def test_shares_are_disjoint_and_complete(items: int, processes: int) -> None:
    shares = [Grouped(rank, processes).share(range(items)) for rank in range(processes)]
    assert sorted(item for share in shares for item in share) == list(range(items))


def test_alone_is_the_leader_and_has_all() -> None:
    total = torch.ones(2)
    ALONE.sum_([total])
    ALONE.wait()
    assert (ALONE.leads, ALONE.share([1, 2]), ALONE.gather("x")) == (True, [1, 2], ["x"])
    assert total.tolist() == [1.0, 1.0]


def test_without_a_launcher_a_process_is_alone() -> None:
    assert joined("cpu") is ALONE


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    group = Grouped(rank, 2)
    one, two = torch.full((3,), float(rank + 1)), torch.tensor([10.0 * rank])
    group.sum_([one, two])
    if not group.leads:
        time.sleep(0.5)
    arrived = time.time()
    group.wait()
    found = {
        "leads": group.leads,
        "share": group.share("abc"),
        "gathered": group.gather({"rank": rank}),
        "sums": [one.tolist(), two.tolist()],
        "arrived": arrived,
        "left": time.time(),
    }
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("group")
    spawn(_work, args=(str(folder),), nprocs=2)  # type: ignore[no-untyped-call]
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def test_one_of_two_leads_and_each_has_its_share(two: list[dict[str, Any]]) -> None:
    assert [found["leads"] for found in two] == [True, False]
    assert [found["share"] for found in two] == [["a", "c"], ["b"]]


def test_sums_and_values_of_all_reach_each(two: list[dict[str, Any]]) -> None:
    for found in two:
        assert found["sums"] == [[3.0, 3.0, 3.0], [10.0]]
        assert found["gathered"] == [{"rank": 0}, {"rank": 1}]


def test_none_goes_on_before_all_have_come(two: list[dict[str, Any]]) -> None:
    assert min(found["left"] for found in two) >= max(found["arrived"] for found in two)
