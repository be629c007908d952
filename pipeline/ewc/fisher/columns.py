"""The columns that are backpropagated: factors of the Fisher of the logits.

With p = softmax(z), the Fisher of a class distribution in its logits z is S = diag(p) - p p^T. For any
V with V V^T = S (in expectation), the diagonal Fisher of the weights is sum_k (J^T v_k)^2 with
J = dz / d theta: one backward pass for each column v_k. The estimators differ only in their V.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.ewc.fisher.draws import signs, uniforms

_SUBSPACE_STEPS = 8
_MOST_EXACT_COLUMNS = 4096


@dataclass(frozen=True)
class Scored:
    """Logits whose distribution counts, and whose they are.

    A sequence of tokens is one example: its columns reach all of its tokens at once.
    """

    logits: Tensor
    """[B, S, C]; S = 1 for a classifier, the number of positions for a language model."""
    mask: Tensor
    """bool [B, S]: positions that are scored."""
    labels: Tensor | None
    """int64 [B, S], only read by the empirical estimator, where `mask` holds."""
    keys: Tensor
    """int64 [B], the examples' names."""


def scored_labels(logits: Tensor, labels: Tensor) -> Scored:
    """What a classifier says about N rows, logits [N, C], with their labels [N], named by their positions."""
    mask = torch.ones(len(logits), 1, dtype=torch.bool, device=logits.device)
    keys = torch.arange(len(logits), device=logits.device)
    return Scored(logits.unsqueeze(1), mask, labels.unsqueeze(1), keys)


def columns(scored: Scored, estimator: str, draws: int, seed: int) -> Iterator[Tensor]:
    """Backward columns, [B, S, C] each, whose squares add up to the estimator's Fisher.

    Over several positions the Fisher of a sequence is the sum of its positions' Fishers, because the
    scores of different positions are uncorrelated. Draws keep that in expectation: labels are drawn
    position by position, eigen-columns get an independent random sign at each position.

    Args:
        scored: logits and what goes with them.
        estimator: `exact`, `mc`, `lowrank` or `empirical`.
        draws: labels for `mc`, columns for `lowrank`; ignored by the others.
        seed: of all draws.

    Raises:
        UsageError: `exact` over more columns than anyone would wait for; no labels for `empirical`.
    """
    if estimator == "exact":
        return _exact(scored)
    if estimator == "mc":
        return _monte_carlo(scored, draws, seed)
    if estimator == "lowrank":
        return _lowrank(scored, draws, seed)
    return iter([_score(scored, _given_labels(scored))])


def column_count(estimator: str, draws: int, positions: int, classes: int) -> int:
    """How many columns `columns` yields."""
    if estimator == "exact":
        return positions * (classes - 1)
    return draws if estimator in ("mc", "lowrank") else 1


def drawn_labels(scored: Scored, draw: int, seed: int) -> Tensor:
    """Labels from the model's own distribution, int64 [B, S], by inversion of the cumulative sum."""
    cumulative = scored.logits.double().softmax(-1).cumsum(-1)
    height = uniforms(seed, draw, scored.keys, scored.mask.shape[1:]) * cumulative[..., -1]
    return (
        torch.searchsorted(cumulative, height.unsqueeze(-1), right=True)
        .squeeze(-1)
        .clamp_(max=cumulative.shape[-1] - 1)
    )


def _given_labels(scored: Scored) -> Tensor:
    if scored.labels is None:
        raise UsageError("Fisher: the empirical estimator needs 'labels' in every batch, found none.")
    return scored.labels


def _score(scored: Scored, labels: Tensor) -> Tensor:
    """d log p(label) / d logits = e_label - p."""
    column = -_probabilities(scored.logits)
    column.scatter_add_(-1, labels.clamp(min=0).unsqueeze(-1), torch.ones_like(column[..., :1]))
    return _finish(column, scored)


def _probabilities(logits: Tensor) -> Tensor:
    # A class distribution is small, so doubles are free; a vocabulary's is as large as the logits.
    return logits.detach().to(_column_dtype(logits)).softmax(-1)


def _column_dtype(logits: Tensor) -> torch.dtype:
    return torch.float64 if logits.shape[1] == 1 or logits.dtype == torch.float64 else torch.float32


