import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.ewc.fisher import accumulate
from pipeline.ewc.fisher.accumulate import Direct, Gradient, Outer, Rows, add_squares


def dense(gradient: Gradient, example: int, shape: tuple[int, ...]) -> Tensor:
    """One example's gradient, spelled out."""
    if isinstance(gradient, Direct):
        return gradient.values[example]
    if isinstance(gradient, Outer):
        return gradient.left[example].T @ gradient.right[example]
    full = torch.zeros(shape, dtype=torch.float64)
    for token, row in enumerate(gradient.ids[example].tolist()):
        if row >= 0:
            full[row] += gradient.values[example, token]
    return full


def check(gradients: list[Gradient], shape: tuple[int, ...], examples: int) -> None:
    total, traces = torch.zeros(shape, dtype=torch.float64), torch.zeros(examples, dtype=torch.float64)
    add_squares(total, gradients, traces)
    each = [torch.stack([dense(g, b, shape) for g in gradients]).sum(0).square() for b in range(examples)]
    torch.testing.assert_close(total, torch.stack(each).sum(0), rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(traces, torch.stack([square.sum() for square in each]), rtol=1e-11, atol=1e-13)


def outer(live: Tensor, rows: int, columns: int, seed: int) -> Outer:
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(*live.shape, rows, dtype=torch.float64, generator=generator) * live.unsqueeze(-1)
    return Outer(left, torch.randn(*live.shape, columns, dtype=torch.float64, generator=generator), live)


@settings(max_examples=25, deadline=None)
@given(
    live=st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=4),
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    piece=st.sampled_from([1, 7, 40, 1 << 19]),
)
def test_outer_products_are_squared_per_example_whatever_is_live_and_however_cut(
    live: list[list[bool]], rows: int, columns: int, piece: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accumulate, "_PIECE", piece)
        check([outer(torch.tensor(live), rows, columns, 0)], (rows, columns), len(live))


def test_grouped_products_give_the_same() -> None:
    gradient = outer(torch.ones(5, 3, dtype=torch.bool), 4, 6, 0)
    one, many = torch.zeros(4, 6, dtype=torch.float64), torch.zeros(4, 6, dtype=torch.float64)
    traces, grouped = torch.zeros(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    add_squares(one, [gradient], traces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accumulate, "_GROUP", 48)
        accumulate._add_outer_in_groups(many, gradient, grouped)
    torch.testing.assert_close(many, one)
    torch.testing.assert_close(grouped, traces)


def test_repeated_rows_of_one_example_are_added_before_squaring_and_negative_ids_skipped() -> None:
    ids = torch.tensor([[2, 2, 0], [1, -1, 2]])
    values = torch.ones(2, 3, 1, dtype=torch.float64)
    total, traces = torch.zeros(4, 1, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    add_squares(total, [Rows(ids, values)], traces)
    assert total.flatten().tolist() == [1, 1, 5, 0]
    assert traces.tolist() == [5, 2]


def test_uses_of_one_parameter_are_added_before_squaring() -> None:
    live = torch.tensor([[True, True, False], [True, True, True]])
    first, second = outer(live, 5, 3, 0), outer(live, 5, 3, 1)
    ids = torch.tensor([[0, 3, 3], [4, 1, -1]])
    rows = Rows(ids, torch.randn(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4)))
    again = Rows(ids.flip(0), rows.values.flip(1))
    together: list[list[Gradient]] = [
        [first, second],
        [first, rows],
        [rows, again],
        [first, rows, second, again],
    ]
    for gradients in together:
        check(gradients, (5, 3), 2)
    vectors = [Direct(torch.randn(2, 5, dtype=torch.float64)) for _ in range(2)]
    check([*vectors], (5,), 2)
