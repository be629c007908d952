"""One pass over rows for a checkpoint's Fisher: what is read, in which precision, in batches of which size."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Config
from pipeline.errors import NoInput, UsageError
from pipeline.processes import Processes, joined
from pipeline.progress import Progress
from pipeline.rows import Row
from pipeline.sampling import seeded_sample

if TYPE_CHECKING:
    import torch

    from pipeline.ewc.fisher import Batch, FisherEstimate
    from pipeline.modeling.batches import Examples
    from pipeline.modeling.tasks import Learner, Task

_SHARE_FOR_ACTIVATIONS = 0.5
"""Of the memory that is free beside the sums; the rest is for what the backward makes on its way."""

logger = logging.getLogger("retrain")


@dataclass(frozen=True)
class FisherSettings:
    """What decides a Fisher besides checkpoint and data; see the configuration for the meanings.

    By hand also: `pattern` restricts to parameters whose name it matches (as in a shell), and
    `until_stable` stops once the trace's standard error is at most this share of it (0: never).
    """

    estimator: str
    samples: int
    seed: int
    layers: str
    max_length: int
    precision: str = "fp32"
    months: str = "latest"
    gamma: float = 1.0
    pattern: str = "*"
    until_stable: float = 0.0

    @classmethod
    def of(cls, config: Config) -> FisherSettings:
        """The settings of a workspace."""
        return cls(
            estimator=config.fisher.estimator,
            samples=config.fisher.samples,
            seed=config.seed,
            layers=config.train.layers,
            max_length=config.model.max_length,
            precision=config.fisher.precision,
            months=config.ewc.months,
            gamma=config.ewc.gamma,
        )


@dataclass(frozen=True)
class FisherPass:
    """An estimate, and how its pass went."""

    estimate: FisherEstimate
    division: str
    """What the sums were divided by."""
    precision: str
    """`fp32` or `bf16`."""
    batch_tokens: int
    """Upper limit on a batch's tokens, padding included."""
    processes: Processes
    """That shared the work, of which the leader alone is to write."""


@dataclass(frozen=True)
class _Subject:
    """A model and its tokenised rows, and what its task decides."""

    task: Task
    learner: Learner
    examples: Examples
    estimator: str
    draws: int | None
    reason: str

    def batches(self, examples: Examples, **options: int) -> Iterator[Batch]:
        from pipeline.modeling.batches import keyed_batches

        return keyed_batches(self.learner.tokenizer, examples, **options)


def estimate_fisher(
    checkpoint: Path, rows: Sequence[Row], settings: FisherSettings, *, device: str, progress: Progress
) -> FisherPass:
    """The Fisher diagonal of a checkpoint's trained parameters, averaged over at most `samples` of the rows.

    Where a launcher started several processes, each takes its share of the batches, and all get the whole result.
    Batches have a fixed size, so that equal calls give equal bits; it is halved only where memory is too small for it.

    Raises:
        NoInput: without rows. ArtifactCorrupt: when a label is not one of the checkpoint's.
        BadData: when a text gives a language model nothing to predict.
        UsageError: when the pattern matches no trained parameter, a language model is asked for an estimator
            that is not for it, or a single text does not fit into memory.
    """
    from pipeline.modeling.device import autocast_dtype, choose_device
    from pipeline.modeling.tasks import task_of
    from pipeline.modeling.trained import trained_by

    if not rows:
        raise NoInput(
            f"{checkpoint}: the Fisher needs the rows that it was trained on, found none. Give --data FILE"
        )
    task = task_of(checkpoint)
    estimator, draws, reason = task.estimator(settings.estimator, checkpoint)
    learner = task.load(checkpoint)
    task.require(learner, rows)
    sample = seeded_sample(rows, settings.samples, seed=settings.seed, purpose="fisher")
    examples = task.encoded(learner, sample, settings.max_length)
    subject = _Subject(task, learner, examples, estimator, draws, reason)
    chosen = choose_device(device)
    subject.learner.model.to(chosen)
    trained = trained_by(settings.layers).weights(subject.learner.model)
    parameters = [name for name in trained if fnmatchcase(name, settings.pattern)]
    if not parameters:
        raise UsageError(
            f"--layers {settings.pattern}: matches none of the {len(trained)} trained parameters"
            f"{f', such as {trained[0]}' if trained else ''} (train.layers: {settings.layers})"
        )
    processes = joined(chosen.type)
    dtype = autocast_dtype(settings.precision, chosen)
    estimate, batch_tokens = _fitted(subject, parameters, settings, processes, chosen, dtype, progress)
    return FisherPass(
        estimate=estimate,
        division=subject.task.division,
        precision="fp32" if dtype is None else "bf16",
        batch_tokens=batch_tokens,
        processes=processes,
    )


