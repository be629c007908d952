"""Weights between anchor and candidate, and which of them is kept."""

import torch

from pipeline.ewc.interpolation import alphas, best_alpha, interpolate_


def test_alphas_end_at_the_candidate() -> None:
    assert alphas(1) == (1.0,)
    assert alphas(4) == (0.25, 0.5, 0.75, 1.0)


def test_one_gives_the_candidate_bit_for_bit_and_a_half_the_middle() -> None:
    draw = torch.Generator().manual_seed(3)
    anchor = {"a": torch.randn(5, 3, generator=draw), "b": torch.randn(4, generator=draw)}
    candidate = {"a": torch.randn(5, 3, generator=draw)}
    parameters = {name: torch.zeros_like(tensor) for name, tensor in anchor.items()}
    interpolate_(parameters, anchor, candidate, 1.0)
    assert torch.equal(parameters["a"], candidate["a"])
    interpolate_(parameters, anchor, candidate, 0.5)
    assert torch.allclose(parameters["a"], (anchor["a"] + candidate["a"]) / 2)
    assert torch.equal(parameters["b"], torch.zeros(4))


def test_earlier_and_new_rows_weigh_alike_and_of_equals_the_largest_step_is_taken() -> None:
    assert best_alpha({0.25: (0.1, 1.0), 0.5: (0.2, 0.6), 1.0: (0.9, 0.5)}) == 0.5
    assert best_alpha({0.5: (0.5, 0.25), 1.0: (0.25, 0.5)}) == 1.0
