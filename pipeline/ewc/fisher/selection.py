"""Backward only through the examples that matter: picked in proportion to what they add, weighted in return.

A model that fits its data is certain of most examples, and a certain prediction has almost no Fisher: its
trace in the logits is u = sum_c p_c (1 - p_c). A forward without a graph tells u at a third of the price.
Picking example b with odds pi_b that follow u_b, and counting it 1 / pi_b times, is unbiased for any odds
(Horvitz and Thompson 1952), and its error is least when odds follow contributions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline.ewc.fisher.batching import batches_by_length
from pipeline.ewc.fisher.draws import uniforms
from pipeline.ewc.fisher.estimate import Batch
from pipeline.ewc.fisher.examples import (
    batch_size,
    forward_logits,
    is_encoder_decoder,
    scored_logits,
    single_examples,
)
from pipeline.progress import Advance

_LEAST_SHARE = 0.1
"""Of the mean uncertainty, given to everyone, because gradients do not follow uncertainty alone; it also
bounds the weights."""
_STREAM = 3
_BISECTIONS = 60


def pick(
    model: nn.Module,
    batches: Iterable[Batch],
    count: int,
    *,
    seed: int,
    autocast_dtype: torch.dtype | None = None,
    advance: Advance | None = None,
) -> tuple[list[dict[str, Tensor]], int]:
    """About `count` of the examples in batches of like length, with `example_weights`.

    Args:
        model: prepared, with no hooks that watch.
        batches: named examples.
        count: how many to pick; all of them, unweighted, when there are no more.
        seed: of the picking, which also depends on the examples' keys alone.
        autocast_dtype: of the forward.
        advance: told after every batch.

    Returns:
        The batches and the number of examples that were there.
    """
    examples: list[dict[str, Tensor]] = []
    uncertainties: list[Tensor] = []
    most_tokens = 1
    for batch in batches:
        with torch.no_grad():
            logits = forward_logits(model, batch, autocast_dtype)
            uncertainties.append(_uncertainty(model, batch, logits))
        examples.extend(single_examples(batch, labels_follow_input=not is_encoder_decoder(model)))
        most_tokens = max(most_tokens, batch_size(batch) * _length(batch))
        if advance is not None:
            advance(batch_size(batch))
    if not examples:
        return [], 0
    odds = _odds(torch.cat(uncertainties), count)
    keys = torch.cat([example["example_keys"] for example in examples])
    picked = _systematic(odds, uniforms(seed, _STREAM, keys, (2,)).cpu())
    chosen = [{**examples[i], "example_weights": (1 / odds[i]).reshape(1)} for i in picked]
    padding = getattr(getattr(model, "config", None), "pad_token_id", None)
    groups = batches_by_length([_length(example) for example in chosen], max_tokens=most_tokens)
    return [_together([chosen[i] for i in group], padding or 0) for group in groups], len(examples)


def _uncertainty(model: nn.Module, batch: Batch, logits: Tensor) -> Tensor:
    """sum_c p_c (1 - p_c), over all scored positions, float64 [B]."""
    scored = scored_logits(model, batch, logits)
    p = scored.logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1)
    spread: Tensor = (p * (1 - p)).sum(-1).double() * scored.mask
    return spread.sum(1).cpu()


def _odds(uncertainty: Tensor, count: int) -> Tensor:
    """min(1, c (u + least)) with c such that the odds add up to `count`."""
    if count >= len(uncertainty):
        return torch.ones_like(uncertainty)
    wanted = uncertainty + _LEAST_SHARE * uncertainty.mean() + 1e-300
    low, high = 0.0, float(1 / wanted.min())
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if float((middle * wanted).clamp(max=1).sum()) < count else (low, middle)
    return (high * wanted).clamp(max=1)


def _systematic(odds: Tensor, draws: Tensor) -> list[int]:
    """Positions picked with their odds, as many as the odds add up to, give or take one.

    The examples are laid end to end, each as long as its odds, in an order that their first draws [N, 2]
    decide, from a start that the second draw of the first decides; those are picked in which a whole
    number falls.
    """
    order = draws[:, 0].argsort()
    ends = odds[order].cumsum(0) + draws[order[0], 1]
    starts = torch.cat([draws[order[:1], 1], ends[:-1]])
    return sorted(order[ends.floor() > starts.floor()].tolist())


def _length(batch: Batch) -> int:
    ids = batch.get("input_ids", batch.get("inputs_embeds"))
    return 1 if ids is None or ids.dim() < 2 else ids.shape[1]


def _together(examples: Sequence[Mapping[str, Tensor]], padding: int) -> dict[str, Tensor]:
    """One batch, padded on the right."""
    fills = {"input_ids": padding, "labels": -100}
    return {
        name: torch.cat(list(_widened([example[name] for example in examples], fills.get(name, 0))))
        for name in examples[0]
    }


def _widened(tensors: Sequence[Tensor], fill: int) -> Iterator[Tensor]:
    if tensors[0].dim() < 2:
        yield from tensors
        return
    width = max(tensor.shape[1] for tensor in tensors)
    for tensor in tensors:
        missing = tensor.new_full((1, width - tensor.shape[1], *tensor.shape[2:]), fill)
        yield torch.cat([tensor, missing], 1)
