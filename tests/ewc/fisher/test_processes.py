"""Several processes equal one."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from pipeline.errors import NoInput
from pipeline.ewc.fisher import fisher_diagonal
from pipeline.processes import ALONE, Grouped

from .samples import CLASSES, VOCABULARY, largest_difference, texts

BATCHES = [texts([5, 3], first_key=0), texts([4, 4], seed=1, first_key=2), texts([6], seed=2, first_key=4)]
COUNTS = (3, 1, 0)


class Bag(nn.Module):
    """A mean of embeddings and two layers; nothing that a new process is slow to import."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 6)
        self.hidden = nn.Linear(6, 8)
        self.classifier = nn.Linear(8, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.unsqueeze(-1)
        mean = (self.hidden(self.embedding(input_ids)).tanh() * mask).sum(1) / mask.sum(1)
        return self.classifier(mean)  # type: ignore[no-any-return]


def small_model() -> Bag:
    """The same weights in every process."""
    torch.manual_seed(0)
    return Bag().double()


def _work(rank: int, processes: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=processes)
    group = Grouped(rank, processes)
    for count in COUNTS:
        found: Any
        try:
            found = fisher_diagonal(small_model(), group.share(BATCHES[:count]), processes=group)
        except NoInput as error:
            found = error
        torch.save(found, f"{folder}/{count}-{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def from_two_processes(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Any]]:
    """What each of two processes found, by the number of batches dealt out."""
    folder = tmp_path_factory.mktemp("processes")
    spawn(_work, args=(2, str(folder)), nprocs=2)  # type: ignore[no-untyped-call]
    return {
        count: [torch.load(folder / f"{count}-{rank}.pt", weights_only=False) for rank in range(2)]
        for count in COUNTS
    }


@pytest.mark.parametrize("count", [3, 1])
def test_two_processes_equal_one_even_if_one_has_no_examples(
    count: int, from_two_processes: dict[int, list[Any]]
) -> None:
    alone = fisher_diagonal(small_model(), BATCHES[:count])
    for found in from_two_processes[count]:
        assert largest_difference(found.diagonal, alone.diagonal) <= 1e-12
        assert (found.examples, found.estimator, found.draws) == (
            alone.examples,
            alone.estimator,
            alone.draws,
        )
        assert found.trace == pytest.approx(alone.trace, rel=1e-12)
        assert found.trace_standard_error == pytest.approx(alone.trace_standard_error, rel=1e-9)
        assert "5 classes" in found.reason


def test_no_examples_anywhere_is_an_error_everywhere(from_two_processes: dict[int, list[Any]]) -> None:
    assert [type(found) for found in from_two_processes[0]] == [NoInput, NoInput]


def test_a_group_of_one_is_the_plain_function() -> None:
    alone = fisher_diagonal(small_model(), BATCHES, estimator="exact")
    same = fisher_diagonal(small_model(), ALONE.share(BATCHES), estimator="exact", processes=ALONE)
    assert largest_difference(same.diagonal, alone.diagonal) == 0
