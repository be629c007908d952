"""One offset for the logits of all new labels, so that they take their share and no more.

After Wu et al. 2019, "Large scale incremental learning" (BiC), section 3.3, with the offset alone: a scale
fitted on the few rows that a month holds out is mostly noise.
"""

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F


def new_label_offset(logits: Tensor, targets: Tensor, known: int) -> float:
    """The offset of the new labels' logits with the lowest cross-entropy, each kind of row weighing by its labels.

    Rows of old labels weigh known / C together, rows of new labels (C - known) / C: what a test that asks for
    all labels alike would hold. The loss is convex in the offset.

    Args:
        logits: [N, C], of rows that were not trained on.
        targets: label ids [N].
        known: how many labels there were before; ids from `known` on are new.

    Returns:
        The offset in nats; 0 where rows of old or of new labels are lacking.
    """
    is_new = targets >= known
    if known == logits.shape[1] or not bool(is_new.any()) or bool(is_new.all()):
        return 0.0
    share = known / logits.shape[1]
    weights = torch.where(is_new, (1 - share) / is_new.sum(), share / (~is_new).sum()).double()
    values = logits.double()
    mask = (torch.arange(logits.shape[1]) >= known).double()

    def loss(offset: float) -> float:
        return float((weights * F.cross_entropy(values + offset * mask, targets, reduction="none")).sum())

    return float(minimize_scalar(loss).x)
