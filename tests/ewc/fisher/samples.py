"""Batches of random texts, and how far two Fishers are apart."""

import torch
from torch import Tensor

VOCABULARY = 40
CLASSES = 5
PADDING = 1


def texts(lengths: list[int], *, seed: int = 0, left: bool = False, first_key: int = 0) -> dict[str, Tensor]:
    """A padded batch of random token ids, with class labels and keys."""
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    ids = torch.full((len(lengths), width), PADDING)
    mask = torch.zeros_like(ids)
    for b, n in enumerate(lengths):
        place = slice(width - n, width) if left else slice(0, n)
        ids[b, place] = torch.randint(4, VOCABULARY, (n,), generator=generator)
        mask[b, place] = 1
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": torch.randint(0, CLASSES, (len(lengths),), generator=generator),
        "example_keys": torch.arange(first_key, first_key + len(lengths)),
    }


def token_labels(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch with its own tokens as labels, as for a causal language model; padding is ignored."""
    ignored = batch["attention_mask"].eq(0)
    return {**batch, "labels": batch["input_ids"].masked_fill(ignored, -100)}


def without_labels(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch without labels."""
    return {name: tensor for name, tensor in batch.items() if name != "labels"}


def largest_difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest |difference| / max F over the tensors.

    A tensor whose whole Fisher is rounding (attention's key bias, which softmax cannot feel) is
    measured by the largest entry of the model.
    """
    assert found.keys() == expected.keys()
    overall = max(float(tensor.max()) for tensor in expected.values())
    return max(
        float((found[name] - tensor).abs().max()) / max(float(tensor.max()), 1e-15 * overall)
        for name, tensor in expected.items()
    )
