"""The slow, plain way, to hold the engine against: one unpadded example at a time, ordinary autograd."""

from collections.abc import Collection, Iterable, Iterator

import torch
from torch import Tensor, nn

from pipeline.ewc.fisher.columns import Scored, columns, drawn_labels
from pipeline.ewc.fisher.estimate import Batch, FisherEstimate, FisherSums, wanted_parameters
from pipeline.ewc.fisher.examples import (
    forward_logits,
    is_encoder_decoder,
    named_examples,
    scored_logits,
    single_examples,
)
from pipeline.ewc.fisher.prepared import prepared


def fisher_diagonal_by_loop(
    model: nn.Module,
    examples: Iterable[Batch],
    *,
    estimator: str = "exact",
    draws: int = 1,
    parameters: Collection[str] | None = None,
    seed: int = 0,
) -> FisherEstimate:
    """The diagonal Fisher by its definition: for each example and label, square the gradient of log p.

    Args:
        model: as for `fisher_diagonal`.
        examples: batches of any size, taken apart.
        estimator: `exact` sums over all classes weighted by p, `mc` averages over the same drawn labels
            as the engine, `empirical` takes the given labels, `lowrank` the engine's columns.
        draws: labels or columns.
        parameters: names to restrict to.
        seed: of the draws.

    Returns:
        The estimate, accumulated as the engine's is.
    """
    wanted = wanted_parameters(model, parameters)
    sums = FisherSums.zeros(wanted)
    leaves = list(wanted.values())
    with prepared(model):
        for parameter in leaves:
            parameter.requires_grad_(True)
        for batch in named_examples(examples, model):
            for one in single_examples(batch, labels_follow_input=not is_encoder_decoder(model)):
                logits = forward_logits(model, one)
                trace = torch.zeros(1, dtype=torch.float64)
                for weight, objective in _objectives(
                    scored_logits(model, one, logits), estimator, draws, seed
                ):
                    found = torch.autograd.grad(objective, leaves, retain_graph=True, allow_unused=True)
                    for name, gradient in zip(wanted, found, strict=True):
                        if gradient is not None:
                            square = gradient.to(sums.squares[name].dtype).square() * weight
                            sums.squares[name].add_(square)
                            trace += square.sum().cpu()
                sums.add_traces(trace)
    return sums.estimate(estimator=estimator, reason="", draws=draws, fallback_parameters=tuple(wanted))


def _objectives(scored: Scored, estimator: str, draws: int, seed: int) -> Iterator[tuple[float, Tensor]]:
    """Scalars whose squared gradients, times their weights, add up to the example's Fisher."""
    log_p = scored.logits.log_softmax(-1)
    if estimator == "exact":
        for position in scored.mask[0].nonzero().flatten().tolist():
            for label in range(log_p.shape[-1]):
                yield float(log_p[0, position, label].detach().exp()), log_p[0, position, label]
    elif estimator == "lowrank":
        for column in columns(scored, estimator, draws, seed):
            yield 1.0, (scored.logits * column).sum()
    else:
        for draw in range(draws if estimator == "mc" else 1):
            labels = drawn_labels(scored, draw, seed) if estimator == "mc" else scored.labels
            assert labels is not None, "the empirical estimator needs labels"
            chosen = log_p.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
            yield 1.0 / (draws if estimator == "mc" else 1), (chosen * scored.mask).sum()
