"""The predicted curve over lambda."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ewc.fisher.columns import scored_labels
from pipeline.ewc.lambda_path import (
    balanced_lambda,
    calibrated,
    directional_change,
    lambda_grid,
    path_point,
    second_order_change,
    weighted_square,
)
from pipeline.ewc.penalty import penalty


def vectors(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """theta*, d, F_new > 0 and W > 0."""
    generator = torch.Generator().manual_seed(seed)
    a, d, f, w = (torch.randn(7, generator=generator, dtype=torch.float64) for _ in range(4))
    return a, d, f.square() + 0.1, w.square() + 0.1


@pytest.mark.parametrize("lambda_", [0.01, 1.0, 50.0])
def test_path_point_minimises_the_new_quadratic_and_our_penalty(lambda_: float) -> None:
    anchor, change, curvature, weights = vectors()
    theta = path_point({"p": anchor}, {"p": change}, {"p": curvature}, {"p": weights}, lambda_)["p"]
    theta = theta.clone().requires_grad_(True)
    loss = 0.5 * (curvature * (theta - anchor - change).square()).sum()
    total = loss + penalty({"p": theta}, {"p": anchor}, {"p": weights}, lambda_)
    (gradient,) = torch.autograd.grad(total, theta)
    assert gradient.abs().max() < 1e-12


def test_path_starts_at_plain_and_ends_at_the_anchor() -> None:
    anchor, change, curvature, weights = vectors()
    named = ({"p": anchor}, {"p": change}, {"p": curvature}, {"p": weights})
    assert torch.equal(path_point(*named, 0.0)["p"], anchor + change)
    assert torch.allclose(path_point(*named, 1e12)["p"], anchor, atol=1e-9)


def test_path_leaves_weights_free_that_nothing_holds() -> None:
    anchor, change = torch.zeros(3), torch.ones(3)
    curvature, weights = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 2.0, 0.0])
    point = path_point({"p": anchor}, {"p": change}, {"p": curvature}, {"p": weights}, 1.0)["p"]
    assert point.tolist() == [1.0, 0.0, 1.0]
    free = path_point({"p": anchor}, {"p": change}, {"p": curvature}, {}, 1.0)["p"]
    assert torch.equal(free, change)


@given(st.floats(1e-4, 1e4), st.floats(1.1, 100.0))
def test_more_lambda_never_moves_a_weight_further(lambda_: float, factor: float) -> None:
    anchor, change, curvature, weights = vectors(1)
    named = ({"p": anchor}, {"p": change}, {"p": curvature}, {"p": weights})
    near = path_point(*named, lambda_ * factor)["p"] - anchor
    far = path_point(*named, lambda_)["p"] - anchor
    assert bool((near.abs() <= far.abs() + 1e-12).all())


def test_calibration_makes_the_quadratic_account_for_the_fall() -> None:
    _, change, curvature, _ = vectors()
    scaled = calibrated({"p": curvature}, {"p": change}, 0.7)
    assert 0.5 * weighted_square(scaled, {"p": change}) == pytest.approx(0.7)
    assert torch.equal(calibrated({"p": curvature}, {"p": change}, -0.1)["p"], curvature)


def test_second_order_change_is_exact_for_a_quadratic_loss_averaged_over_months() -> None:
    _, change, fisher, _ = vectors()
    expected = 0.5 * float(change @ torch.diag(fisher) @ change)
    assert second_order_change({"p": fisher}, {"p": change}) == pytest.approx(expected)
    assert second_order_change({"p": 3 * fisher}, {"p": change}, months=3.0) == pytest.approx(expected)


def test_balance_does_not_depend_on_the_units_of_the_weights() -> None:
    _, change, curvature, weights = vectors()
    scale = balanced_lambda({"p": curvature}, {"p": weights}, {"p": change})
    stretched = balanced_lambda({"p": curvature / 100}, {"p": weights / 100}, {"p": change * 10})
    assert stretched == pytest.approx(scale)
    assert weighted_square({"p": 2 * scale * weights}, {"p": change}) == pytest.approx(
        weighted_square({"p": curvature}, {"p": change})
    )


def test_balance_refuses_where_nothing_moved() -> None:
    _, _, curvature, weights = vectors()
    with pytest.raises(ValueError, match="no penalised weight moved"):
        balanced_lambda({"p": curvature}, {"p": weights}, {"p": torch.zeros(7)})


def test_grid_holds_round_numbers_three_decades_either_way() -> None:
    grid = lambda_grid(2.5)
    assert list(grid) == [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]
    assert list(lambda_grid(1.0, decades=1, mantissas=(1.0,))) == [0.1, 1.0, 10.0]


def test_directional_change_is_the_expansion_of_the_loss_along_the_change() -> None:
    torch.manual_seed(0)
    inputs, weight, change = (torch.randn(*shape, dtype=torch.float64) for shape in ((50, 6), (4, 6), (4, 6)))
    labels = torch.randint(4, (50,))

    def loss(t: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(inputs @ (weight + t * change).T, labels)

    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(loss(t), t, create_graph=True)
    (second,) = torch.autograd.grad(first, t)
    slope, curvature = directional_change(
        scored_labels(inputs @ weight.T, labels),
        (inputs @ (weight + 0.01 * change).T).unsqueeze(1),
        step=0.01,
    )
    assert slope == pytest.approx(first.item())
    assert curvature == pytest.approx(0.5 * second.item())  # logits are linear: Fisher and Hessian agree
