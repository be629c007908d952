"""A Fisher diagonal told layer by layer."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.ewc.deltas import group_of


@dataclass(frozen=True)
class LayerSummary:
    """One parameter group: number of entries, sum of F, mean of F, share of the whole trace, share of zeros."""

    layer: str
    size: int
    trace: float
    mean: float
    share: float
    zeros: float


def layer_summaries(fisher: Mapping[str, Tensor]) -> list[LayerSummary]:
    """Summaries of all parameter groups, in the order of the layers' names with numbers as numbers."""
    members: dict[str, list[Tensor]] = {}
    for name, tensor in fisher.items():
        members.setdefault(group_of(name), []).append(tensor)
    total = sum(tensor.sum(dtype=torch.float64).item() for tensor in fisher.values())
    summaries = []
    for layer in sorted(members, key=natural):
        tensors = members[layer]
        size = sum(tensor.numel() for tensor in tensors)
        trace = sum(tensor.sum(dtype=torch.float64).item() for tensor in tensors)
        zeros = sum(int((tensor == 0).sum()) for tensor in tensors)
        summaries.append(
            LayerSummary(
                layer=layer,
                size=size,
                trace=trace,
                mean=trace / size if size else 0.0,
                share=trace / total if total > 0.0 else 0.0,
                zeros=zeros / size if size else 0.0,
            )
        )
    return summaries


def natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]
