"""The penalty pulls to the anchor, with the strength that the formula says."""

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import ArtifactCorrupt
from pipeline.ewc.penalty import add_penalty_gradient_, importance, mean_fisher, penalty

LAMBDA = 3.0
SHAPES = {"layer.weight": (4, 3), "layer.bias": (4,), "scale": ()}


def tensors(seed: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator, dtype=dtype) for name, shape in SHAPES.items()}


def weights(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    return {name: tensor.abs() for name, tensor in tensors(2, dtype).items()}


def parameters(dtype: torch.dtype = torch.float64) -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(tensor) for name, tensor in tensors(0, dtype).items()}


def test_penalty_is_zero_at_the_anchor() -> None:
    anchor = tensors(1)
    assert penalty(anchor, anchor, weights(), LAMBDA).item() == 0.0


def test_gradient_is_zero_at_the_anchor() -> None:
    theta = parameters()
    anchor = {name: p.detach().clone() for name, p in theta.items()}
    assert add_penalty_gradient_(theta, anchor, weights(), LAMBDA, with_value=True) == 0.0
    assert all(p.grad is not None and not p.grad.any() for p in theta.values())


def test_penalty_is_lambda_times_the_weighted_squares_without_one_half() -> None:
    value = penalty(
        {"w": torch.tensor([3.0, 5.0])},
        {"w": torch.tensor([1.0, 5.0])},
        {"w": torch.tensor([0.5, 9.0])},
        10.0,
    )
    assert value.item() == 10.0 * 0.5 * 4.0


def test_gradient_equals_the_one_of_autograd() -> None:
    theta, anchor, w = parameters(), tensors(1), weights()
    penalty(theta, anchor, w, LAMBDA).backward()  # type: ignore[no-untyped-call]
    expected = {name: p.grad.clone() for name, p in theta.items() if p.grad is not None}
    for p in theta.values():
        p.grad = None
    add_penalty_gradient_(theta, anchor, w, LAMBDA)
    for name, p in theta.items():
        torch.testing.assert_close(p.grad, expected[name], rtol=1e-12, atol=0)


def test_gradient_is_added_to_the_one_that_is_there() -> None:
    theta, anchor, w = parameters(), tensors(1), weights()
    add_penalty_gradient_(theta, anchor, w, LAMBDA)
    alone = {name: p.grad.clone() for name, p in theta.items() if p.grad is not None}
    for name, p in theta.items():
        p.grad = tensors(5)[name]
    add_penalty_gradient_(theta, anchor, w, LAMBDA)
    for name, p in theta.items():
        torch.testing.assert_close(p.grad, tensors(5)[name] + alone[name])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
def test_value_told_with_the_gradient_is_the_penalty(dtype: torch.dtype, tolerance: float) -> None:
    theta, anchor, w = parameters(dtype), tensors(1, dtype), weights(dtype)
    expected = penalty(theta, anchor, w, LAMBDA).item()
    assert add_penalty_gradient_(theta, anchor, w, LAMBDA, with_value=True) == pytest.approx(
        expected, rel=tolerance
    )
    assert add_penalty_gradient_(theta, anchor, w, LAMBDA) is None


def test_only_the_named_parameters_are_pulled() -> None:
    theta, anchor = parameters(), tensors(1)
    add_penalty_gradient_(theta, anchor, {"layer.bias": weights()["layer.bias"]}, LAMBDA)
    assert [name for name, p in theta.items() if p.grad is not None] == ["layer.bias"]


def test_a_zero_weight_does_not_pull() -> None:
    theta, anchor, w = parameters(), tensors(1), weights()
    w["layer.weight"][1] = 0.0
    add_penalty_gradient_(theta, anchor, w, LAMBDA)
    gradient = theta["layer.weight"].grad
    assert gradient is not None
    assert not gradient[1].any()
    assert gradient[0].all()


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


def test_a_fisher_without_a_positive_entry_protects_nothing_and_is_refused() -> None:
    with pytest.raises(
        ArtifactCorrupt, match=r"no positive entry over the 1 trained tensors.*fisher compute"
    ):
        mean_fisher({"w": torch.zeros(3)}, ["w"])
