"""The processes that work on one command together: who leads, who does which share, and how results are put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Item = TypeVar("Item")


class Processes(Protocol):
    """One process's view of the group that it works in.

    To write your own, for another launcher, give these: all processes call `gather`, `sum_` and `wait` in the same order,
    and each call returns when all have called it. Only the leader may lock, write artifacts, and tell the journal.
    """

    @property
    def rank(self) -> int:
        """Which process this is, 0 to count - 1."""
        ...

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes."""
        ...

    def share(self, items: Sequence[Item]) -> list[Item]:
        """This process's share, dealt out in turn; empty where there are more processes than items."""
        ...

    def gather(self, value: Item) -> list[Item]:
        """Every process's value, by rank, in every process: to agree on one."""
        ...

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        ...

    def wait(self) -> None:
        """Return when every process has come here."""
        ...


@dataclass(frozen=True)
class Alone:
    """A single process: nothing to share, to put together or to wait for."""

    rank: int = 0
    count: int = 1
    leads: bool = True

    def share(self, items: Sequence[Item]) -> list[Item]:
        return list(items)

    def gather(self, value: Item) -> list[Item]:
        return [value]

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        pass

    def wait(self) -> None:
        pass


ALONE = Alone()


@dataclass(frozen=True)
class Grouped:
    """A process of torch's default group, which a launcher such as torchrun has made."""

    rank: int
    count: int

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        return list(items[self.rank :: self.count])

    def gather(self, value: Item) -> list[Item]:
        import torch.distributed as dist

        values: list[Item] = [value] * self.count
        dist.all_gather_object(values, value)
        return values

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        import torch.distributed as dist

        for tensor in tensors:
            dist.all_reduce(tensor)

    def wait(self) -> None:
        import torch.distributed as dist

        dist.barrier()


def joined(device_type: str) -> Processes:
    """The group that a launcher started this process in; `ALONE` where none did.

    Args:
        device_type: `cpu` or `cuda`, where the work is done: it decides how the processes talk to each other.
    """
    from accelerate import PartialState

    state = PartialState(cpu=device_type == "cpu")
    return ALONE if state.num_processes == 1 else Grouped(state.process_index, state.num_processes)
