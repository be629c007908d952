"""The EWC penalty: lambda * sum_i W_i (theta_i - theta*_i)^2, with no one-half.

W is the importance: the Fisher diagonal F divided by its mean over the trained parameters (`mean`), or
F itself (`raw`). Sources: Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural
networks", eq. 3, whose form carries a one-half: a paper's lambda is twice ours under `raw`.
"""

from collections.abc import Collection, Mapping
from typing import Literal

import torch
from torch import Tensor

from pipeline.errors import ArtifactCorrupt

Tensors = Mapping[str, Tensor]


def mean_fisher(fisher: Tensors, names: Collection[str]) -> float:
    """Mean of the entries with F > 0 over the named tensors (float64 sums).

    Raises:
        ArtifactCorrupt: when no entry is positive; such a Fisher protects nothing.
    """
    total, count = 0.0, 0
    for name in names:
        total += fisher[name].sum(dtype=torch.float64).item()
        count += int(torch.count_nonzero(fisher[name]))
    if count == 0 or not total > 0.0:
        raise ArtifactCorrupt(
            f"the Fisher has no positive entry over the {len(names)} trained tensors, so it protects nothing. "
            "Run: fisher compute CHECKPOINT --force"
        )
    return total / count


def importance(fisher: Tensors, names: Collection[str], scale: Literal["mean", "raw"]) -> dict[str, Tensor]:
    """The weights W of the penalty for the named tensors, shapes and dtypes as in `fisher`."""
    divisor = mean_fisher(fisher, names) if scale == "mean" else 1.0
    return {name: fisher[name] / divisor for name in names}


def penalty(parameters: Tensors, anchor: Tensors, weights: Tensors, lambda_: float) -> Tensor:
    """lambda * sum_i W_i (theta_i - theta*_i)^2, a scalar; differentiable in `parameters`.

    Args:
        parameters: theta, name to tensor of any shape.
        anchor: theta*, same names and shapes.
        weights: W >= 0, same names and shapes; its names decide what is summed.
        lambda_: the strength, dimensionless.
    """
    terms = [(weights[name] * (parameters[name] - anchor[name]).square()).sum() for name in weights]
    return lambda_ * torch.stack(terms).sum()


@torch.no_grad()
def add_penalty_gradient_(
    parameters: Tensors, anchor: Tensors, weights: Tensors, lambda_: float, *, with_value: bool = False
) -> float | None:
    """Add the penalty's gradient, 2 lambda W (theta - theta*), to each parameter's `.grad` in place.

    Called once per optimizer step, after clipping and after gradients are reduced over processes, so
    that neither accumulation, clipping nor the process count scales it.

    Args:
        with_value: also return the penalty's value at theta (one more pass and a device sync).
    """
    names = list(weights)
    deltas = torch._foreach_sub([parameters[n].detach() for n in names], [anchor[n] for n in names])
    pull = torch._foreach_mul(deltas, [weights[n] for n in names])
    value: float | None = None
    if with_value:
        terms = [
            torch.dot(p.flatten().float(), d.flatten().float()) for p, d in zip(pull, deltas, strict=True)
        ]
        value = lambda_ * float(torch.stack(terms).sum(dtype=torch.float64))
    for name, step in zip(names, pull, strict=True):
        gradient = parameters[name].grad
        if gradient is None:
            parameters[name].grad = (2.0 * lambda_ * step).to(parameters[name].dtype)
        else:
            gradient.add_(step, alpha=2.0 * lambda_)
    return value
