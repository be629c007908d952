"""Per-example gradients, squared and summed without ever being stored.

Each function adds sum_b G_b^2 to an accumulator, where G_b is one example's gradient of one
parameter, and adds |G_b|^2 to the traces [B]. Gradients come in the accumulator's dtype. Shapes: B examples, T tokens, a parameter [R, K].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_PIECE = 5 << 17
"""Elements of a gradient that are formed at once: with the accumulator's piece they fit a core's caches."""
_GRAM_GAIN = 4
"""How many times faster a small matrix product runs than a sum of squares over memory, per number read."""
_GROUP = 1 << 26
"""Elements of all gradients that are formed at once on a device with fast memory."""


@dataclass(frozen=True)
class Outer:
    """G_b = left_b^T right_b, as of a linear map's weight."""

    left: Tensor
    """[B, T, R]"""
    right: Tensor
    """[B, T, K]"""
    live: Tensor
    """bool [B, T]; tokens where it is False have no gradient and are left out."""


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


def add_squares(total: Tensor, gradients: Sequence[Gradient], traces: Tensor) -> None:
    """Add sum_b (sum of this parameter's gradients of example b)^2.

    Gradients of several uses of one parameter (a module called twice, tied weights) are added before
    they are squared.

    Args:
        total: the accumulator, shaped like the parameter; changed in place.
        gradients: one for each use.
        traces: [B], float64; changed in place.
    """
    direct = [gradient for gradient in gradients if isinstance(gradient, Direct)]
    outers = [gradient for gradient in gradients if isinstance(gradient, Outer)]
    rows = [gradient for gradient in gradients if isinstance(gradient, Rows)]
    if direct:
        add_direct(total, torch.stack([gradient.values for gradient in direct]).sum(0), traces)
    outer = _joined_outers(outers) if outers else None
    if outer is not None:
        add_outer(total, outer, traces)
    if rows:
        add_rows(total, _joined_rows(rows), traces, outer)


def add_direct(total: Tensor, values: Tensor, traces: Tensor) -> None:
    """Add sum_b values_b^2 for values [B, *shape]."""
    squares = values.square()
    total.add_(squares.sum(0))
    traces.add_(squares.flatten(1).sum(1))


def add_outer(total: Tensor, outer: Outer, traces: Tensor) -> None:
    """Add sum_b (left_b^T right_b)^2.

    One example's gradient at a time is formed, in pieces that stay in the cache together with their
    piece of the accumulator.
    """
    if outer.left.device.type != "cpu":
        _add_outer_in_groups(total, outer, traces)
        return
    if int(outer.live.sum(1).max()) <= 1:
        _add_single_tokens(total, outer, traces)
        return
    pairs = _live_pairs(outer)
    (rows, columns), tokens = total.shape, outer.live.shape[1]
    by_gram = tokens * tokens * (rows + columns) <= _GRAM_GAIN * rows * columns
    if by_gram:
        traces.add_(_squared_norms(outer))
    step = -(-rows // -(-rows * columns // _PIECE))  # pieces of equal size
    buffer = total.new_empty(min(step, rows), columns)
    norms = [0.0] * len(outer.left)
    for start in range(0, rows, step):
        piece = total[start : start + step]
        scratch = buffer[: len(piece)]
        flat = scratch.view(-1)
        for b, left, right in pairs:
            torch.mm(left[start : start + step], right, out=scratch)
            piece.addcmul_(scratch, scratch)
            if not by_gram:
                norms[b] += float(torch.dot(flat, flat))
    if not by_gram:
        traces.add_(traces.new_tensor(norms))


def _add_outer_in_groups(total: Tensor, outer: Outer, traces: Tensor) -> None:
    """`add_outer` where starting a kernel costs more than its work: several examples to a product."""
    step = max(1, _GROUP // total.numel())
    for b in range(0, len(outer.left), step):
        gradients = torch.bmm(outer.left[b : b + step].mT, outer.right[b : b + step]).square_()
        total.add_(gradients.sum(0))
        traces[b : b + step] += gradients.sum((1, 2))


def _live_pairs(outer: Outer) -> list[tuple[int, Tensor, Tensor]]:
    """(b, left_b^T [R, n], right_b [n, K]) for the examples with n > 0 live tokens.

    Views where the live tokens come first, as before padding.
    """
    lefts, rights = outer.left.mT.unbind(0), outer.right.unbind(0)
    if bool(outer.live.all()):
        return list(zip(range(len(lefts)), lefts, rights, strict=True))
    counts = outer.live.sum(1)
    prefixes = (outer.live.cummin(1).values.sum(1) == counts).tolist()
    pairs = []
    for b, (count, prefix) in enumerate(zip(counts.tolist(), prefixes, strict=True)):
        if count:
            kept = slice(0, count) if prefix else outer.live[b]
            pairs.append((b, lefts[b][:, kept], rights[b][kept]))
    return pairs


def _squared_norms(outer: Outer) -> Tensor:
    """|left_b^T right_b|^2 = sum_{t,s} (left_t . left_s) (right_t . right_s), [B].

    A token without gradient has zeros on one side, so it may stay in.
    """
    left, right = outer.left, outer.right
    return torch.bmm(left, left.mT).mul_(torch.bmm(right, right.mT)).sum((1, 2))


def _add_single_tokens(total: Tensor, outer: Outer, traces: Tensor) -> None:
    """`add_outer` for at most one live token an example: sum_b (left_b right_b^T)^2 = (left^2)^T (right^2)."""
    left, right = outer.left[outer.live].square_(), outer.right[outer.live].square_()
    total.addmm_(left.T, right)
    traces[outer.live.any(1)] += left.sum(1) * right.sum(1)


def add_rows(total: Tensor, rows: Rows, traces: Tensor, outer: Outer | None = None) -> None:
    """Add sum_b E_b^2 for the scattered rows E_b, or 2 H_b E_b + E_b^2 where sum_b H_b^2 of `outer` was added.

    Repeated ids of one example are added before squaring.
    """
    size = total.shape[0]
    examples = torch.arange(len(rows.ids), device=rows.ids.device).unsqueeze(1)
    used = rows.ids >= 0
    places, where = torch.unique((examples * size + rows.ids)[used], return_inverse=True)
    summed = total.new_zeros(len(places), total.shape[1]).index_add_(0, where, rows.values[used])
    owner, ids = places // size, places % size
    squares = summed.square()
    if outer is not None:
        squares.add_(summed * _rows_of_outer(outer, owner, ids), alpha=2)
    total.index_add_(0, ids, squares)
    traces.index_add_(0, owner, squares.sum(1).to(traces.dtype))


def _rows_of_outer(outer: Outer, owner: Tensor, ids: Tensor) -> Tensor:
    """Row ids[n] of left_b^T right_b for b = owner[n], [N, K]; `owner` ascends."""
    counts = torch.bincount(owner, minlength=len(outer.left)).tolist()
    parts = torch.split(ids, counts)
    return torch.cat([outer.left[b][:, part].T @ outer.right[b] for b, part in enumerate(parts)])


def _joined_outers(outers: list[Outer]) -> Outer:
    left, right, live = ([getattr(o, side) for o in outers] for side in ("left", "right", "live"))
    return Outer(_joined(left), _joined(right), _joined(live))


def _joined_rows(rows: list[Rows]) -> Rows:
    return Rows(_joined([r.ids for r in rows]), _joined([r.values for r in rows]))


def _joined(parts: list[Tensor]) -> Tensor:
    """Along the tokens; a gradient is a sum over tokens, wherever they come from."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
