"""Head rows of labels that are merged or retired: they keep their ids, and never win again."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.ewc.closed_rows import CLOSED_BIAS
from pipeline.labels import LabelSet
from pipeline.modeling.head import head_linear
from pipeline.modeling.task import Learner


@torch.no_grad()
def with_label_changes(
    classifier: Learner, labels: LabelSet, merges: Sequence[tuple[int, int]], closed: Sequence[int]
) -> Learner:
    """The classifier under its labels' present names, merged rows put together and closed rows closed.

    The row of a label that others are merged into becomes the mean of itself and them, so that it answers what they
    did before anything is trained.

    Args:
        labels: the classifier's labels under present names, ids as they are.
        merges: (id of a label that is merged now, id of the one that it is part of).
        closed: ids of all labels that are merged or retired.
    """
    model = classifier.model
    _, linear = head_linear(model)
    members: dict[int, list[int]] = {}
    for merged, into in merges:
        members.setdefault(into, [into]).append(merged)
    for into, ids in members.items():
        for tensor in _rows(linear):
            tensor[into] = tensor[ids].mean(dim=0)
    close_rows_(model, closed)
    model.config.id2label = dict(enumerate(labels.names))
    model.config.label2id = dict(labels.ids)
    return replace(classifier, labels=labels)


@torch.no_grad()
def close_rows_(model: Any, closed: Sequence[int]) -> None:
    """Make the rows of these ids never win: weights 0 and bias CLOSED_BIAS.

    Where the head has no bias, the row becomes the mean of the open ones: a mean of logits is never above all of them.
    """
    if not closed:
        return
    _, linear = head_linear(model)
    ids = list(closed)
    weight, *bias = _rows(linear)
    if bias:
        weight[ids], bias[0][ids] = 0.0, CLOSED_BIAS
    else:
        weight[ids] = weight[open_ids(len(weight), closed)].mean(dim=0)


def open_ids(count: int, closed: Sequence[int]) -> list[int]:
    """The ids 0..count-1 that are not closed, ascending."""
    return [i for i in range(count) if i not in set(closed)]


def open_teacher(
    logits: Tensor, merges: Sequence[tuple[int, int]], closed: Sequence[int], temperature: float
) -> Tensor:
    """A champion's logits [N, C] over the labels that are open now: [N, C - closed].

    What it gave a label that is merged now is added to the one that it is part of: log(e^(a/T) + e^(b/T)) T.
    """
    scaled = logits / temperature
    for merged, into in merges:
        scaled[:, into] = torch.logaddexp(scaled[:, into], scaled[:, merged])
    return scaled[:, open_ids(logits.shape[1], closed)] * temperature


def without_rows(tensors: Mapping[str, Tensor], model: Any, closed: Sequence[int]) -> dict[str, Tensor]:
    """Tensors that are named like the model's parameters, such as a Fisher, with the closed rows of the head at 0."""
    name, _ = head_linear(model)
    found = dict(tensors)
    for part in (f"{name}.weight", f"{name}.bias"):
        if closed and part in found:
            found[part] = found[part].clone()
            found[part][list(closed)] = 0.0
    return found


def _rows(linear: nn.Linear) -> list[Tensor]:
    return [linear.weight] if linear.bias is None else [linear.weight, linear.bias]
