"""What is learned from a micro-batch: cross-entropy, balanced or smoothed, and the champion's answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.ewc.distillation import distillation_loss
from pipeline.ewc.fisher.columns import Scored


@dataclass(frozen=True)
class Distillation:
    """The champion's logits for the month's rows and then the replayed ones, and how much each row counts.

    Attributes:
        teacher: [N, S, C_old], of open labels alone where some are closed.
        weights: [N], 0 where the champion cannot know the answer.
        temperature: T > 0.
    """

    teacher: Tensor
    weights: Tensor
    temperature: float

    def at(self, positions: Sequence[int]) -> Distillation:
        """Of the rows at some positions, in their order; a row may occur again."""
        rows = torch.tensor(list(positions), dtype=torch.int64)
        return Distillation(self.teacher[rows], self.weights[rows], self.temperature)


def mean_task_loss(
    logits: Tensor,
    labels: Tensor,
    num_items_in_batch: Tensor | int | None = None,
    *,
    label_smoothing: float = 0.0,
    log_prior: Tensor | None = None,
) -> Tensor:
    """Cross-entropy summed over the micro-batch and divided by the rows of the whole optimizer step.

    So one step of 32 rows and four accumulated micro-batches of 8 give the same gradient, and a shorter
    last micro-batch weighs what its rows weigh. `log_prior` [C] is added to the logits (balanced softmax).
    """
    count = num_items_in_batch if num_items_in_batch is not None else labels.numel()
    logits = logits.float()
    if log_prior is not None:
        logits = logits + log_prior.to(logits.device)
    return F.cross_entropy(logits, labels, reduction="sum", label_smoothing=label_smoothing) / count


class TaskLoss:
    """The loss of a micro-batch: cross-entropy, and distillation on the rows that have a teacher.

    Args:
        open_ids: the ids of the labels that are learned, ascending, where some are closed: the others are no part of
            the loss, and get no gradient. `log_prior` then covers all ids, the teacher only open ones.
    """

    def __init__(
        self,
        *,
        label_smoothing: float,
        log_prior: Tensor | None,
        distillation: Distillation | None,
        open_ids: Tensor | None = None,
    ) -> None:
        self.label_smoothing, self.log_prior, self.distillation = label_smoothing, log_prior, distillation
        self.open_ids = open_ids
        if open_ids is not None and log_prior is not None:
            self.log_prior = log_prior[open_ids]

    def __call__(
        self,
        scored: Scored,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """The loss of a micro-batch.

        Args:
            scored: with labels; its keys are the rows' positions among all that are learned, where the teacher finds its
                answers.
            num_items_in_batch: scored positions of the whole optimizer step, a classifier's rows; None for those of the batch.
        """
        assert scored.labels is not None
        logits, labels = scored.logits[scored.mask], scored.labels[scored.mask]
        if self.open_ids is not None:
            ids = self.open_ids.to(labels.device)
            logits, labels = logits[:, ids], torch.searchsorted(ids, labels)
        loss = mean_task_loss(
            logits,
            labels,
            num_items_in_batch,
            label_smoothing=self.label_smoothing,
            log_prior=self.log_prior,
        )
        if self.distillation is None:
            return loss
        count = num_items_in_batch if num_items_in_batch is not None else labels.numel()
        rows = scored.keys.cpu()
        weights = self.distillation.weights[rows].to(logits.device)
        soft = distillation_loss(
            logits.float(),
            self.distillation.teacher[rows].to(logits.device)[scored.mask],
            weights.unsqueeze(1).expand(scored.mask.shape)[scored.mask],
            self.distillation.temperature,
        )
        return loss + soft / count
