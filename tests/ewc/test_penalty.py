"""The penalty pulls to the anchor, with the strength that the formula says."""

import pytest
import torch
from torch import Tensor

from pipeline.errors import ArtifactCorrupt
from pipeline.ewc.penalty import importance, mean_fisher, penalty, raw_lambda

LAMBDA = 3.0
SHAPES = {"layer.weight": (4, 3), "layer.bias": (4,), "scale": ()}


def tensors(seed: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator, dtype=dtype) for name, shape in SHAPES.items()}


def weights(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    return {name: tensor.abs() for name, tensor in tensors(2, dtype).items()}


def test_penalty_is_zero_at_the_anchor() -> None:
    anchor = tensors(1)
    assert penalty(anchor, anchor, weights(), LAMBDA).item() == 0.0


def test_penalty_is_lambda_times_the_weighted_squares_without_one_half() -> None:
    value = penalty(
        {"w": torch.tensor([3.0, 5.0])},
        {"w": torch.tensor([1.0, 5.0])},
        {"w": torch.tensor([0.5, 9.0])},
        10.0,
    )
    assert value.item() == 10.0 * 0.5 * 4.0


@pytest.mark.parametrize("factor", [1e-9, 1e-3, 7.0, 1e6])
def test_scaled_by_its_mean_the_fishers_own_scale_does_not_matter(factor: float) -> None:
    fisher = weights()
    scaled = {name: tensor * factor for name, tensor in fisher.items()}
    one, other = importance(fisher, SHAPES, "mean"), importance(scaled, SHAPES, "mean")
    for name in SHAPES:
        torch.testing.assert_close(one[name], other[name], rtol=1e-12, atol=0)


def test_scaled_by_its_mean_the_positive_entries_have_the_mean_one() -> None:
    fisher = weights()
    fisher["layer.weight"][2] = 0.0
    w = importance(fisher, SHAPES, "mean")
    positive = torch.cat([tensor[tensor > 0].flatten() for tensor in w.values()])
    assert positive.mean().item() == pytest.approx(1.0, rel=1e-12)


def test_rows_of_new_labels_do_not_strengthen_the_others() -> None:
    fisher = weights()
    grown = {**fisher, "layer.weight": torch.cat([fisher["layer.weight"], torch.zeros(3, 3)])}
    one, other = importance(fisher, SHAPES, "mean"), importance(grown, SHAPES, "mean")
    torch.testing.assert_close(other["layer.weight"][:4], one["layer.weight"])
    torch.testing.assert_close(other["layer.bias"], one["layer.bias"])


def test_the_mean_is_taken_over_the_trained_parameters_alone() -> None:
    fisher = {"trained": torch.tensor([1.0, 3.0, 0.0]), "frozen": torch.tensor([1e9])}
    assert mean_fisher(fisher, ["trained"]) == 2.0
    assert importance(fisher, ["trained"], "mean")["trained"].tolist() == [0.5, 1.5, 0.0]
    assert "frozen" not in importance(fisher, ["trained"], "mean")


def test_the_raw_scale_leaves_the_fisher_as_it_is() -> None:
    w = importance(weights(), SHAPES, "raw")
    assert all(torch.equal(w[name], weights()[name]) for name in SHAPES)


def test_the_mean_of_very_many_small_values_is_exact() -> None:
    fisher = {"w": torch.full((4_000_000,), 1e-8, dtype=torch.float32)}
    assert mean_fisher(fisher, ["w"]) == pytest.approx(float(torch.tensor(1e-8)), rel=1e-9)


def test_the_raw_lambda_pulls_with_the_fisher_itself_as_lambda_does_with_its_weights() -> None:
    fisher = weights()
    theta, anchor = tensors(0), tensors(1)
    scaled = penalty(theta, anchor, importance(fisher, SHAPES, "mean"), LAMBDA)
    raw = penalty(theta, anchor, fisher, raw_lambda(fisher, SHAPES, "mean", LAMBDA))
    assert raw.item() == pytest.approx(scaled.item(), rel=1e-12)
    assert raw_lambda(fisher, SHAPES, "raw", LAMBDA) == LAMBDA


def test_a_fisher_without_a_positive_entry_protects_nothing_and_is_refused() -> None:
    with pytest.raises(
        ArtifactCorrupt, match=r"no positive entry over the 1 trained tensors.*fisher compute"
    ):
        mean_fisher({"w": torch.zeros(3)}, ["w"])
