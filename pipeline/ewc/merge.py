"""Fishers of several months in one: the online form."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.ewc.growth import aligned_rows


def merge_online(
    older: Mapping[str, Tensor],
    latest: Mapping[str, Tensor],
    gamma: float,
    *,
    where: str = "the older Fisher",
) -> dict[str, Tensor]:
    """gamma * F_older + F_latest, where the older one is aligned to a head that may have grown since.

    Each month's Fisher is a mean over its examples, so with gamma = 1 every month weighs the same,
    whatever its number of rows. Source: Schwarz et al. 2018, "Progress & Compress", section 2.2, eq. 7-9;
    Huszar 2018, "Note on the quadratic penalties in elastic weight consolidation".

    Args:
        older: name to tensor; a first dimension may be smaller than in `latest`.
        latest: name to tensor; decides names, shapes and dtypes of the result.
        gamma: 0 < gamma <= 1, the share of the older months' Fisher that is kept.

    Raises:
        ArtifactCorrupt: when names or shapes cannot be aligned.
    """
    aligned = aligned_rows(older, {name: tuple(tensor.shape) for name, tensor in latest.items()}, where=where)
    return {name: torch.add(tensor, aligned[name].to(tensor), alpha=gamma) for name, tensor in latest.items()}
