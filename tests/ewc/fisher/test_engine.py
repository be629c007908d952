"""The engine against one unpadded example at a time, in float64."""

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification

from pipeline.ewc.fisher import fisher_diagonal, fisher_diagonal_by_loop


def small_bert() -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=16, num_labels=5,
    )  # fmt: skip
    return BertForSequenceClassification(config).double()


def mixed_batch(lengths: list[int], *, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    mask = torch.tensor([[1] * n + [0] * (width - n) for n in lengths])
    ids = torch.randint(4, 40, (len(lengths), width), generator=generator) * mask
    labels = torch.randint(0, 5, (len(lengths),), generator=generator)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@pytest.mark.parametrize(("estimator", "draws"), [("exact", 1), ("mc", 2), ("lowrank", 3), ("empirical", 1)])
def test_fisher_matches_one_example_at_a_time_reference(estimator: str, draws: int) -> None:
    model, batches = small_bert(), [mixed_batch([7, 4, 5]), mixed_batch([3, 6], seed=1)]
    ours = fisher_diagonal(model, batches, estimator=estimator, draws=draws)
    reference = fisher_diagonal_by_loop(model, batches, estimator=estimator, draws=draws)
    assert ours.examples == 5
    assert ours.fallback_parameters == ()
    for name, expected in reference.diagonal.items():
        difference = (ours.diagonal[name] - expected).abs().max()
        assert difference <= 1e-12 * max(float(expected.max()), 1e-12 * reference.trace), name
