"""What may interrupt a training run from outside: signals that ask it to stop, and memory that runs out."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

import torch

from pipeline.errors import BadConfig

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class DeferredSignals:
    """Inside, the first SIGTERM or SIGINT is noted instead of obeyed; a second one ends the process at once.

    Attributes:
        signum: the signal that was noted, None for none.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> DeferredSignals:
        # Python lets only the main thread handle signals; elsewhere they are the caller's business
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the accelerator or the machine has no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "DefaultCPUAllocator: can't allocate memory" in text
        or "DefaultCPUAllocator: not enough memory" in text
    )


def more_accumulation(rows_per_step: int, accumulation: int) -> int:
    """The accumulation that at least doubles the present one and divides the rows of an optimizer step.

    Args:
        rows_per_step: rows of an optimizer step, N > 0.
        accumulation: micro-batches that they are now divided into.

    Raises:
        BadConfig: the micro-batches hold single rows already.
    """
    for count in range(2 * accumulation, rows_per_step + 1):
        if rows_per_step % count == 0:
            return count
    raise BadConfig(
        f"out of memory with micro-batches of {rows_per_step // accumulation} row(s), which cannot be halved "
        "again. Lower model.max_length or train.batch_size, train fewer layers (train.layers), or use a device "
        "with more memory"
    )
