"""What a classifier says about texts."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.modeling.batches import Encoded, Examples, encode, padded_batches
from pipeline.modeling.checkpoint import longest_text
from pipeline.modeling.task import Learner


@torch.no_grad()
def logits(classifier: Learner, encoded: Sequence[Encoded]) -> Tensor:
    """Logits [N, C], fp32 on the CPU, one row a text in the given order; dropout off.

    A padded batch gives what single texts give, up to rounding.
    """
    model: Any = classifier.model
    was_training = model.training
    model.eval()
    result = torch.empty((len(encoded), len(classifier.labels)), dtype=torch.float32)
    try:
        for positions, batch in padded_batches(classifier.tokenizer, encoded):
            output = model(**{name: tensor.to(model.device) for name, tensor in batch.items()})
            result[positions] = output.logits.float().cpu()
    finally:
        model.train(was_training)
    return result


def probabilities(classifier: Learner, texts: Sequence[str], max_length: int) -> Tensor:
    """The probability of every label for each text, cut to what the model reads: [N, C], 0 to 1, fp32 on the CPU."""
    length = min(max_length, longest_text(classifier.model) or max_length)
    return logits(classifier, encode(classifier.tokenizer, texts, length)).softmax(dim=1)


def predict(classifier: Learner, texts: Sequence[str], max_length: int) -> list[tuple[str, float]]:
    """The most probable label of each text, cut to what the model reads, and its probability, 0 to 1."""
    confidence, ids = probabilities(classifier, texts, max_length).max(dim=1)
    return [(classifier.labels.names[i], c) for i, c in zip(ids.tolist(), confidence.tolist(), strict=True)]


def mean_loss(classifier: Learner, rows: Examples) -> float:
    """Mean cross-entropy in nats over N > 0 texts, without any penalty."""
    targets = torch.tensor(rows.label_ids, dtype=torch.int64)
    return F.cross_entropy(logits(classifier, rows.encoded), targets).item()
