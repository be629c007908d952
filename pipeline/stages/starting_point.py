"""Where a month's training starts: the champion asked about every row, its head grown, and which rows it is to see again."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.labels import LabelSet
from pipeline.recorded.rows import labels_of
from pipeline.stages.learned_rows import LearnedRows
from pipeline.stages.stage import RunContext

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.modeling.batches import Examples
    from pipeline.modeling.frozen_layers import FrozenLayers
    from pipeline.modeling.task import Learner
    from pipeline.modeling.task_loss import Distillation

logger = logging.getLogger("retrain")
MOST_TOLD = 5
"""Labels that the log names."""


@dataclass(frozen=True)
class Start:
    """What training starts from.

    Attributes:
        classifier: with a row for every label.
        rows: with those of the memory more than once that the month's labels pull at.
        log_prior: log pi [C] of the balanced softmax; None for the plain cross-entropy.
        distillation: the champion's answers for the month's rows and then the memory; None for none.
    """

    classifier: Learner
    rows: LearnedRows
    log_prior: Tensor | None
    distillation: Distillation | None


def starting_point(
    context: RunContext,
    labels: LabelSet,
    champion: Learner,
    rows: LearnedRows,
    frozen: FrozenLayers | None,
) -> Start:
    """Ask the champion about every row, then grow its head and pick the rows that come again.

    Args:
        labels: the month's.
        champion: the base checkpoint; its encoder is the start's.
        frozen: what its frozen layers say about every row.
    """
    from pipeline.modeling.head import head_features, logits_of

    recipe, train, memory = context.recipe, rows.train, rows.memory
    pulls = bool(len(memory)) and context.config.replay.interference > 0.0
    prior = _log_prior(context, train, memory, len(labels)) if recipe.balanced else None
    if not (recipe.distills or pulls or len(labels) > len(champion.labels)):
        return Start(relabelled(context, champion), rows, prior, None)
    with frozen.looked_up(champion.model) if frozen is not None else nullcontext():
        features = head_features(champion, train.encoded + memory.encoded)
    taught = None
    if recipe.distills:
        taught = _distillation(context, logits_of(champion.model, features), train, memory)
    grown = _with_new_labels(context, relabelled(context, champion), labels, train, memory, features, prior)
    start = Start(grown, rows, prior, taught)
    if not pulls:
        return start
    return _replayed_by_interference(context, start, logits_of(grown.model, features[len(train) :]))


def relabelled(context: RunContext, classifier: Learner) -> Learner:
    """The base classifier with the changes of labels that are in force in the month."""
    from pipeline.modeling.closed_labels import with_label_changes

    changes, new = context.label_changes, context.new_label_changes
    labels = changes.renamed(classifier.labels)
    return with_label_changes(classifier, labels, new.merges(labels), changes.closed_ids(labels))


def _distillation(context: RunContext, answers: Tensor, train: Examples, memory: Examples) -> Distillation:
    """The champion's answers, [N, C] before its head grew, for the month's rows and then the replayed ones."""
    import torch

    from pipeline.modeling.closed_labels import open_teacher
    from pipeline.modeling.task_loss import Distillation

    distill, known = context.config.distill, answers.shape[1]
    new = [distill.new_weight if label_id < known else 0.0 for label_id in train.label_ids]
    labels, changes = labels_of(context.attempt), context.label_changes
    closed, merges = changes.closed_ids(labels), context.new_label_changes.merges(labels)
    present = dict(merges)
    said = [present.get(label_id, label_id) for label_id in answers[len(train) :].argmax(dim=1).tolist()]
    old = [  # what the champion has lost it is not to teach
        distill.replay_weight if answer == label_id else 0.0
        for answer, label_id in zip(said, memory.label_ids, strict=True)
    ]
    weights = torch.tensor(new + old)
    if closed:
        answers = open_teacher(answers, merges, closed, distill.temperature)
    return Distillation(answers.unsqueeze(1), weights, distill.temperature)


def _replayed_by_interference(context: RunContext, start: Start, logits: Tensor) -> Start:
    """The start with those remembered rows more than once that the month's labels pull at.

    Args:
        logits: [M, C] of the memory, of the classifier that training starts from.
    """
    from pipeline.ewc.interference import again, interference

    train, memory, labels = start.rows.train, start.rows.memory, start.classifier.labels
    pulled = interference(logits, memory.label_ids, train.label_ids)
    more, positions = memory.again(again(pulled, context.config.replay.interference))
    drawn = Counter(labels.names[label_id] for label_id in more.label_ids).most_common(MOST_TOLD)
    if drawn:
        logger.info(
            "  replay: the month's labels pull most at %s; their remembered rows are learned again more often",
            ", ".join(name for name, _ in drawn),
        )
    taught = start.distillation
    if taught is not None:
        taught = taught.at([*range(len(train) + len(memory)), *(len(train) + place for place in positions)])
    memory = memory + more
    prior = start.log_prior
    if prior is not None:
        prior = _log_prior(context, train, memory, len(labels))
    return Start(start.classifier, replace(start.rows, memory=memory), prior, taught)


def _log_prior(context: RunContext, train: Examples, memory: Examples, classes: int) -> Tensor:
    from pipeline.ewc.prior import log_prior

    return log_prior(
        train.label_ids,
        memory.label_ids,
        classes,
        new_per_step=context.config.train.batch_size,
        replayed_per_step=context.recipe.replayed_per_step,
    )


def _with_new_labels(
    context: RunContext,
    classifier: Learner,
    labels: LabelSet,
    train: Examples,
    memory: Examples,
    features: Tensor,
    prior: Tensor | None,
) -> Learner:
    from pipeline.modeling.new_labels import with_new_labels

    new_per_step = context.config.train.batch_size
    replayed = context.recipe.replayed_per_step if len(memory) else 0
    return with_new_labels(
        classifier,
        labels,
        train,
        memory,
        features,
        probe=context.recipe.probes,
        log_prior=prior,
        new_share=new_per_step / (new_per_step + replayed),
    )
