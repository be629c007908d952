"""Distillation: the champion's answers, over the labels that it knew, as soft targets."""

import torch
from torch import Tensor
from torch.nn import functional as F


def distillation_loss(logits: Tensor, teacher: Tensor, weights: Tensor, temperature: float) -> Tensor:
    """sum_b w_b T^2 KL(softmax(teacher_b / T) || softmax(logits_b / T)), over the teacher's classes alone.

    Args:
        logits: of the model that is trained, [B, C].
        teacher: the champion's logits [B, C_old], C_old <= C, constants.
        weights: w [B] >= 0; 0 where the champion cannot know the answer.
        temperature: T > 0; T^2 keeps the gradient's size independent of it.

    Returns:
        A scalar: the sum over the rows, nats.

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2; Li & Hoiem 2016,
    "Learning without Forgetting", eq. 2.
    """
    student = F.log_softmax(logits[:, : teacher.shape[1]] / temperature, dim=1)
    target = F.log_softmax(teacher / temperature, dim=1)
    divergence = F.kl_div(student, target, reduction="none", log_target=True).sum(dim=1)
    return temperature**2 * torch.dot(weights.to(divergence), divergence)