def _fitted(
    subject: _Subject,
    parameters: Sequence[str],
    settings: FisherSettings,
    processes: Processes,
    device: torch.device,
    dtype: torch.dtype | None,
    progress: Progress,
) -> tuple[FisherEstimate, int]:
    """The estimate, and the tokens of the batches with which it fitted into memory.

    Several processes agree on the size beforehand. One that runs out of memory cannot start again by itself,
    because the others wait for its sums.
    """
    from pipeline.modeling.batches import MOST_TOKENS
    from pipeline.modeling.interruption import is_out_of_memory

    longest = max(len(ids) for ids in subject.examples.encoded)
    tokens, fits = MOST_TOKENS, _tokens_that_fit(subject, parameters, processes, device, dtype)
    while tokens > max(fits, longest):
        tokens //= 2
    if tokens < MOST_TOKENS:
        logger.warning(
            "fisher: about %d tokens fit into memory at once; batches of %d instead of %d",
            fits,
            tokens,
            MOST_TOKENS,
        )
    while True:
        try:
            return _estimate(subject, parameters, settings, processes, dtype, tokens, progress), tokens
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or processes.count > 1:
                raise
        # outside of the except clause, whose traceback holds the tensors
        if tokens <= longest:
            raise UsageError(
                f"fisher: out of memory with a single text of {longest} tokens. Lower model.max_length, take fewer "
                "parameters (--layers PATTERN), or use a device with more memory"
            )
        tokens //= 2
        logger.warning("fisher: out of memory; begins again with batches of %d tokens", tokens)


def _tokens_that_fit(
    subject: _Subject,
    parameters: Sequence[str],
    processes: Processes,
    device: torch.device,
    dtype: torch.dtype | None,
) -> int:
    """Tokens whose activations fit beside the sums, measured on the longest text; the least of all processes."""
    from pipeline.ewc.fisher import activation_bytes, tokens_that_fit
    from pipeline.modeling.batches import MOST_TOKENS
    from pipeline.modeling.memory import free_bytes

    whole = subject.examples
    at = max(range(len(whole)), key=lambda index: len(whole.encoded[index]))
    one = whole.at([at])
    free = free_bytes(device)
    fits = MOST_TOKENS
    if free is not None:
        wanted = set(parameters)
        sums = sum(4 * p.numel() for name, p in subject.learner.model.named_parameters() if name in wanted)
        batch = next(subject.batches(one, seed=0))
        held = activation_bytes(subject.learner.model, batch, parameters=parameters, autocast_dtype=dtype)
        fits = tokens_that_fit(
            int(_SHARE_FOR_ACTIVATIONS * max(free - sums, 0)), bytes_per_token=-(-held // len(one.encoded[0]))
        )
    return min(processes.gather(fits))


def _estimate(
    subject: _Subject,
    parameters: Sequence[str],
    settings: FisherSettings,
    processes: Processes,
    dtype: torch.dtype | None,
    tokens: int,
    progress: Progress,
) -> FisherEstimate:
    from dataclasses import replace

    from pipeline.ewc.fisher import fisher_diagonal

    batches = list(subject.batches(subject.examples, seed=settings.seed, max_tokens=tokens))
    with progress("fisher", len(subject.examples), "example") as advance:
        estimate = fisher_diagonal(
            subject.learner.model,
            processes.share(batches),
            estimator=subject.estimator,
            draws=subject.draws,
            parameters=parameters,
            seed=settings.seed,
            autocast_dtype=dtype,
            stop_at_relative_error=settings.until_stable or None,
            advance=advance,
            processes=processes,
        )
    return replace(estimate, reason=subject.reason or estimate.reason)
