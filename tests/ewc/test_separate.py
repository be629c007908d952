"""One quadratic stands for the months' separate penalties."""

import pytest
import torch
from torch import Tensor

from pipeline.errors import ArtifactCorrupt
from pipeline.ewc.merge import merge_online
from pipeline.ewc.penalty import penalty
from pipeline.ewc.separate import collapsed

SHAPES = {"encoder": (5, 4), "head.weight": (3, 4), "head.bias": (3,)}
Named = dict[str, Tensor]


def drawn(seed: int, rows: int = 3) -> Named:
    generator = torch.Generator().manual_seed(seed)
    shapes = {n: (rows, *s[1:]) if n.startswith("head") else s for n, s in SHAPES.items()}
    return {n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in shapes.items()}


def months(count: int) -> list[tuple[Named, Named]]:
    """Fisher and anchor of each month; some entries matter to no month, some to one alone."""
    made = []
    for month in range(count):
        fisher = {name: tensor.square() for name, tensor in drawn(10 + month).items()}
        fisher["encoder"][month % 5] = 0.0
        fisher["encoder"][4] = 0.0
        made.append((fisher, drawn(20 + month)))
    return made


def gradient(theta: Named, parts: list[tuple[Named, Named]]) -> Named:
    """Of the sum of the penalties, by autograd."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in theta.items()}
    total = torch.stack([penalty(leaves, anchor, fisher, 2.0) for fisher, anchor in parts]).sum()
    return dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_gradient_is_that_of_the_sum_of_separate_penalties(count: int) -> None:
    parts, theta = months(count), drawn(1)
    one = collapsed(parts, theta)
    expected = gradient(theta, parts)
    for name, found in gradient(theta, [one]).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-10, atol=1e-12)


def test_the_value_differs_from_the_sum_by_a_constant() -> None:
    parts = months(3)
    one = collapsed(parts, drawn(1))
    apart = []
    for seed in (1, 2, 3):
        theta = drawn(seed)
        separate = sum(penalty(theta, anchor, fisher, 2.0).item() for fisher, anchor in parts)
        apart.append(separate - penalty(theta, one[1], one[0], 2.0).item())
    assert apart[0] > 1.0
    assert apart == pytest.approx([apart[0]] * 3, rel=1e-10)


def test_with_equal_anchors_it_is_the_online_form_with_gamma_one() -> None:
    (first, anchor), (second, _) = months(2)
    total, center = collapsed([(first, anchor), (second, anchor)], drawn(1))
    merged = merge_online(first, second, 1.0)
    for name in SHAPES:
        torch.testing.assert_close(total[name], merged[name], rtol=1e-14, atol=0)
        matters = total[name] > 0
        torch.testing.assert_close(center[name][matters], anchor[name][matters], rtol=1e-14, atol=0)


def test_where_no_month_has_any_fisher_the_anchor_is_the_present_weight() -> None:
    latest = drawn(1)
    total, center = collapsed(months(3), latest)
    assert not total["encoder"][4].any()
    assert torch.equal(center["encoder"][4], latest["encoder"][4])


def test_a_month_before_a_label_says_nothing_about_its_row() -> None:
    grown = drawn(1, rows=4)
    late_fisher, late_anchor = ({n: t.abs() for n, t in drawn(30, rows=4).items()}, drawn(31, rows=4))
    total, center = collapsed([*months(2), (late_fisher, late_anchor)], grown)
    assert torch.equal(total["head.weight"][3], late_fisher["head.weight"][3])
    torch.testing.assert_close(center["head.bias"][3], late_anchor["head.bias"][3])


def test_months_are_read_one_at_a_time_and_left_as_they_are() -> None:
    parts = months(3)
    kept = [{n: t.clone() for n, t in part.items()} for pair in parts for part in pair]
    collapsed((pair for pair in parts), drawn(1))
    found = [part for pair in parts for part in pair]
    assert all(torch.equal(a[n], b[n]) for a, b in zip(found, kept, strict=True) for n in SHAPES)


def test_a_month_of_other_parameters_is_refused() -> None:
    (fisher, anchor), other = months(1)[0], months(1)[0]
    fewer = {"encoder": other[0]["encoder"]}
    with pytest.raises(ArtifactCorrupt, match=r"2026-03: parameters differ.*missing head"):
        collapsed([(fisher, anchor), (fewer, other[1])], drawn(1), where="2026-03")


def test_no_month_is_an_error() -> None:
    with pytest.raises(ValueError, match="no month"):
        collapsed([], drawn(1))
