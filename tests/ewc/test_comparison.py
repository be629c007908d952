"""Two Fishers side by side."""

import pytest
import torch

from pipeline.errors import ArtifactCorrupt
from pipeline.ewc.comparison import compare_fishers

FIRST = {"h.0.weight": torch.tensor([1.0, 2.0, 3.0]), "h.1.weight": torch.tensor([4.0, 0.0])}


def test_a_fisher_agrees_with_itself() -> None:
    for layer in compare_fishers(FIRST, FIRST):
        assert layer.correlation == pytest.approx(1.0)
        assert layer.trace_ratio == pytest.approx(1.0)


def test_scale_changes_the_trace_and_not_the_correlation() -> None:
    doubled = {name: 2 * tensor for name, tensor in FIRST.items()}
    overall = compare_fishers(FIRST, doubled)[-1]
    assert overall.layer == "all"
    assert overall.correlation == pytest.approx(1.0)
    assert overall.trace_ratio == pytest.approx(2.0)


def test_opposite_orders_anticorrelate() -> None:
    reversed_layer = {**FIRST, "h.0.weight": torch.tensor([3.0, 2.0, 1.0])}
    assert compare_fishers(FIRST, reversed_layer)[0].correlation == pytest.approx(-1.0)


def test_a_constant_layer_has_no_correlation() -> None:
    assert compare_fishers({"a.w": torch.ones(3)}, {"a.w": torch.ones(3)})[0].correlation is None


def test_fishers_of_different_models_are_refused() -> None:
    with pytest.raises(ArtifactCorrupt, match=r"h\.1\.weight"):
        compare_fishers(FIRST, {"h.0.weight": torch.ones(3)})
