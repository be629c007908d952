"""Which rows push hardest against what the old months need: one gradient a row, weighed with the Fisher."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.modeling.batches import Examples, pad
from pipeline.modeling.task import Learner
from pipeline.progress import Advance


@dataclass(frozen=True)
class Push:
    """One row's gradient g of its loss, at the weights that the month starts from.

    A gradient step of size eta on this row alone moves the weights by eta g, which should raise the old
    months' loss by 1/2 eta^2 sum F g^2: `push` is that sum with F over its mean, so that it has no units
    of the model.

    Attributes:
        row: position among the examples.
        id: of the row.
        loss: cross-entropy in nats.
        push: sum_i W_i g_i^2.
        concentration: push / sum_i g_i^2, the mean W of the weights that the row pulls at: 1 on average
            weights, more on protected ones.
    """

    row: int
    id: str
    loss: float
    push: float
    concentration: float


def pushes(
    classifier: Learner, examples: Examples, weights: Mapping[str, Tensor], *, advance: Advance
) -> list[Push]:
    """Every example's push, the hardest first; the model is as it was afterwards, dropout is off.

    Args:
        classifier: at the weights that the month starts from, its head grown.
        examples: N rows.
        weights: W >= 0, name to tensor; its names decide which gradients count.
        advance: told after each row.
    """
    model: Any = classifier.model
    named = {name: parameter for name, parameter in model.named_parameters() if name in weights}
    required = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    was_training = model.training
    found = []
    try:
        model.eval()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in named)
        for row, (encoded, label) in enumerate(zip(examples.encoded, examples.label_ids, strict=True)):
            batch = {k: v.to(model.device) for k, v in pad(classifier.tokenizer, [encoded]).items()}
            loss = F.cross_entropy(model(**batch).logits.float(), torch.tensor([label], device=model.device))
            gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
            push, length = _sums(dict(zip(named, gradients, strict=True)), weights)
            found.append(
                Push(row, examples.ids[row], float(loss.detach()), push, push / length if length else 0.0)
            )
            advance(1)
    finally:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(required[name])
        model.train(was_training)
    return sorted(found, key=lambda item: (-item.push, item.id))


def _sums(gradients: Mapping[str, Tensor | None], weights: Mapping[str, Tensor]) -> tuple[float, float]:
    """sum W g^2 and sum g^2."""
    push, length = 0.0, 0.0
    for name, gradient in gradients.items():
        if gradient is not None:
            square = gradient.float().square()
            push += float((weights[name] * square).sum())
            length += float(square.sum())
    return push, length
