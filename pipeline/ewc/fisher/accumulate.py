"""Per-example gradients, squared and summed without ever being stored.

Each function adds sum_b G_b^2 to an accumulator, where G_b is one example's gradient of one
parameter, and adds |G_b|^2 to the traces [B]. Shapes: B examples, T tokens, a parameter [R, K].
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Outer:
    """G_b = left_b^T right_b, as of a linear map's weight."""

    left: Tensor
    """[B, T, R]"""
    right: Tensor
    """[B, T, K]"""


@dataclass(frozen=True)
class Rows:
    """G_b[i] = sum of values_b[t] over the tokens with ids_b[t] = i, as of an embedding."""

    ids: Tensor
    """int64 [B, T]; negative ids count for nothing."""
    values: Tensor
    """[B, T, K]"""


@dataclass(frozen=True)
class Direct:
    """G_b itself, as of a bias or a norm's weight."""

    values: Tensor
    """[B, *parameter.shape]"""


Gradient = Outer | Rows | Direct


def add_squares(total: Tensor, gradients: list[Gradient], traces: Tensor) -> None:
    """Add sum_b (sum of this parameter's gradients of example b)^2.

    Gradients of several uses of one parameter (a module called twice, tied weights) are added before
    they are squared.

    Args:
        total: the accumulator, shaped like the parameter; changed in place.
        gradients: one for each use.
        traces: [B], float64; changed in place.
    """
    direct = [gradient for gradient in gradients if isinstance(gradient, Direct)]
    outer = [gradient for gradient in gradients if isinstance(gradient, Outer)]
    rows = [gradient for gradient in gradients if isinstance(gradient, Rows)]
    if direct:
        add_direct(
            total,
            sum((d.values.to(total.dtype) for d in direct[1:]), direct[0].values.to(total.dtype)),
            traces,
        )
    joined_rows = _joined_rows(rows, total.dtype) if rows else None
    if outer:
        left = torch.cat([o.left for o in outer], 1) if len(outer) > 1 else outer[0].left
        right = torch.cat([o.right for o in outer], 1) if len(outer) > 1 else outer[0].right
        left, right = left.to(total.dtype), right.to(total.dtype)
        add_outer(total, left, right, traces)
        if joined_rows is not None:
            add_rows(total, joined_rows, traces, left, right)
    elif joined_rows is not None:
        add_rows(total, joined_rows, traces)


def add_direct(total: Tensor, values: Tensor, traces: Tensor) -> None:
    """Add sum_b values_b^2 for values [B, *shape]."""
    squares = values.square()
    total.add_(squares.sum(0))
    traces.add_(squares.flatten(1).sum(1))


def add_outer(total: Tensor, left: Tensor, right: Tensor, traces: Tensor) -> None:
    """Add sum_b (left_b^T right_b)^2, over the tokens where both sides can be non-zero."""
    if left.shape[1] == 1:
        add_single_token(total, left[:, 0], right[:, 0], traces)
        return
    buffer = torch.empty_like(total)
    flat = buffer.view(-1)
    for b in range(len(left)):
        torch.mm(left[b].T, right[b], out=buffer)
        total.addcmul_(buffer, buffer)
        traces[b] += torch.dot(flat, flat)


def add_single_token(total: Tensor, left: Tensor, right: Tensor, traces: Tensor) -> None:
    """Add sum_b (left_b right_b^T)^2 = (left^2)^T (right^2) for left [B, R], right [B, K]."""
    left, right = left.square(), right.square()
    total.addmm_(left.T, right)
    traces.add_(left.sum(1) * right.sum(1))


def add_rows(
    total: Tensor, rows: Rows, traces: Tensor, left: Tensor | None = None, right: Tensor | None = None
) -> None:
    """Add sum_b E_b^2 for the scattered rows E_b, or 2 H_b E_b + E_b^2 when H_b = left_b^T right_b was added.

    Repeated ids of one example are added before squaring.
    """
    size = total.shape[0]
    examples = torch.arange(len(rows.ids), device=rows.ids.device).unsqueeze(1)
    used = rows.ids >= 0
    places, where = torch.unique((examples * size + rows.ids)[used], return_inverse=True)
    summed = total.new_zeros(len(places), total.shape[1]).index_add_(0, where, rows.values[used])
    owner, ids = places // size, places % size
    squares = summed.square()
    if left is not None and right is not None:
        squares.add_(summed * _rows_of_outer(left, right, owner, ids), alpha=2)
    total.index_add_(0, ids, squares)
    traces.index_add_(0, owner, squares.sum(1).to(traces.dtype))


def _rows_of_outer(left: Tensor, right: Tensor, owner: Tensor, ids: Tensor) -> Tensor:
    """Row ids[n] of left_b^T right_b for b = owner[n], [N, K]; `owner` ascends."""
    counts = torch.bincount(owner, minlength=len(left)).tolist()
    parts = torch.split(ids, counts)
    return torch.cat([left[b][:, part].T @ right[b] for b, part in enumerate(parts)])


def _joined_rows(rows: list[Rows], dtype: torch.dtype) -> Rows:
    return Rows(torch.cat([r.ids for r in rows], 1), torch.cat([r.values.to(dtype) for r in rows], 1))
