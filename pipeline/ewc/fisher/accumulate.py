"""Per-example gradients, squared and summed without ever being stored.

Each function adds sum_b G_b^2 to an accumulator, where G_b is one example's gradient of one
parameter, and adds |G_b|^2 to the traces [B]. Gradients come in the accumulator's dtype. Shapes: B examples, T tokens, a parameter [R, K].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_PIECE = 1 << 19
"""Elements of a gradient that are formed at once: with the accumulator's piece they fit a core's caches."""
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
    pairs = _live_pairs(outer)
    single = [b for b, (left, _) in enumerate(pairs) if len(left) == 1]
    if single:
        here = traces.new_zeros(len(single))
        left, right = (torch.cat([pairs[b][side] for b in single]) for side in (0, 1))
        add_single_token(total, left, right, here)
        traces[single] += here
    several = [b for b, (left, _) in enumerate(pairs) if len(left) > 1]
    by_gram = {b for b in several if _gram_is_cheaper(*pairs[b])}
    norms = {b: _squared_norm(*pairs[b]) for b in by_gram}
    rows = max(1, _PIECE // total.shape[1])
    buffer = total.new_empty(min(rows, len(total)), total.shape[1])
    for piece, columns in zip(torch.split(total, rows), range(0, len(total), rows), strict=True):
        scratch = buffer[: len(piece)]
        for b in several:
            left, right = pairs[b]
            torch.mm(left[:, columns : columns + rows].T, right, out=scratch)
            piece.addcmul_(scratch, scratch)
            if b not in by_gram:
                norms[b] = norms.get(b, 0.0) + float(torch.dot(scratch.view(-1), scratch.view(-1)))
    if several:
        traces[several] += traces.new_tensor([norms[b] for b in several])


def _add_outer_in_groups(total: Tensor, outer: Outer, traces: Tensor) -> None:
    """`add_outer` where starting a kernel costs more than its work: several examples to a product."""
    step = max(1, _GROUP // total.numel())
    for b in range(0, len(outer.left), step):
        gradients = torch.bmm(outer.left[b : b + step].mT, outer.right[b : b + step]).square_()
        total.add_(gradients.sum(0))
        traces[b : b + step] += gradients.sum((1, 2))


def _live_pairs(outer: Outer) -> list[tuple[Tensor, Tensor]]:
    """Each example's sides [n, R] and [n, K] over its n live tokens; views where those come first."""
    pairs = []
    places = torch.arange(1, outer.live.shape[1] + 1)
    counts, ends = outer.live.sum(1).tolist(), (outer.live * places).amax(1).tolist()
    for b, (count, end) in enumerate(zip(counts, ends, strict=True)):
        kept = slice(0, end) if count == end else outer.live[b]
        pairs.append((outer.left[b, kept], outer.right[b, kept]))
    return pairs


def _gram_is_cheaper(left: Tensor, right: Tensor) -> bool:
    (tokens, rows), columns = left.shape, right.shape[1]
    return tokens * tokens * (rows + columns) <= 4 * rows * columns


def _squared_norm(left: Tensor, right: Tensor) -> float:
    """|left^T right|^2 = sum_{t,s} (left_t . left_s) (right_t . right_s)."""
    return float((left @ left.T).mul_(right @ right.T).sum())


def add_single_token(total: Tensor, left: Tensor, right: Tensor, traces: Tensor) -> None:
    """Add sum_b (left_b right_b^T)^2 = (left^2)^T (right^2) for left [B, R], right [B, K]."""
    left, right = left.square(), right.square()
    total.addmm_(left.T, right)
    traces.add_(left.sum(1) * right.sum(1))


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