def _finish(column: Tensor, scored: Scored) -> Tensor:
    column.mul_(scored.mask.unsqueeze(-1))
    return column.to(scored.logits.dtype)


def require_few_columns(positions: int, classes: int) -> None:
    """Refuse what `exact` would take too long for.

    Raises:
        UsageError: more than 4,096 columns an example.
    """
    if positions * (classes - 1) > _MOST_EXACT_COLUMNS:
        raise UsageError(
            f"Fisher: exact needs {positions * (classes - 1):,} backward columns per example here "
            f"(at most {_MOST_EXACT_COLUMNS:,}). Use the lowrank estimator."
        )


def _exact(scored: Scored) -> Iterator[Tensor]:
    """The Cholesky factor of S, C - 1 columns in closed form (Tanabe and Sagae 1992, theorem 1).

    With tail sums q_j = sum_{i >= j} p_i, column j holds sqrt(p_j q_{j+1} / q_j) at j and
    -p_i sqrt(p_j / (q_j q_{j+1})) at i > j. It equals the C columns sqrt(p_c) (e_c - p) in what the
    squares add up to, with one column less, and subtracts nowhere.
    """
    p = _probabilities(scored.logits)
    positions, classes = p.shape[1:]
    require_few_columns(positions, classes)
    tails = p.flip(-1).cumsum(-1).flip(-1)
    for position in range(positions):
        for j in range(classes - 1):
            here, after = tails[:, position, j], tails[:, position, j + 1]
            share = p[:, position, j] / (here * after)
            column = torch.zeros_like(p)
            column[:, position, j + 1 :] = -p[:, position, j + 1 :] * share.sqrt().unsqueeze(-1)
            column[:, position, j] = (p[:, position, j] * after / here).sqrt()
            yield _finish(torch.nan_to_num_(column, nan=0.0, posinf=0.0, neginf=0.0), scored)


def _monte_carlo(scored: Scored, draws: int, seed: int) -> Iterator[Tensor]:
    for draw in range(draws):
        yield _score(scored, drawn_labels(scored, draw, seed)).div_(draws**0.5)


def _lowrank(scored: Scored, draws: int, seed: int) -> Iterator[Tensor]:
    """`draws` - 1 leading eigen-columns and one random combination of all that is left.

    With R = diag(sqrt p) - p sqrt(p)^T (so S = R R^T) and Q an orthonormal basis of `draws` - 1
    directions, the columns are R Q and R (I - Q Q^T) s with random signs s. E[s s^T] = I makes it
    unbiased for every Q; Q is the leading right singular space of R, by subspace iteration, which
    leaves the least to chance (the scheme of Hutch++, Meyer et al. 2021, for a diagonal).
    """
    p = _probabilities(scored.logits)
    root = p.sqrt()
    shape = tuple(p.shape[1:])
    rest = signs(seed, 0, scored.keys, shape, p.dtype)
    leading = min(draws - 1, p.shape[-1] - 1)
    if leading > 0:
        start = uniforms(seed, 1, scored.keys, (*shape, leading)).to(p.dtype) - 0.5
        basis = torch.linalg.qr(start).Q
        for _ in range(_SUBSPACE_STEPS):
            basis = torch.linalg.qr(_transposed_root(root, p, _root(root, p, basis))).Q
        rest = rest - (basis @ (basis.mT @ rest.unsqueeze(-1))).squeeze(-1)
        flips = signs(seed, 2, scored.keys, (shape[0], leading), p.dtype)
        for j in range(leading):
            column = _root(root, p, basis[..., j : j + 1]).squeeze(-1)
            yield _finish(column * flips[..., j : j + 1], scored)
    yield _finish(_root(root, p, rest.unsqueeze(-1)).squeeze(-1), scored)


def _root(root: Tensor, p: Tensor, x: Tensor) -> Tensor:
    """R x for x [B, S, C, k]."""
    scaled = root.unsqueeze(-1) * x
    return scaled - p.unsqueeze(-1) * scaled.sum(-2, keepdim=True)


def _transposed_root(root: Tensor, p: Tensor, x: Tensor) -> Tensor:
    """R^T x for x [B, S, C, k]."""
    return root.unsqueeze(-1) * (x - (p.unsqueeze(-1) * x).sum(-2, keepdim=True))
