"""Is a change in accuracy on the same rows more than chance?

Two models answer the same n rows. Of these, `lost` were right before and wrong after, `gained` the
reverse; the other rows say nothing about the difference.
"""

from collections.abc import Sequence
from math import ceil, sqrt
from statistics import NormalDist, variance

import numpy as np
from scipy.signal import fftconvolve
from scipy.stats import binom, binomtest

# Halvings of an interval of length at most 2: enough for the last bit of a double.
_BISECTIONS = 60
_STEPS_OF_WEIGHT = 50


def mcnemar_exact(lost: int, gained: int) -> float:
    """The exact two-sided p-value of "a changed row is as likely lost as gained".

    p = min(1, 2 * P[X <= min(lost, gained)]) with X ~ Binomial(lost + gained, 1/2).

    Args:
        lost: rows right before and wrong after, at least 0.
        gained: rows wrong before and right after, at least 0.

    Returns:
        The p-value in (0, 1]; 1.0 when no row changed.

    Raises:
        ValueError: when a count is negative.

    Source: McNemar 1947; the exact form as in Fagerland, Lydersen and Laake 2013, section 2.2.
    """
    if lost < 0 or gained < 0:
        raise ValueError(f"lost={lost}, gained={gained}: counts cannot be negative")
    if lost + gained == 0:
        return 1.0
    return float(binomtest(lost, lost + gained, 0.5).pvalue)


def loss_p_value(lost: Sequence[float], gained: Sequence[float]) -> float:
    """The one-sided p-value of "a changed row is no likelier lost than gained", some rows weighing more than others.

    p = P[sum_i w_i B_i >= sum of the lost rows' w] over fair coins B_i, one for each changed row: how often a model
    that lost nothing looks as bad by chance, the weights given. With equal weights it is McNemar's exact test. It
    never understates that chance, as long as a weight says nothing about the row's direction.

    Args:
        lost: weights in (0, 1] of the rows right before and wrong after; kept to 1/50.
        gained: of the rows wrong before and right after.

    Returns:
        The p-value in [0, 1]; 1.0 when no row was lost.

    Raises:
        ValueError: when a weight is out of range.

    Source: Fisher 1935, "The Design of Experiments", section 21 (the randomization test of paired differences); with
    equal weights McNemar 1947, in the exact form of Fagerland, Lydersen and Laake 2013, section 2.2.
    """
    weights = np.array([*lost, *gained], dtype=float)
    if not np.all((weights > 0.0) & (weights <= 1.0)):
        raise ValueError(f"weights {weights.min()} to {weights.max()}: expected more than 0 and at most 1")
    if not len(lost):
        return 1.0
    steps = np.maximum(np.rint(_STEPS_OF_WEIGHT * weights).astype(int), 1)
    sums = np.ones(1)
    for step, count in zip(*np.unique(steps, return_counts=True), strict=True):
        alike = np.zeros(step * count + 1)
        alike[::step] = binom.pmf(np.arange(count + 1), count, 0.5)
        sums = fftconvolve(sums, alike)
    return float(np.clip(sums[steps[: len(lost)].sum() :].sum(), 0.0, 1.0))


def rate_p_value(lost: int, n: int, rate: float) -> float:
    """The exact one-sided p-value of "of n rows, a share of at most `rate` is lost": P[X >= lost], X ~ Binomial(n, rate).

    Args:
        lost: rows lost, 0 to n.
        n: all rows, at least 1.
        rate: in [0, 1].

    Source: Clopper and Pearson 1934, the exact test of a binomial proportion.
    """
    return float(binom.sf(lost - 1, n, rate))


