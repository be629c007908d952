"""The Fisher over several processes: each takes its share, the sums are added, the division happens once."""

from collections.abc import Collection, Iterable
from math import sqrt

import torch
import torch.distributed as dist
from torch import nn

from pipeline.ewc.fisher.choice import EstimatorChoice
from pipeline.ewc.fisher.engine import accumulate, requested
from pipeline.ewc.fisher.estimate import Batch, FisherEstimate, FisherSums
from pipeline.progress import Advance

_KEYS_PER_PROCESS = 1 << 40


def fisher_diagonal_over_processes(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    estimator: str = "auto",
    draws: int | None = None,
    parameters: Collection[str] | None = None,
    seed: int = 0,
    autocast_dtype: torch.dtype | None = None,
    stop_at_relative_error: float | None = None,
    advance: Advance | None = None,
) -> FisherEstimate:
    """`fisher_diagonal` over the shares of all processes of the default group.

    F = (sum over processes of their sums of squares) / (sum over processes of their example counts):
    every example counts the same, however unevenly they are dealt out. With `example_keys` in the
    batches the result is that of one process up to rounding; without them, an example is named by its
    process and its position there. Without a process group it is `fisher_diagonal`.

    Args:
        model: the same weights in every process.
        batches: this process's share, which may be empty.
        estimator, draws, parameters, seed, autocast_dtype, advance: as for `fisher_diagonal`; `auto`
            is decided by the first process that has an example.
        stop_at_relative_error: as for `fisher_diagonal`, of the whole; each process stops by itself,
            at this error times the square root of their number.

    Returns:
        The same estimate in every process.

    Raises:
        NoInput: no process has an example; otherwise as `fisher_diagonal`.
    """
    together = dist.is_available() and dist.is_initialized()
    processes, rank = (dist.get_world_size(), dist.get_rank()) if together else (1, 0)
    error = None if stop_at_relative_error is None else stop_at_relative_error * sqrt(processes)
    sums, choice, fallback = accumulate(
        model,
        batches,
        choice=requested(estimator, draws),
        draws=draws,
        parameters=parameters,
        seed=seed,
        first_key=rank * _KEYS_PER_PROCESS,
        autocast_dtype=autocast_dtype,
        stop_at_relative_error=error,
        advance=advance,
        agree=_first_with_examples if together else None,
    )
    if together:
        fallback = _union(fallback, sums)
        _add_over_processes(sums)
    return sums.estimate(
        estimator=choice.estimator, reason=choice.reason, draws=choice.draws, fallback_parameters=fallback
    )


def _first_with_examples(choice: EstimatorChoice | None) -> EstimatorChoice | None:
    choices: list[EstimatorChoice | None] = [None] * dist.get_world_size()
    dist.all_gather_object(choices, choice)
    return next((made for made in choices if made is not None), None)


def _union(fallback: tuple[str, ...], sums: FisherSums) -> tuple[str, ...]:
    everyones: list[tuple[str, ...]] = [()] * dist.get_world_size()
    dist.all_gather_object(everyones, fallback)
    found = {name for names in everyones for name in names}
    return tuple(name for name in sums.squares if name in found)


def _add_over_processes(sums: FisherSums) -> None:
    for total in sums.squares.values():
        dist.all_reduce(total)
    device = next((total.device for total in sums.squares.values()), torch.device("cpu"))
    counts = torch.tensor(
        [float(sums.examples), sums.traces, sums.squared_traces],
        dtype=torch.float64,
        device=device,
    )
    dist.all_reduce(counts)
    examples, sums.traces, sums.squared_traces = counts.tolist()
    sums.examples = int(examples)
