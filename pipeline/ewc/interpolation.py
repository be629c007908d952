"""Weights between the anchor and the candidate: theta* + alpha (theta - theta*).

Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (WiSE-FT), eq. 1.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]


def alphas(steps: int) -> tuple[float, ...]:
    """1/steps, 2/steps, ..., 1."""
    return tuple(step / steps for step in range(1, steps + 1))


@torch.no_grad()
def interpolate_(parameters: Tensors, anchor: Tensors, candidate: Tensors, alpha: float) -> None:
    """Put theta* + alpha (theta - theta*) into `parameters`, in place; 1 gives the candidate bit for bit.

    Args:
        parameters: name to tensor, changed.
        anchor: theta*, with the same shapes at least for the candidate's names.
        candidate: theta; its names decide what is changed.
    """
    for name, theta in candidate.items():
        parameters[name].copy_(torch.lerp(anchor[name], theta, alpha))


def best_alpha(losses: Mapping[float, tuple[float, float]]) -> float:
    """The alpha whose losses on earlier and new rows have the lowest sum; of equals the largest.

    Args:
        losses: alpha to the mean loss of the earlier months' validation rows and of the new month's, nats.
    """
    return max(losses, key=lambda alpha: (-sum(losses[alpha]), alpha))
