"""In which order rows are learned: a pure function, whatever came before."""

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import Dataset, Sampler
from transformers import TrainerCallback

from pipeline.modeling.batches import Examples
from pipeline.modeling.metrics import steps_per_epoch
from pipeline.replay import epoch_order

MICRO_BATCH = 16
"""Rows of a micro-batch on a CPU, at least: enough to keep a core busy, few enough to be of like length."""


def micro_batches(rows_per_step: int, device_type: str) -> int:
    """How many micro-batches of like length an optimizer step is divided into where the team does not say.

    A GPU takes the step whole. A CPU would spend half its time on padding.
    """
    most = rows_per_step // MICRO_BATCH if device_type == "cpu" else 1
    return max(count for count in range(1, max(most, 1) + 1) if rows_per_step % count == 0)


class IndexedRows(Dataset[dict[str, Any]]):
    """Tokenised rows by position."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"ids": self.examples.encoded[index], "target": self.examples.targets[index], "row": index}


class EpochOrder(Sampler[int]):
    """The order of an epoch: a pure function of seed, epoch, row ids and lengths, whatever came before.

    Within an optimizer step short rows come first, so that its micro-batches hold little padding.
    """

    def __init__(
        self,
        new: Examples,
        memory: Examples,
        *,
        new_per_step: int,
        replayed_per_step: int,
        seed: int,
    ) -> None:
        self.new, self.memory, self.seed, self.epoch = new.ids, memory.ids, seed, 0
        self.lengths = [len(ids) for ids in (*new.encoded, *memory.encoded)]
        self.new_per_step, self.replayed_per_step = new_per_step, replayed_per_step if memory.ids else 0

    @property
    def steps(self) -> int:
        """Optimizer steps in an epoch."""
        return -(-len(self.new) // self.new_per_step)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.new) + self.steps * self.replayed_per_step

    def __iter__(self) -> Iterator[int]:
        order = epoch_order(
            self.new,
            self.memory,
            new_per_step=self.new_per_step,
            replayed_per_step=self.replayed_per_step,
            seed=self.seed,
            epoch=self.epoch,
        )
        rows_per_step = self.new_per_step + self.replayed_per_step
        for start in range(0, len(order), rows_per_step):
            yield from sorted(order[start : start + rows_per_step], key=self.lengths.__getitem__)


class OrderCallback(TrainerCallback):
    """Tells the row order its epoch: the Trainer's own way to it is lost where a resumed epoch is entered."""

    def __init__(self, order: EpochOrder, begun: Callable[[], None]) -> None:
        self.order, self.begun = order, begun

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.begun()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.order.set_epoch(state.global_step // steps_per_epoch(state))
