import pytest
import torch
from torch import Tensor

from pipeline.ewc.fisher.choice import EstimatorChoice, asked_for, chosen
from pipeline.ewc.fisher.columns import Scored


def sample(logits: Tensor) -> Scored:
    if logits.dim() == 2:
        logits = logits.unsqueeze(1)
    mask = torch.ones(logits.shape[:2], dtype=torch.bool)
    return Scored(logits, mask, None, torch.arange(len(logits)))


def random_logits(classes: int, scale: float) -> Tensor:
    return torch.randn(16, classes, generator=torch.Generator().manual_seed(0)) * scale


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("scale", [0.1, 6.0])
def test_two_or_three_classes_are_done_exactly(classes: int, scale: float) -> None:
    choice = chosen(sample(random_logits(classes, scale)), None)
    assert (choice.estimator, choice.draws) == ("exact", classes - 1)
    assert f"{classes} classes" in choice.reason
    assert "exact" in choice.reason


def test_a_confident_model_of_many_classes_gets_its_leading_column() -> None:
    choice = chosen(sample(random_logits(90, 6.0)), None)
    assert (choice.estimator, choice.draws) == ("lowrank", 2)
    assert "1 leading column with" in choice.reason


def test_a_model_that_knows_nothing_gets_one_random_column() -> None:
    choice = chosen(sample(random_logits(90, 0.1)), None)
    assert (choice.estimator, choice.draws) == ("lowrank", 1)
    assert "mean confidence 0.01 on 16 examples: lowrank, one random column" in choice.reason


def test_a_language_model_gets_one_random_column() -> None:
    assert chosen(sample(torch.zeros(2, 3, 50)), None).draws == 1


def test_asking_for_draws_is_heard() -> None:
    assert chosen(sample(random_logits(90, 0.1)), 3).draws == 3
    assert chosen(sample(torch.zeros(2, 3, 50)), 4).draws == 4
    assert asked_for("mc", 7) == EstimatorChoice("mc", 7)
    assert asked_for("lowrank", None).draws == 2


def test_a_certain_model_does_not_divide_by_zero() -> None:
    assert chosen(sample(torch.tensor([[1000.0, 0, 0, 0, 0, 0, 0]])), None).estimator in ("lowrank", "exact")
