"""Which estimator `auto` means, from the classes and the model's confidence on a first sample."""

from dataclasses import dataclass

from torch import Tensor

from pipeline.ewc.fisher.columns import Scored, columns

_MOST_COLUMNS = 4
_BETWEEN_EXAMPLES = 0.75
"""Variance of an entry's squared gradient over examples, over its mean square: 3/4 if it has a
variance of three times its squared mean, as gradients with heavy tails have."""
_DRAWS = {"mc": 4, "lowrank": 2}


@dataclass(frozen=True)
class EstimatorChoice:
    """An estimator with its number of draws, and why, in one line."""

    estimator: str
    draws: int
    reason: str = ""


def asked_for(estimator: str, draws: int | None) -> EstimatorChoice:
    """The choice of a caller who knows which estimator, and perhaps how many draws."""
    return EstimatorChoice(estimator, draws if draws is not None else _DRAWS.get(estimator, 1))


def chosen(sample: Scored, draws: int | None) -> EstimatorChoice:
    """The estimator with the least error for its time.

    With r_k the share of an example's spread (the trace of diag(p) - p p^T) that k - 1 leading
    eigen-columns leave to chance, an entry's variance over N examples is about
    (v + 2 r_k^2) E[f^2] / N: v is what the choice of examples adds, 2 r_k^2 what the random signs add.
    A forward with k backward columns takes 1 + 2 k parts of time. The k with the smallest product
    wins, `exact` being the one with as many columns as it takes and r = 0.

    Args:
        sample: logits of a few examples.
        draws: a wish for the columns of `lowrank`; None leaves them to the rule above.
    """
    positions, classes = sample.logits.shape[1:]
    confidence = float(sample.logits.detach().float().softmax(-1).amax(-1)[sample.mask].mean())
    seen = f"{classes:,} classes, mean confidence {confidence:.2f} on {len(sample.keys)} examples"
    if positions > 1:
        columns_used = draws or 1
        return EstimatorChoice(
            "lowrank", columns_used, f"{seen}: lowrank, {columns_used} a sequence, signs at each token"
        )
    left = _left_to_chance(sample)
    costs = {k: (1 + 2 * k) * (_BETWEEN_EXAMPLES + 2 * left[k - 1]) for k in range(1, len(left) + 1)}
    if classes - 1 <= _MOST_COLUMNS:
        costs[classes - 1] = (1 + 2 * (classes - 1)) * _BETWEEN_EXAMPLES
    best = draws or min(costs, key=lambda k: (costs[k], k))
    if best >= classes - 1:
        return EstimatorChoice("exact", classes - 1, f"{seen}: exact, {classes - 1} columns hold every class")
    if best == 1:
        return EstimatorChoice("lowrank", 1, f"{seen}: lowrank, one random column")
    share = 1 - left[min(best, len(left)) - 1] ** 0.5
    leading = f"{best - 1} leading column{'s' if best > 2 else ''}"
    return EstimatorChoice(
        "lowrank", best, f"{seen}: lowrank, {leading} with {share:.0%} of the spread and a random one"
    )


def _left_to_chance(sample: Scored) -> list[float]:
    """sum_b (spread left by k - 1 leading columns)^2 / sum_b spread^2, for k = 1 .. 4."""
    p = sample.logits.detach().double().softmax(-1)[:, 0]
    spread: Tensor = (p * (1 - p)).sum(-1)
    left, shares = spread, [1.0]
    for column in list(columns(sample, "lowrank", _MOST_COLUMNS, 0))[: _MOST_COLUMNS - 1]:
        left = (left - column[:, 0].double().square().sum(-1)).clamp(min=0)
        shares.append(float(left.square().sum() / spread.square().sum().clamp(min=1e-300)))
    return shares