def detectable_drop(n: int, noise: float, chance: float, power: float = 0.9) -> float:
    """The true drop that `loss_p_value(...) <= chance` would show in a share `power` of draws of n rows.

    A drop of k rows stands beside `noise` rows that are lost and as many that are gained by chance, so that
    k = z sqrt(k + 2 noise) is solved for k, with z = z_chance + z_power: the normal approximation.

    Args:
        n: all rows, at least 1.
        noise: rows that flip each way by chance; of rows that weigh less than a truly lost one, the sum of their
            squared weights over the square of that row's.
        chance: the level of the test, in (0, 1).
        power: in (0, 1).

    Returns:
        The drop in points, at most 100.

    Source: Connor 1987, "Sample size for testing differences in proportions for the paired-sample design",
    Biometrics 43, with the variance of the alternative throughout.
    """
    square = _z(chance, power) ** 2
    rows = (square + sqrt(square**2 + 8 * square * noise)) / 2
    return min(100 * rows / n, 100.0)


def rows_needed(drop: float, noise_share: float, chance: float, power: float = 0.9) -> int:
    """How many rows `detectable_drop` would need to show a drop of so many points.

    Args:
        drop: in points, more than 0.
        noise_share: `noise` over the rows that it was counted on.
        chance, power: as for `detectable_drop`.
    """
    share = drop / 100
    return ceil(_z(chance, power) ** 2 * (2 * noise_share + share) / share**2)


def _z(chance: float, power: float) -> float:
    return NormalDist().inv_cdf(1 - chance) + NormalDist().inv_cdf(power)


def paired_difference_interval(
    n: int, lost: int, gained: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Tango's score interval for accuracy after minus accuracy before.

    Holds every difference d that the score test does not reject, with z the normal quantile:
    (gained - lost - n d)^2 <= z^2 n (2 q + d (1 - d)), where q is the probability of a lost row that is
    most likely given d. It never has zero width, not even where no row changed, and excludes 0 exactly
    when McNemar's (asymptotic) test rejects.

    Args:
        n: all rows, at least 1.
        lost: rows right before and wrong after.
        gained: rows wrong before and right after.
        confidence: in (0, 1).

    Returns:
        Lower and upper bound in points (hundredths of accuracy), within -100..100.

    Raises:
        ValueError: when the counts do not fit together or the confidence is out of range.

    Source: Tango 1998, "Equivalence test and confidence interval for the difference in proportions for
    the paired-sample design", Statistics in Medicine 17, equations 3 to 7.
    """
    if n < 1 or lost < 0 or gained < 0 or lost + gained > n:
        raise ValueError(f"n={n}, lost={lost}, gained={gained}: expected n >= 1 and 0 <= lost + gained <= n")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence={confidence}: expected a number between 0 and 1")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    upper = _upper_bound(n, lost, gained, z)
    lower = -_upper_bound(n, gained, lost, z)
    return 100 * lower, 100 * upper


def total_interval(strata: Sequence[Sequence[float]], confidence: float = 0.95) -> tuple[float, float]:
    """Normal interval of a total to which every drawn row adds its part.

    A row that counts several times (in several months, under several seeds) is one row here, with all its
    parts added up, so that repeating a measurement on the same rows does not make them more rows.

    Args:
        strata: the rows' parts, a list for each set that rows were drawn from.
        confidence: in (0, 1).

    Returns:
        Lower and upper bound in the parts' unit; of zero width where no row differs from another.

    Source: Cochran 1977, "Sampling Techniques", section 5.3 (stratified sampling), with each row as a cluster.
    """
    total = sum(sum(parts) for parts in strata)
    spread = sum(len(parts) * variance(parts) for parts in strata if len(parts) > 1)
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * sqrt(spread)
    return total - half, total + half


def _upper_bound(n: int, lost: int, gained: int, z: float) -> float:
    """The largest difference that the score test keeps, by bisection: the test statistic falls with d."""
    kept, rejected = (gained - lost) / n, 1.0
    for _ in range(_BISECTIONS):
        middle = (kept + rejected) / 2
        if _is_kept(middle, n, lost, gained, z):
            kept = middle
        else:
            rejected = middle
    return kept


def _is_kept(d: float, n: int, lost: int, gained: int, z: float) -> bool:
    b = (2 * n - gained + lost) * d - gained - lost
    c = -lost * d * (1 - d)
    q = (sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    variance = n * (2 * q + d * (1 - d))
    return (gained - lost - n * d) ** 2 <= z * z * variance
