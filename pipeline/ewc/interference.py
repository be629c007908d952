"""Which remembered rows the month's labels pull at: they are replayed more often than the others."""

from collections.abc import Sequence

import torch
from torch import Tensor

MOST_AGAIN = 16
"""How many times more than the others a row is drawn, at most: a few rows are not to be learned by heart."""


def interference(logits: Tensor, label_ids: Sequence[int], taught: Sequence[int]) -> Tensor:
    """How much of each row's probability the labels that are about to be taught hold already, its own apart: [M], fp64.

    The rows next to what a month teaches are those that its training moves first; on few replayed rows whole labels were
    lost to a new one nearby while the others held.

    Args:
        logits: [M, C], of the model that the month starts from, with its new labels' rows.
        label_ids: the M rows' own labels.
        taught: ids of the labels of the month's rows.

    Source: after Aljundi et al. 2019, "Online Continual Learning with Maximally Interfered Retrieval", which ranks rows by
    their loss after a trial step; this needs no step.
    """
    shares = logits.double().softmax(dim=1)
    shares[torch.arange(len(label_ids)), torch.tensor(list(label_ids), dtype=torch.int64)] = 0.0
    return shares[:, sorted(set(taught))].sum(dim=1)


def again(scores: Tensor, share: float) -> list[int]:
    """How often each of M rows stands in the memory beside its once, so that `share` of all draws go by the scores.

    Proportional to the score, at most `MOST_AGAIN`, and rounded so that sums over consecutive rows are off by less than
    one; what the bound takes away is not given to others.

    Args:
        scores: [M], at least 0.
        share: 0 <= share < 1.
    """
    total = float(scores.sum())
    if not share or not total > 0.0:
        return [0] * len(scores)
    wanted = scores.double() / total * (len(scores) * share / (1.0 - share))
    whole = wanted.clamp(max=float(MOST_AGAIN)).cumsum(dim=0).floor().long()
    return [int(count) for count in torch.diff(whole, prepend=torch.zeros(1, dtype=torch.int64))]
