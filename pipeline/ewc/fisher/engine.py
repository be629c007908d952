"""The diagonal Fisher of a model, per example, at about the cost of one batched forward and backward."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from math import sqrt

import torch
from torch import nn

from pipeline.errors import UsageError
from pipeline.ewc.fisher.capture import Capture
from pipeline.ewc.fisher.choice import EstimatorChoice, asked_for, chosen
from pipeline.ewc.fisher.columns import column_count, columns
from pipeline.ewc.fisher.estimate import ESTIMATORS, Batch, FisherEstimate, FisherSums, wanted_parameters
from pipeline.ewc.fisher.examples import batch_size, forward_logits, named_examples, scored_logits
from pipeline.ewc.fisher.fallback import add_one_at_a_time, disagreeing, forward_hooked
from pipeline.ewc.fisher.prepared import prepared
from pipeline.processes import ALONE, Processes
from pipeline.progress import Advance

_FEWEST_BEFORE_STOPPING = 64
_KEYS_PER_PROCESS = 1 << 40
"""Names of examples that a process may give, where the batches name none."""


def fisher_diagonal(
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
    processes: Processes = ALONE,
) -> FisherEstimate:
    """Estimate the diagonal of the Fisher information of the model's predictions.

    F_i = mean over examples x of E_{y ~ p(.|x)} [(d log p(y|x) / d theta_i)^2], each example's gradient
    squared on its own. A sequence of a language model is one example, its log-probability the sum over
    its scored tokens given the text before them.

    Args:
        model: gives logits [B, C] or [B, T, C]; unchanged afterwards, whatever happens.
        batches: tokenised examples, padded anyhow; their order and grouping change only the rounding.
        estimator: `exact`, `mc` (labels drawn from p), `lowrank` (leading eigen-columns and a random
            rest), `empirical` (the given labels) or `auto`.
        draws: labels for `mc`, columns for `lowrank`; None picks.
        parameters: names to restrict to; None takes all, trainable or not.
        seed: of all draws, which also depend on the example alone.
        autocast_dtype: bfloat16 for a mixed-precision forward; sums stay float32.
        stop_at_relative_error: stop once the trace's standard error is at most this share of the trace;
            the batches must then come in random order.
        advance: told after every batch.
        processes: that share the work, each with the same weights and batches of its own, which may be none. Every example
            counts the same, however unevenly they are dealt out; with `example_keys` in the batches the result is that of
            one process up to rounding, without them an example is named by its process and its position there. Each
            stops early by itself, at the relative error times the square root of their number.

    Returns:
        The estimate, on the model's device; the same in every process.

    Raises:
        UsageError: an unknown estimator or parameter, or a model that gives no class logits.
        NoInput: no process has an example.
        TrainingDiverged: logits or sums that are not finite.

    Source: Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks"; on the
    empirical form, Kunstner et al. 2019, "Limitations of the empirical Fisher approximation".
    """
    error = None if stop_at_relative_error is None else stop_at_relative_error * sqrt(processes.count)
    sums, choice, fallback = _accumulate(
        model,
        batches,
        choice=requested(estimator, draws),
        draws=draws,
        parameters=parameters,
        seed=seed,
        autocast_dtype=autocast_dtype,
        stop_at_relative_error=error,
        advance=advance,
        processes=processes,
    )
    if processes.count > 1:
        everyones = {name for names in processes.gather(fallback) for name in names}
        fallback = tuple(name for name in sums.squares if name in everyones)
        sums.add_over(processes)
    return sums.estimate(
        estimator=choice.estimator, reason=choice.reason, draws=choice.draws, fallback_parameters=fallback
    )


def _accumulate(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    choice: EstimatorChoice | None,
    draws: int | None,
    parameters: Collection[str] | None,
    seed: int,
    autocast_dtype: torch.dtype | None,
    stop_at_relative_error: float | None,
    advance: Advance | None,
    processes: Processes,
) -> tuple[FisherSums, EstimatorChoice, tuple[str, ...]]:
    """This process's part of `fisher_diagonal`: the sums, the choice, and the parameters without a rule.

    Args:
        choice: estimator and draws; None has the first process that has an example choose on its first batch.

    With no examples the sums are empty.
    """
    wanted = wanted_parameters(model, parameters)
    sums = FisherSums.zeros(wanted)
    capture = Capture(model, wanted, set())
    with prepared(model), capture.hooked():
        stream = named_examples(batches, model, processes.rank * _KEYS_PER_PROCESS)
        first = next(stream, None)
        if choice is None:
            choice = None if first is None else choose(model, capture, first, draws)
            choice = next((made for made in processes.gather(choice) if made is not None), None)
        if first is None or choice is None:
            return sums, choice or EstimatorChoice("none", 0), ()
        capture.fallback.update(disagreeing(model, wanted, capture, first, seed=seed, scratch=sums))
        work = _Pass(model, wanted, capture, choice, seed, autocast_dtype)
        for batch in chain([first], stream):
            work.add(batch, sums)
            if advance is not None:
                advance(batch_size(batch))
            if stop_at_relative_error is not None and _settled(sums, stop_at_relative_error):
                break
        return sums, choice, tuple(name for name in wanted if name in capture.fallback)


def choose(model: nn.Module, capture: Capture, batch: Batch, draws: int | None) -> EstimatorChoice:
    """What `auto` means for this model, judged on one batch."""
    capture.begin(0)
    with torch.no_grad():
        logits = forward_logits(model, batch)
    return chosen(scored_logits(model, batch, logits), draws)


def requested(estimator: str, draws: int | None) -> EstimatorChoice | None:
    """What was asked for; None leaves it to `choose`.

    Raises:
        UsageError: there is no such estimator.
    """
    if estimator not in ESTIMATORS:
        raise UsageError(f"Fisher: expected an estimator of {', '.join(ESTIMATORS)}, found {estimator!r}.")
    return None if estimator == "auto" else asked_for(estimator, draws)


@dataclass(frozen=True)
class _Pass:
    """What stays the same from batch to batch."""

    model: nn.Module
    wanted: Mapping[str, nn.Parameter]
    capture: Capture
    choice: EstimatorChoice
    seed: int
    autocast_dtype: torch.dtype | None

    def add(self, batch: Batch, sums: FisherSums) -> None:
        """One forward, a backward for each column, and the parameters without a rule after that."""
        estimator, draws = self.choice.estimator, self.choice.draws
        logits = forward_hooked(self.model, self.capture, batch, self.autocast_dtype)
        scored = scored_logits(self.model, batch, logits)
        traces = torch.zeros(len(logits), dtype=torch.float64, device=logits.device)
        count = column_count(estimator, draws, *scored.logits.shape[1:])
        for index, column in enumerate(columns(scored, estimator, draws, self.seed), start=1):
            self.capture.backward(
                logits, column.reshape(logits.shape), last=index == count, sums=sums, traces=traces
            )
        left = {name: p for name, p in self.wanted.items() if name in self.capture.fallback}
        if left:
            self.capture.begin(0)
            add_one_at_a_time(
                self.model,
                left,
                batch,
                estimator=estimator,
                draws=draws,
                seed=self.seed,
                sums=sums,
                traces=traces,
                autocast_dtype=self.autocast_dtype,
            )
        sums.add_traces(traces)


def _settled(sums: FisherSums, relative_error: float) -> bool:
    if sums.examples < _FEWEST_BEFORE_STOPPING:
        return False
    trace, error = sums.trace()
    return error <= relative_error * trace
