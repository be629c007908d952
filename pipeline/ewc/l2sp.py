"""L2-SP: every weight is held alike, towards where it started."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.ewc.growth import aligned_rows


def equal_importance(
    champion: Mapping[str, tuple[int, ...]], anchor: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """W = 1 for every weight that the champion had, 0 for head rows that are new; no memory where nothing grew.

    The penalty is then lambda * |theta - theta*|^2. Source: Li, Grandvalet, Davoine 2018, "Explicit inductive
    bias for transfer learning with convolutional networks", eq. 2, whose alpha is twice our lambda.

    Args:
        champion: name to shape before the head grew.
        anchor: theta*, name to tensor; decides names, shapes, dtypes and devices.
    """
    weights = {}
    for name, tensor in anchor.items():
        one, shape = torch.ones((), dtype=tensor.dtype, device=tensor.device), tuple(tensor.shape)
        before = {name: one.expand(champion[name])}
        weights[name] = aligned_rows(before, {name: shape}, where="the champion")[name]
    return weights
