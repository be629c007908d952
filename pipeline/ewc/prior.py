"""The balanced softmax: labels that a month repeats often do not push the others out."""

from collections.abc import Sequence

import torch
from torch import Tensor


def log_prior(
    new: Sequence[int], replayed: Sequence[int], classes: int, *, new_per_step: int, replayed_per_step: int
) -> Tensor:
    """log pi [C], fp32: each label's share of what an optimizer step is expected to hold, plus one row.

    Training minimises the cross-entropy of logits + log pi; predictions use the logits alone. So a label
    that is frequent in this month's feedback gains no more than its rows say about the texts.

    Args:
        new: label ids of the month's rows, N > 0 of them.
        replayed: label ids of the replay memory; may be empty.
        classes: C.
        new_per_step, replayed_per_step: rows of each in an optimizer step.

    Source: Ren et al. 2020, "Balanced Meta-Softmax for Long-Tailed Visual Recognition", eq. 3; Menon et
    al. 2021, "Long-tail learning via logit adjustment", eq. 10.
    """
    counts = torch.bincount(torch.tensor(list(new), dtype=torch.int64), minlength=classes).double()
    if replayed and replayed_per_step:
        old = torch.bincount(torch.tensor(list(replayed), dtype=torch.int64), minlength=classes).double()
        counts += old * (replayed_per_step / new_per_step) * (len(new) / len(replayed))
    counts += 1.0
    return (counts / counts.sum()).log().float()
