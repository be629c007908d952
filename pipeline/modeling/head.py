"""The classification head: where it is, what goes into it, and how it grows."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import BadConfig
from pipeline.labels import LabelSet
from pipeline.modeling.batches import Encoded, padded_batches
from pipeline.modeling.task import Learner

NEW_ROW_NORM = 0.5
"""Norm of an imprinted row over the mean norm of the old rows; at 1.0 new labels take old rows' predictions."""


def head_linear(model: Any) -> tuple[str, nn.Linear]:
    """The name and module of the last linear layer that gives the logits.

    Raises:
        BadConfig: when the architecture's head is not a linear layer outside of the encoder.
    """
    encoder = f"{model.base_model_prefix}."
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and not name.startswith(encoder)
        and module.out_features == model.config.num_labels
    ]
    if not found:
        raise BadConfig(f"{type(model).__name__}: expected a linear classification head, found none")
    return found[-1]


def head_parameters(model: Any) -> set[str]:
    """Names of the parameters outside of the encoder."""
    encoder = f"{model.base_model_prefix}."
    return {name for name, _ in model.named_parameters() if not name.startswith(encoder)}


@torch.no_grad()
def head_features(classifier: Learner, encoded: Sequence[Encoded]) -> Tensor:
    """Inputs of the head's linear layer, [N, H] fp32 on the CPU: one row a text, in the given order."""
    model = classifier.model
    _, linear = head_linear(model)
    caught: list[Tensor] = []
    handle = linear.register_forward_pre_hook(lambda _module, args: caught.append(args[0].detach()))
    was_training = model.training
    model.eval()
    features: list[Tensor | None] = [None] * len(encoded)
    try:
        for positions, batch in padded_batches(classifier.tokenizer, encoded):
            caught.clear()
            model(**{name: tensor.to(model.device) for name, tensor in batch.items()})
            rows = _last_token_rows(model, caught[0], batch)
            for position, row in zip(positions, rows, strict=True):
                features[position] = row.float().cpu()
    finally:
        handle.remove()
        model.train(was_training)
    return torch.stack([row for row in features if row is not None])


@torch.no_grad()
def logits_of(model: Any, features: Tensor) -> Tensor:
    """What the head's linear layer makes of `head_features`: logits [N, C], fp32 on the CPU."""
    _, linear = head_linear(model)
    logits: Tensor = linear(features.to(linear.weight))
    return logits.float().cpu()


def _last_token_rows(model: Any, features: Tensor, batch: dict[str, Tensor]) -> Tensor:
    if features.dim() == 2:
        return features
    # Decoder classifiers score every token and read the last one that has another id than padding, as transformers'
    # GenericForSequenceClassification does: where padding is the end token, the token before an end that is appended.
    tokens = batch["input_ids"].to(features.device)
    mask = (tokens != model.config.get_text_config().pad_token_id).to(torch.int32)
    last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(dim=1)
    return features[torch.arange(features.shape[0], device=features.device), last]


@torch.no_grad()
def grow_head(classifier: Learner, labels: LabelSet, imprints: dict[str, Tensor]) -> Learner:
    """The classifier with a head for more labels; old rows keep their ids and values, bit for bit.

    A new row is the label's mean feature, scaled to NEW_ROW_NORM times the mean norm of the old rows; its
    bias is 0. Source of imprinting: Qi et al. 2018, "Low-Shot Learning with Imprinted
    Weights".

    Args:
        labels: the old labels with new ones appended.
        imprints: new label to mean feature [H].
    """
    model = classifier.model
    name, old = head_linear(model)
    count = len(classifier.labels)
    grown = nn.Linear(old.in_features, len(labels), bias=old.bias is not None).to(old.weight)
    grown.weight[:count] = old.weight
    norms = old.weight.norm(dim=1)
    norms = norms[
        norms > 0
    ]  # rows of merged and retired labels are 0, and all of an adopted head that never learned
    norm = norms.mean() * NEW_ROW_NORM if len(norms) else 0.0
    for label in labels.names[count:]:
        direction = imprints[label].to(old.weight)
        grown.weight[labels.ids[label]] = direction / direction.norm().clamp_min(1e-12) * norm
    if old.bias is not None:
        grown.bias[:count] = old.bias
        grown.bias[count:] = 0.0
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, grown)
    model.num_labels = len(labels)
    model.config.num_labels = len(labels)
    model.config.id2label = dict(enumerate(labels.names))
    model.config.label2id = dict(labels.ids)
    return replace(classifier, labels=labels)
