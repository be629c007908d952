"""A penalty of each month around its own optimum, collapsed into one."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from pipeline.ewc.growth import aligned_rows

Tensors = Mapping[str, Tensor]


def collapsed(
    months: Iterable[tuple[Tensors, Tensors]], latest: Tensors, *, where: str = "an older month"
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The one quadratic that equals the sum of the months' penalties, but for a constant.

    sum_t F_t (theta - theta*_t)^2  =  F (theta - theta*)^2 + constant,  with F = sum_t F_t and
    theta* = sum_t F_t theta*_t / F; so two tensors hold any number of months. The mean is formed as it
    runs, which leaves equal anchors as they are, bit for bit (West 1979, "Updating mean and variance
    estimates: an improved method").

    Args:
        months: Fisher and anchor of each month, name to tensor; a first dimension may be smaller than in
            `latest`, for labels that came later: their rows weigh nothing. Read one at a time. Each
            month has the same names; its anchor may have more.
        latest: the present weights, name to tensor; decide shapes, and the anchor where no month has
            any Fisher.

    Returns:
        F and theta*, by the months' names, in the dtypes of `latest`.

    Raises:
        ArtifactCorrupt: when names or shapes cannot be aligned.
        ValueError: without months.

    Source: Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks", end of section 2
        (separate penalties); Huszar 2018 for the completed square.
    """
    total: dict[str, Tensor] = {}
    center: dict[str, Tensor] = {}
    for fisher, anchor in months:
        shapes = {name: tuple(latest[name].shape) for name in total or fisher if name in latest}
        grown = aligned_rows(fisher, shapes, where=where)
        optimum = aligned_rows({name: anchor[name] for name in shapes}, shapes, where=where)
        for name in shapes:
            added = grown[name].to(latest[name])
            if name not in total:
                total[name], center[name] = torch.zeros_like(added), latest[name].detach().clone()
            total[name] = total[name] + added
            share = torch.where(added > 0, added / total[name], torch.zeros_like(added))
            center[name] = torch.lerp(center[name], optimum[name].to(latest[name]), share)
    if not total:
        raise ValueError("no month is given")
    return total, center
