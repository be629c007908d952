"""A Fisher told layer by layer."""

import pytest
import torch

from pipeline.ewc.layers import layer_summaries


def test_layers_come_in_the_order_of_their_numbers() -> None:
    fisher = {f"bert.layer.{i}.weight": torch.ones(1) for i in (10, 2, 0)} | {
        "bert.pooler.bias": torch.ones(1)
    }
    names = [summary.layer for summary in layer_summaries(fisher)]
    assert names[:3] == ["bert.layer.0", "bert.layer.2", "bert.layer.10"]


def test_a_summary_counts_all_tensors_of_its_layer() -> None:
    fisher = {
        "h.0.weight": torch.tensor([[1.0, 0.0], [0.0, 3.0]]),
        "h.0.bias": torch.tensor([2.0]),
        "c.bias": torch.ones(2),
    }
    other, layer = layer_summaries(fisher)
    assert (layer.layer, layer.size, layer.trace, layer.zeros) == ("h.0", 5, 6.0, 0.4)
    assert layer.mean == pytest.approx(1.2)
    assert layer.share == pytest.approx(0.75)
    assert other.share == pytest.approx(0.25)


def test_shares_of_a_fisher_of_zeros_are_zero() -> None:
    (summary,) = layer_summaries({"w": torch.zeros(3)})
    assert (summary.share, summary.zeros, summary.mean) == (0.0, 1.0, 0.0)
