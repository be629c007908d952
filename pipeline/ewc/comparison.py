"""Two Fisher diagonals side by side, layer by layer."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.errors import ArtifactCorrupt
from pipeline.ewc.deltas import group_of


@dataclass(frozen=True)
class LayerComparison:
    """One parameter group of two diagonals.

    Attributes:
        correlation: Pearson's, over the group's entries; None where one of them is constant.
        trace_ratio: trace of the second over that of the first; None where the first is zero.
    """

    layer: str
    correlation: float | None
    trace_ratio: float | None


def compare_fishers(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> list[LayerComparison]:
    """Correlation and trace ratio of every parameter group, and of all entries under the name `all`.

    Raises:
        ArtifactCorrupt: when names or shapes differ.
    """
    differing = sorted(first.keys() ^ second.keys()) or sorted(
        name for name in first if first[name].shape != second[name].shape
    )
    if differing:
        raise ArtifactCorrupt(
            f"the two Fishers are of different models: {differing[0]!r} is in one only, or has another shape there. "
            "Compare Fishers of one architecture, or grow the head first with: fisher merge"
        )
    members: dict[str, list[str]] = {}
    for name in first:
        members.setdefault(group_of(name), []).append(name)
    groups = [*sorted(members.items()), ("all", list(first))]
    return [_compare(layer, [first[n] for n in names], [second[n] for n in names]) for layer, names in groups]


def _compare(layer: str, first: list[Tensor], second: list[Tensor]) -> LayerComparison:
    a = torch.cat([tensor.double().flatten() for tensor in first])
    b = torch.cat([tensor.double().flatten() for tensor in second])
    spread = float(a.std(correction=0) * b.std(correction=0))
    covariance = float(((a - a.mean()) * (b - b.mean())).mean())
    total = float(a.sum())
    return LayerComparison(
        layer=layer,
        correlation=covariance / spread if spread > 0.0 else None,
        trace_ratio=float(b.sum()) / total if total > 0.0 else None,
    )
