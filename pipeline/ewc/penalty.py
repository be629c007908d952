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


def raw_lambda(
    fisher: Tensors, names: Collection[str], scale: Literal["mean", "raw"], lambda_: float
) -> float:
    """The strength that does with F itself what `lambda_` does with W: lambda / mean F, or lambda under `raw`."""
    return lambda_ / mean_fisher(fisher, names) if scale == "mean" else lambda_


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
