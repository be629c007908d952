"""The loss of a micro-batch whose rows have several scored positions, held to sums by hand."""

import torch
from torch import Tensor

from pipeline.ewc.fisher.columns import Scored
from pipeline.modeling.task_loss import Distillation, TaskLoss

ROWS, POSITIONS, CLASSES = 3, 4, 5
MASK = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1], [1, 0, 0, 0]], dtype=torch.bool)


def scored(keys: list[int]) -> Scored:
    torch.manual_seed(0)
    logits = torch.randn(ROWS, POSITIONS, CLASSES, dtype=torch.float64).float()
    return Scored(logits, MASK, torch.randint(0, CLASSES, (ROWS, POSITIONS)), torch.tensor(keys))


def by_hand(batch: Scored, divided_by: int) -> Tensor:
    assert batch.labels is not None
    of_each = [
        -batch.logits[row, place].log_softmax(-1)[batch.labels[row, place]]
        for row in range(ROWS)
        for place in range(POSITIONS)
        if batch.mask[row, place]
    ]
    return torch.stack(of_each).sum() / divided_by


def test_every_scored_position_counts_the_same_and_no_other_counts() -> None:
    batch = scored([0, 1, 2])
    loss = TaskLoss(label_smoothing=0.0, log_prior=None, distillation=None)
    torch.testing.assert_close(loss(batch), by_hand(batch, 6))
    torch.testing.assert_close(loss(batch, 24), by_hand(batch, 24))
    batch.logits[~MASK] += 100
    torch.testing.assert_close(loss(batch), by_hand(batch, 6))


def test_a_row_is_distilled_at_its_scored_positions_from_its_own_teacher() -> None:
    torch.manual_seed(1)
    teacher, temperature = torch.randn(7, POSITIONS, 3), 2.0
    weights = torch.tensor([0.0, 1.0, 1.0, 0.5, 1.0, 1.0, 0.0])
    keys = [6, 3, 1]
    batch = scored(keys)
    loss = TaskLoss(
        label_smoothing=0.0, log_prior=None, distillation=Distillation(teacher, weights, temperature)
    )
    soft = torch.zeros(())
    for row, key in enumerate(keys):
        for place in range(POSITIONS):
            if MASK[row, place]:
                told = (teacher[key, place] / temperature).log_softmax(-1)
                said = (batch.logits[row, place, :3] / temperature).log_softmax(-1)
                soft = soft + weights[key] * temperature**2 * (told.exp() * (told - said)).sum()
    found = loss(batch) - by_hand(batch, 6)
    torch.testing.assert_close(found, soft / 6)
