"""The penalty in an optimizer step: as the formula says, in whatever pieces, without memory of the model's size."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.ewc.penalty import penalty
from pipeline.ewc.penalty_step import PenaltyStep

LAMBDA = 3.0
SHAPES = {"layer.weight": (4, 3), "layer.bias": (4,), "scale": ()}


def tensors(seed: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator, dtype=dtype) for name, shape in SHAPES.items()}


def weights(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    return {name: tensor.abs() for name, tensor in tensors(2, dtype).items()}


def parameters(dtype: torch.dtype = torch.float64) -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(tensor) for name, tensor in tensors(0, dtype).items()}


def values(of: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in of.items()}


def test_gradient_is_zero_at_the_anchor() -> None:
    theta = parameters()
    anchor = {name: p.detach().clone() for name, p in theta.items()}
    assert PenaltyStep(theta, anchor, weights(), LAMBDA).add_gradient_(with_value=True) == 0.0
    assert all(p.grad is not None and not p.grad.any() for p in theta.values())


def test_gradient_equals_the_one_of_autograd() -> None:
    theta, anchor, w = parameters(), tensors(1), weights()
    penalty(theta, anchor, w, LAMBDA).backward()  # type: ignore[no-untyped-call]
    expected = {name: p.grad.clone() for name, p in theta.items() if p.grad is not None}
    for p in theta.values():
        p.grad = None
    PenaltyStep(theta, anchor, w, LAMBDA).add_gradient_()
    for name, p in theta.items():
        torch.testing.assert_close(p.grad, expected[name], rtol=1e-12, atol=0)


def test_gradient_is_added_to_the_one_that_is_there() -> None:
    theta, anchor, w = parameters(), tensors(1), weights()
    PenaltyStep(theta, anchor, w, LAMBDA).add_gradient_()
    alone = {name: p.grad.clone() for name, p in theta.items() if p.grad is not None}
    for name, p in theta.items():
        p.grad = tensors(5)[name]
    PenaltyStep(theta, anchor, w, LAMBDA).add_gradient_()
    for name, p in theta.items():
        torch.testing.assert_close(p.grad, tensors(5)[name] + alone[name])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_value_told_with_the_gradient_is_the_penalty(dtype: torch.dtype, tolerance: float) -> None:
    theta, anchor, w = parameters(dtype), tensors(1, dtype), weights(dtype)
    expected = penalty(theta, anchor, w, LAMBDA).item()
    assert PenaltyStep(theta, anchor, w, LAMBDA).add_gradient_(with_value=True) == pytest.approx(
        expected, rel=tolerance
    )
    assert PenaltyStep(theta, anchor, w, LAMBDA).add_gradient_() is None


def test_only_the_named_parameters_are_pulled() -> None:
    theta, anchor = parameters(), tensors(1)
    PenaltyStep(theta, anchor, {"layer.bias": weights()["layer.bias"]}, LAMBDA).add_gradient_()
    assert [name for name, p in theta.items() if p.grad is not None] == ["layer.bias"]


def test_a_zero_weight_does_not_pull() -> None:
    theta, anchor, w = parameters(), tensors(1), weights()
    w["layer.weight"][1] = 0.0
    PenaltyStep(theta, anchor, w, LAMBDA).add_gradient_()
    gradient = theta["layer.weight"].grad
    assert gradient is not None
    assert not gradient[1].any()
    assert gradient[0].all()


@pytest.mark.parametrize("piece", [1, 3, 5, 12, 1000])
@pytest.mark.parametrize("together", [0, 4, 1000])
def test_the_pieces_do_not_change_the_step(piece: int, together: int) -> None:
    results = []
    for sizes in ({}, {"piece": piece, "together": together}):
        theta = parameters()
        step = PenaltyStep(theta, tensors(1), weights(), LAMBDA, **sizes)
        told = step.add_gradient_(with_value=True)
        gradients = {name: p.grad.clone() for name, p in theta.items() if p.grad is not None}
        step.pull_([0.1] * 3)
        results.append((gradients, values(theta), torch.tensor([told, step.value()])))
    torch.testing.assert_close(results[0], results[1], rtol=1e-14, atol=0)


def test_asking_for_the_value_does_not_change_the_gradient() -> None:
    gradients = []
    for asked in (False, True):
        theta = parameters(torch.float32)
        step = PenaltyStep(theta, tensors(1, torch.float32), weights(torch.float32), LAMBDA)
        step.add_gradient_(with_value=asked)
        gradients.append({name: p.grad for name, p in theta.items()})
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in SHAPES)  # type: ignore[arg-type]


def test_weights_may_be_one_number_that_is_expanded() -> None:
    theta, ones = (
        parameters(),
        {name: torch.ones(shape, dtype=torch.float64) for name, shape in SHAPES.items()},
    )
    PenaltyStep(theta, tensors(1), ones, LAMBDA).add_gradient_()
    expected = {name: p.grad.clone() for name, p in theta.items() if p.grad is not None}
    for p in theta.values():
        p.grad = None
    one = torch.ones((), dtype=torch.float64)
    expanded = {name: one.expand(shape) for name, shape in SHAPES.items()}
    PenaltyStep(theta, tensors(1), expanded, LAMBDA, piece=3, together=0).add_gradient_()
    assert all(torch.equal(theta[name].grad, expected[name]) for name in SHAPES)  # type: ignore[arg-type]


def test_parameters_need_not_lie_in_one_stretch_of_memory() -> None:
    theta = {"w": nn.Parameter(torch.randn(6, 4, dtype=torch.float64).t())}
    anchor, w = {"w": torch.randn(4, 6, dtype=torch.float64)}, {"w": torch.rand(4, 6, dtype=torch.float64)}
    PenaltyStep(theta, anchor, w, LAMBDA, piece=7, together=0).add_gradient_()
    expected = 2 * LAMBDA * w["w"] * (theta["w"].detach() - anchor["w"])
    torch.testing.assert_close(theta["w"].grad, expected, rtol=1e-12, atol=0)


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the largest memory that any operation hands out, what was there before aside."""

    def __init__(self, known: Iterator[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known, self.most = {t.untyped_storage().data_ptr() for t in known}, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() not in self.known:
                self.most = max(self.most, leaf.untyped_storage().nbytes() // leaf.element_size())
        return result


@pytest.mark.parametrize("form", ["gradient", "proximal", "value"])
def test_no_memory_of_a_parameters_size_is_taken(form: str) -> None:
    theta = {"a": nn.Parameter(torch.randn(100, 10)), "b": nn.Parameter(torch.randn(70))}
    for p in theta.values():
        p.grad = torch.zeros_like(p)
    anchor, w = values(theta), {name: torch.rand(p.shape) for name, p in theta.items()}
    step = PenaltyStep(theta, anchor, w, LAMBDA, piece=80, together=70)
    held = [
        *theta.values(),
        *anchor.values(),
        *w.values(),
        *(p.grad for p in theta.values() if p.grad is not None),
    ]
    with Largest(iter(held)) as largest:
        if form == "gradient":
            step.add_gradient_(with_value=True)
        elif form == "proximal":
            step.pull_([0.1, 0.1])
        else:
            step.value()
    assert 0 < largest.most <= 80


def test_the_proximal_step_is_the_implicit_step_of_plain_gradient_descent() -> None:
    """theta+ = theta - rate * gradient of the penalty at theta+."""
    theta, anchor, w, rate = parameters(), tensors(1), weights(), 0.3
    before = values(theta)
    PenaltyStep(theta, anchor, w, LAMBDA).pull_([rate] * 3)
    for name, p in theta.items():
        implicit = before[name] - rate * 2 * LAMBDA * w[name] * (p.detach() - anchor[name])
        torch.testing.assert_close(p.detach(), implicit, rtol=1e-12, atol=1e-12)


def test_both_forms_agree_to_first_order_in_rate_times_lambda() -> None:
    """With plain SGD; a rate ten times smaller makes them a hundred times nearer."""
    apart = []
    for rate in (1e-3, 1e-4):
        explicit, proximal = parameters(), parameters()
        PenaltyStep(explicit, tensors(1), weights(), LAMBDA).add_gradient_()
        torch.optim.SGD(explicit.values(), lr=rate).step()
        PenaltyStep(proximal, tensors(1), weights(), LAMBDA).pull_([rate] * 3)
        apart.append(max((explicit[n] - proximal[n]).abs().max().item() for n in SHAPES))
    assert apart[0] > 0
    assert apart[1] == pytest.approx(apart[0] / 100, rel=0.05)


@pytest.mark.parametrize("strength", [1e10, 1e30])
def test_a_very_strong_proximal_pull_ends_at_the_anchor(strength: float) -> None:
    theta, anchor = parameters(torch.float32), tensors(1, torch.float32)
    ones = {name: torch.ones(shape) for name, shape in SHAPES.items()}
    PenaltyStep(theta, anchor, ones, strength).pull_([1e-3] * 3)
    for name, p in theta.items():
        torch.testing.assert_close(p.detach(), anchor[name], rtol=1e-6, atol=1e-6)
        assert strength < 1e20 or torch.equal(p, anchor[name])


@pytest.mark.parametrize(("weight", "rate"), [(0.0, 0.1), (1.0, 0.0)])
def test_no_weight_or_no_rate_leaves_every_bit(weight: float, rate: float) -> None:
    theta, anchor = parameters(torch.float32), tensors(1, torch.float32)
    before = values(theta)
    PenaltyStep(theta, anchor, {n: torch.full(s, weight) for n, s in SHAPES.items()}, LAMBDA).pull_(
        [rate] * 3
    )
    assert all(torch.equal(before[name], p) for name, p in theta.items())


def test_every_parameter_is_pulled_at_its_own_rate() -> None:
    theta, anchor, w = parameters(), tensors(1), weights()
    before, rates = values(theta), (0.0, 0.1, 10.0)
    PenaltyStep(theta, anchor, w, LAMBDA).pull_(rates)
    for (name, p), rate in zip(theta.items(), rates, strict=True):
        pulled = 2 * rate * LAMBDA * w[name]
        expected = (before[name] + pulled * anchor[name]) / (1 + pulled)
        torch.testing.assert_close(p.detach(), expected, rtol=1e-12, atol=1e-12)
