"""Batches as the engine wants them: padded on the right, trimmed, every example named."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from pipeline.errors import TrainingDiverged, UsageError
from pipeline.ewc.fisher.columns import Scored
from pipeline.ewc.fisher.estimate import Batch

_PER_TOKEN = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "inputs_embeds")
_NOT_FOR_THE_MODEL = ("labels", "example_keys")
_IGNORED = -100


def is_encoder_decoder(model: nn.Module) -> bool:
    """Whether labels belong to a decoder, which reads them shifted by itself."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def scores_next_token(model: nn.Module) -> bool:
    """Whether logits [B, T, C] at position t speak of token t + 1, as in a causal language model."""
    name = type(model.get_base_model() if hasattr(model, "get_base_model") else model).__name__  # type: ignore[operator]
    same_place = ("ForTokenClassification", "ForMaskedLM")
    return not is_encoder_decoder(model) and not name.endswith(same_place)


def named_examples(
    batches: Iterable[Batch], model: nn.Module, first_key: int = 0
) -> Iterator[dict[str, Tensor]]:
    """The batches with padding turned to the right and trimmed, on the model's device, with keys."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    labels_follow_input = not is_encoder_decoder(model)
    position = first_key
    for batch in batches:
        count = batch_size(batch)
        if count == 0:
            continue
        moved = {name: tensor.to(device) for name, tensor in batch.items()}
        if "example_keys" not in moved:
            moved["example_keys"] = torch.arange(position, position + count, device=device)
        position += count
        yield padded_right(moved, labels_follow_input=labels_follow_input)


def batch_size(batch: Batch) -> int:
    """The number of examples in a batch.

    Raises:
        UsageError: the batch has no `input_ids` or `inputs_embeds`.
    """
    for name in ("input_ids", "inputs_embeds"):
        if name in batch:
            return len(batch[name])
    raise UsageError(f"Fisher: expected 'input_ids' in the batch, found {sorted(batch)}.")


def padded_right(batch: Batch, *, labels_follow_input: bool = True) -> dict[str, Tensor]:
    """The same examples, their tokens moved to the left edge, without columns that are padding for all.

    A model with absolute positions counts them from the left edge, so that the same text gives the
    same result however it was padded. Without an `attention_mask` nothing is padding.
    """
    mask = batch.get("attention_mask")
    if mask is None or mask.dim() != 2 or bool(mask.all()):
        return dict(batch)
    shape, present = mask.shape, mask.ne(0).long()
    places = torch.arange(shape[1], device=mask.device)
    first = present.argmax(1, keepdim=True)
    length = max(int((present * (places + 1 - first)).max()), 1)
    order = (places + first) % shape[1]
    names = (*_PER_TOKEN, "labels") if labels_follow_input else _PER_TOKEN
    turned = dict(batch)
    for name in names:
        tensor = batch.get(name)
        if tensor is not None and tensor.shape[:2] == shape:
            index = order.reshape(*order.shape, *[1] * (tensor.dim() - 2)).expand_as(tensor)
            turned[name] = tensor.gather(1, index)[:, :length]
    return turned


def single_examples(batch: Batch, *, labels_follow_input: bool = True) -> Iterator[dict[str, Tensor]]:
    """The examples of a batch one by one, each without any padding."""
    for b in range(batch_size(batch)):
        one = {name: tensor[b : b + 1] for name, tensor in batch.items()}
        yield padded_right(one, labels_follow_input=labels_follow_input)


def forward_logits(model: nn.Module, batch: Batch, autocast_dtype: torch.dtype | None = None) -> Tensor:
    """The model's logits, [B, C] for a classifier or [B, T, C] for a language model.

    Raises:
        UsageError: the output has no logits, or they are a single regression value.
        TrainingDiverged: a logit is not finite.
    """
    inputs = {name: tensor for name, tensor in batch.items() if name not in _NOT_FOR_THE_MODEL}
    config = getattr(model, "config", None)
    if getattr(config, "use_cache", False):
        inputs["use_cache"] = False  # type: ignore[assignment]
    if is_encoder_decoder(model) and "decoder_input_ids" not in inputs:
        labels = batch.get("labels")
        shift = getattr(model, "prepare_decoder_input_ids_from_labels", None)
        if labels is not None and labels.dim() == 2 and shift is not None:
            inputs["decoder_input_ids"] = shift(labels=labels)
    with torch.autocast(
        batch["example_keys"].device.type, autocast_dtype, enabled=autocast_dtype is not None
    ):
        output = model(**inputs)
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if logits is None or logits.dim() not in (2, 3):
        raise UsageError(
            f"Fisher: expected logits [B, C] or [B, T, C] from {type(model).__name__}, "
            f"found {'none' if logits is None else list(logits.shape)}."
        )
    if logits.shape[-1] < 2:
        raise UsageError(
            "Fisher: expected at least two classes, found 1: a regression head has no labels to draw."
        )
    if not bool(torch.isfinite(logits.detach()).all()):
        raise TrainingDiverged(
            "Fisher: the model's logits are infinite or not a number; its weights are damaged."
        )
    return logits


def scored_logits(model: nn.Module, batch: Batch, logits: Tensor) -> Scored:
    """Which logits count: all of a classifier's; of a language model's, those before a real token.

    One sequence is one example, its loss the sum over its scored tokens: those whose label is not
    -100, or without labels every token that is not padding, after the first.
    """
    keys, labels = batch["example_keys"], batch.get("labels")
    if logits.dim() == 2:
        everywhere = torch.ones(len(logits), 1, dtype=torch.bool, device=logits.device)
        return Scored(
            logits.unsqueeze(1), everywhere, None if labels is None else labels.reshape(-1, 1), keys
        )
    if labels is None:
        present = batch.get("attention_mask")
        targets = None
        counted = (
            torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
            if present is None
            else present.ne(0)
        )
    else:
        targets, counted = labels, labels.ne(_IGNORED)
    if scores_next_token(model):
        counted = _from_next(counted, fill=False)
        targets = None if targets is None else _from_next(targets, fill=_IGNORED)
    return Scored(logits, counted, targets, keys)


def _from_next(tensor: Tensor, *, fill: int | bool) -> Tensor:
    return torch.cat([tensor[:, 1:], torch.full_like(tensor[:, :1], fill)], dim=1)
