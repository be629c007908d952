"""Closed rows never win, merged rows answer for both, and nothing is learned about what is closed."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.ewc.closed_rows import CLOSED_BIAS, closed_in
from pipeline.ewc.fisher.columns import scored_labels
from pipeline.labels import LabelSet
from pipeline.modeling.closed_labels import (
    close_rows_,
    open_teacher,
    with_label_changes,
    without_rows,
)
from pipeline.modeling.task import Learner
from pipeline.modeling.task_loss import Distillation, TaskLoss
from pipeline.modeling.tasks import SEQUENCE_CLASSIFICATION


class Config:
    def __init__(self, labels: int) -> None:
        self.num_labels = labels
        self.id2label: dict[int, str] = {}
        self.label2id: dict[str, int] = {}


class Head(nn.Module):
    base_model_prefix = "encoder"

    def __init__(self, *, bias: bool, labels: int = 4) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, 5)
        self.score = nn.Linear(5, labels, bias=bias)
        self.config = Config(labels)


@pytest.fixture(params=[True, False], ids=["bias", "no bias"])
def head(request: pytest.FixtureRequest) -> Head:
    torch.manual_seed(0)
    return Head(bias=request.param)


def test_a_closed_row_never_wins_with_or_without_a_bias(head: Head) -> None:
    texts = torch.randn(500, 5) * 5
    assert (head.score(texts).argmax(dim=1) == 2).any()
    close_rows_(head, (2,))
    logits = head.score(texts)
    assert not (logits.argmax(dim=1) == 2).any()
    assert logits.isfinite().all()


def test_a_closed_row_of_a_head_with_bias_has_no_probability_and_no_gradient() -> None:
    model = Head(bias=True)
    close_rows_(model, (1,))
    logits = model.score(torch.randn(8, 5))
    assert (logits.softmax(dim=1)[:, 1] == 0).all()
    F.cross_entropy(logits, torch.tensor([0, 2] * 4)).backward()  # type: ignore[no-untyped-call]
    assert model.score.weight.grad is not None
    assert (model.score.weight.grad[1] == 0).all()
    assert model.score.bias.half().isfinite().all()


def test_a_merged_row_is_the_mean_and_ids_stay(head: Head) -> None:
    before = head.score.weight.detach().clone()
    labels = LabelSet(("a", "b", "c", "d"))
    done = with_label_changes(
        Learner(head, None, labels, SEQUENCE_CLASSIFICATION), LabelSet(("a", "b", "sea", "d")), [(0, 2)], (0,)
    )
    assert torch.equal(head.score.weight[2], (before[2] + before[0]) / 2)
    assert torch.equal(head.score.weight[[1, 3]], before[[1, 3]])
    assert head.config.id2label == {0: "a", 1: "b", 2: "sea", 3: "d"}
    assert done.labels.ids["sea"] == 2


def test_what_the_champion_gave_a_merged_label_is_taught_for_the_one_it_is_part_of() -> None:
    teacher = torch.tensor([[3.0, 1.0, 2.0, 0.0]])
    for temperature in (1.0, 2.0):
        probabilities = (teacher / temperature).softmax(dim=1)[0]
        taught = (open_teacher(teacher, [(0, 2)], (0,), temperature) / temperature).softmax(dim=1)[0]
        expected = torch.stack([probabilities[1], probabilities[2] + probabilities[0], probabilities[3]])
        torch.testing.assert_close(taught, expected)


def test_what_a_retired_label_had_goes_to_all_others_in_their_proportion() -> None:
    teacher = torch.tensor([[3.0, 1.0, 2.0, 0.0]])
    taught = open_teacher(teacher, [], (0,), 1.0).softmax(dim=1)
    torch.testing.assert_close(taught, teacher[:, 1:].softmax(dim=1))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_over_open_labels_is_that_of_a_head_that_never_had_the_others(smoothing: float) -> None:
    torch.manual_seed(1)
    logits, labels = torch.randn(6, 4), torch.tensor([0, 2, 3, 2, 0, 3])
    prior, teacher = torch.randn(4), torch.randn(6, 2)
    weights = torch.ones(6)
    small = logits[:, [0, 2, 3]].clone().requires_grad_(True)
    logits.requires_grad_(True)
    distillation = Distillation(teacher.unsqueeze(1), weights, 2.0)
    whole = TaskLoss(
        label_smoothing=smoothing,
        log_prior=prior,
        distillation=distillation,
        open_ids=torch.tensor([0, 2, 3]),
    )
    alone = TaskLoss(label_smoothing=smoothing, log_prior=prior[[0, 2, 3]], distillation=distillation)
    fewer = torch.tensor([0, 1, 2, 1, 0, 2])
    losses = whole(scored_labels(logits, labels)), alone(scored_labels(small, fewer))
    torch.testing.assert_close(*losses)
    for loss in losses:
        loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert small.grad is not None
    assert (logits.grad[:, 1] == 0).all()
    torch.testing.assert_close(logits.grad[:, [0, 2, 3]], small.grad)


def test_a_fisher_has_nothing_to_hold_in_closed_rows(head: Head) -> None:
    fisher = {name: torch.ones_like(p) for name, p in head.named_parameters()}
    held = without_rows(fisher, head, (1, 3))
    assert (held["score.weight"][[1, 3]] == 0).all()
    assert (held["score.weight"][[0, 2]] == 1).all()
    assert (held["encoder.weight"] == 1).all()
    assert (fisher["score.weight"] == 1).all()


def test_closed_rows_are_known_by_their_bias() -> None:
    model = Head(bias=True)
    assert closed_in(dict(model.named_parameters())) == {}
    close_rows_(model, (0, 3))
    assert closed_in(dict(model.named_parameters())) == {"score.bias": [0, 3], "score.weight": [0, 3]}
    assert model.score.bias[0].item() == CLOSED_BIAS
