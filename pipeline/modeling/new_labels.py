"""Head rows for new labels: imprinted with their mean feature, then fitted alone while all else is fixed."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.labels import LabelSet
from pipeline.modeling.batches import Examples
from pipeline.modeling.head import grow_head, head_linear
from pipeline.modeling.task import Learner

PROBE_DECAY = 1e-3
"""Weight of the squared distance from the imprinted rows in the probe's loss."""
PROBE_ITERATIONS = 60


def with_new_labels(
    classifier: Learner,
    labels: LabelSet,
    new: Examples,
    replayed: Examples,
    features: Tensor,
    *,
    probe: bool,
    log_prior: Tensor | None,
    new_share: float = 1.0,
) -> Learner:
    """The classifier with a head row for every label of `labels`; old rows stay bit for bit.

    Args:
        classifier: the champion, on any device.
        labels: its labels with new ones appended.
        new: the month's N rows, which hold the new labels.
        replayed: M >= 0 rows of earlier months.
        features: inputs of the champion's last linear layer for the new and then the replayed rows,
            [N + M, H] fp32 on the CPU.
        probe: fit the new rows; else they stay as imprinted.
        log_prior: log pi [C] of the balanced softmax, or None.
        new_share: weight of the month's rows in the probe's loss, the rest is the replayed rows'.
    """
    count = len(classifier.labels)
    if len(labels) == count:
        return classifier
    seen, seen_before = features[: len(new)], features[len(new) :]
    targets = torch.tensor(new.label_ids)
    imprints = {}
    for label in labels.names[count:]:
        mine = targets == labels.ids[label]
        imprints[label] = seen[mine].mean(dim=0) if bool(mine.any()) else seen.mean(dim=0)
    grown = grow_head(classifier, labels, imprints)
    if probe:
        _fit_new_rows(
            grown, count, seen, new.label_ids, seen_before, replayed.label_ids, log_prior, new_share
        )
    return grown


def _fit_new_rows(
    classifier: Learner,
    old_count: int,
    features: Tensor,
    label_ids: Sequence[int],
    old_features: Tensor,
    old_label_ids: Sequence[int],
    log_prior: Tensor | None,
    new_share: float,
) -> None:
    """Minimise the weighted cross-entropy over the new rows alone, and their biases where the head has some.

    Convex, by LBFGS, on the CPU.
    """
    _, linear = head_linear(classifier.model)
    inputs, targets = features, torch.tensor(list(label_ids))
    weights = torch.full((len(features),), new_share / len(features))
    if len(old_features):
        inputs = torch.cat([features, old_features])
        targets = torch.cat([targets, torch.tensor(list(old_label_ids))])
        weights = torch.cat([weights, torch.full((len(old_features),), (1 - new_share) / len(old_features))])
    weights = weights / weights.sum()
    weight, bias = linear.weight.detach().float().cpu(), linear.bias
    if bias is not None:
        weight = torch.cat([weight, bias.detach().float().cpu()[:, None]], dim=1)
        inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
    fixed = inputs @ weight[:old_count].T
    start = weight[old_count:]
    free = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([free], max_iter=PROBE_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = torch.cat([fixed, inputs @ free.T], dim=1)
        adjusted = logits if log_prior is None else logits + log_prior
        fit = (weights * F.cross_entropy(adjusted, targets, reduction="none")).sum()
        value = fit + PROBE_DECAY * (free - start).square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        linear.weight[old_count:] = free[:, : linear.in_features].to(linear.weight)
        if bias is not None:
            bias[old_count:] = free[:, -1].to(bias)
