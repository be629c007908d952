"""Distillation of the champion's answers."""

import torch
from torch.nn import functional as F

from pipeline.ewc.distillation import distillation_loss


def test_equal_answers_cost_nothing() -> None:
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(distillation_loss(logits, logits, torch.ones(3), 2.0), torch.tensor(0.0))


def test_new_labels_are_left_out() -> None:
    teacher = torch.tensor([[1.0, -1.0]])
    grown = torch.tensor([[1.0, -1.0, 9.0]])
    torch.testing.assert_close(distillation_loss(grown, teacher, torch.ones(1), 2.0), torch.tensor(0.0))


def test_a_row_of_weight_zero_has_no_gradient() -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    distillation_loss(
        logits, torch.tensor([[3.0, 0, 0], [3.0, 0, 0]]), torch.tensor([0.0, 1.0]), 1.0
    ).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad[0].abs().sum() == 0
    assert logits.grad[1].abs().sum() > 0


def test_at_temperature_one_it_is_the_divergence_of_the_two_answers() -> None:
    generator = torch.Generator().manual_seed(1)
    logits, teacher = torch.randn(2, 3, generator=generator), torch.randn(2, 3, generator=generator)
    p, q = teacher.softmax(1), logits.softmax(1)
    expected = (p * (p.log() - q.log())).sum()
    torch.testing.assert_close(distillation_loss(logits, teacher, torch.ones(2), 1.0), expected)


def test_the_gradients_size_hardly_depends_on_the_temperature() -> None:
    teacher = torch.tensor([[0.2, -0.2]])
    norms = []
    for temperature in (1.0, 4.0):
        logits = torch.zeros(1, 2, requires_grad=True)
        distillation_loss(logits, teacher, torch.ones(1), temperature).backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        norms.append(float(F.normalize(logits.grad, dim=1).norm() * logits.grad.norm()))
    assert abs(norms[0] / norms[1] - 1) < 0.05
