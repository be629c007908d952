"""What a Fisher computation takes in and gives back, and the sums in between."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.errors import NoInput, TrainingDiverged, UsageError
from pipeline.processes import Processes

Batch = Mapping[str, Tensor]
"""Tokenised examples: `input_ids`, `attention_mask` [B, T] and whatever else the model's forward takes.

`labels` are class ids [B], or token ids [B, T] with -100 ignored; only the empirical estimator reads
their values. `example_keys` [B] int64 name the examples, so that random draws belong to an example
wherever it stands; without them its position in the iteration is its name.
"""

ESTIMATORS = ("auto", "exact", "mc", "lowrank", "empirical")


@dataclass(frozen=True)
class FisherEstimate:
    """The diagonal of the Fisher information, and how it was estimated."""

    diagonal: dict[str, Tensor]
    """Mean over examples, keyed by `named_parameters()` names; float32, or float64 for a float64 model."""
    examples: int
    """How many examples the mean is over."""
    estimator: str
    """`exact`, `mc`, `lowrank` or `empirical`: what was used."""
    reason: str
    """Why `auto` picked it, in one line; empty when the estimator was asked for."""
    draws: int
    """Backward columns per example."""
    trace: float
    """Sum of the whole diagonal."""
    trace_standard_error: float
    """Standard error of the trace, from the spread of the examples' own traces; nan for one example."""
    fallback_parameters: tuple[str, ...]
    """Parameters without a batched rule, which were done one example at a time."""


@dataclass
class FisherSums:
    """Sums over examples, which add up over batches, shards and processes; divided once at the end."""

    squares: dict[str, Tensor]
    examples: int = 0
    traces: float = 0.0
    """Sum over examples of each example's trace."""
    squared_traces: float = 0.0
    """Sum over examples of the square of each example's trace."""

    @classmethod
    def zeros(cls, parameters: Mapping[str, nn.Parameter]) -> FisherSums:
        """Empty sums in the accumulation dtype of each parameter."""
        return cls({name: torch.zeros_like(p, dtype=accumulation_dtype(p)) for name, p in parameters.items()})

    def add_traces(self, traces: Tensor) -> None:
        """Count a batch of examples by their traces [B]."""
        values = traces.double()
        self.examples += len(values)
        self.traces += float(values.sum())
        self.squared_traces += float(values.square().sum())

    def add_over(self, processes: Processes) -> None:
        """Add the sums of all processes, in each of them."""
        device = next((total.device for total in self.squares.values()), torch.device("cpu"))
        counts = torch.tensor(
            [float(self.examples), self.traces, self.squared_traces], dtype=torch.float64, device=device
        )
        processes.sum_([*self.squares.values(), counts])
        examples, self.traces, self.squared_traces = counts.tolist()
        self.examples = int(examples)

    def trace(self) -> tuple[float, float]:
        """The mean trace and its standard error, sqrt(var / N) with the unbiased variance."""
        n = self.examples
        mean = self.traces / n
        if n < 2:
            return mean, math.nan
        variance = max(self.squared_traces - n * mean * mean, 0.0) / (n - 1)
        return mean, math.sqrt(variance / n)

    def estimate(
        self, *, estimator: str, reason: str, draws: int, fallback_parameters: tuple[str, ...]
    ) -> FisherEstimate:
        """Divide by the number of examples, once; the sums are used up.

        Raises:
            NoInput: no example was seen.
            TrainingDiverged: a sum is not finite.
        """
        if self.examples == 0:
            raise NoInput(
                "Fisher: expected at least one example, found none. Run ingest for this month first."
            )
        for name, total in self.squares.items():
            if not math.isfinite(float(total.sum())):  # of non-negative terms, so none cancels
                raise TrainingDiverged(
                    f"Fisher: {name!r} has entries that are infinite or not a number after {self.examples} "
                    "examples. The checkpoint's weights or gradients overflow; use an earlier checkpoint."
                )
        trace, error = self.trace()
        diagonal = {name: total.div_(self.examples) for name, total in self.squares.items()}
        return FisherEstimate(
            diagonal=diagonal,
            examples=self.examples,
            estimator=estimator,
            reason=reason,
            draws=draws,
            trace=trace,
            trace_standard_error=error,
            fallback_parameters=fallback_parameters,
        )


def accumulation_dtype(parameter: Tensor) -> torch.dtype:
    """float64 for a float64 parameter, float32 for every other."""
    return torch.float64 if parameter.dtype == torch.float64 else torch.float32


def wanted_parameters(model: nn.Module, names: Collection[str] | None) -> dict[str, nn.Parameter]:
    """The parameters whose Fisher is asked for, in the model's order; None asks for all of them.

    Raises:
        UsageError: a name is not a parameter of the model.
    """
    available = dict(model.named_parameters())
    if names is None:
        return available
    unknown = sorted(set(names) - set(available))
    if unknown:
        raise UsageError(
            f"Fisher: the model has no parameter {unknown[0]!r} ({len(unknown)} unknown in all); "
            f"it has {len(available)}, such as {next(iter(available), 'none')!r}."
        )
    chosen = set(names)
    return {name: parameter for name, parameter in available.items() if name in chosen}
