"""The gate: may a candidate become the champion?

Every check is made and told with its figures, whether it held or not; one that did not hold refuses.

- `present`: no golden set that was asked for is missing, and there is at least one prior set.
- `rows`: each golden set has at least `min_rows` rows with a label that the candidate knows, and a model
  before to compare with.
- `pooled`: over all prior golden rows together, accuracy drops by no more than `max_drop`. The rows are
  many, so the point estimate decides.
- `prior`: on each prior golden set, the drop is not surely more than `max_drop`: the smallest drop that
  the interval allows is no more than it. A single month's rows are few, and with the point estimate one
  unlucky month of many would refuse nearly every candidate.
- `gain`: on the month's own golden set accuracy rises by at least `min_gain`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.evaluation.scorecard import Comparison, GoldenScore, Scorecard

# Differences are ratios of counts: a drop of exactly the limit must not refuse by a rounding error.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class GateLimits:
    """What a candidate may lose and must gain."""

    max_drop: float = 0.5
    """Points of accuracy that prior golden sets may lose."""
    min_gain: float = 0.0
    """Points of accuracy that the month's own golden set must gain."""
    confidence: float = 0.95
    """Confidence of the intervals, in (0, 1)."""
    min_rows: int = 50
    """The fewest rows that a golden set may have."""


@dataclass(frozen=True)
class Check:
    """One condition of the gate: what was looked at (`name`), whether it held, and the figures in words."""

    name: str
    passed: bool
    text: str


@dataclass(frozen=True)
class Verdict:
    """The gate's answer with all its checks; `dataclasses.asdict` of it is what `eval/gate.json` holds."""

    passed: bool
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the candidate is refused: the checks that did not hold, in words; empty when it passed."""
        return tuple(check.text for check in self.checks if not check.passed)


def judge(
    card: Scorecard,
    limits: GateLimits,
    *,
    missing: Sequence[str] = (),
    unknown: Mapping[str, Sequence[str]] | None = None,
    own_required: bool = True,
) -> Verdict:
    """Hold a scorecard against the limits.

    Args:
        card: the candidate's scores beside the champion's.
        limits: in points of accuracy.
        missing: names of golden sets that should have been scored and do not exist.
        unknown: golden set to the labels of those of its rows that no answer of the candidate can match.
        own_required: whether a scorecard without the month's own golden set refuses; False where only
            the prior months were asked about.

    Raises:
        ValueError: when the scorecard's intervals have another confidence than the limits ask for.
    """
    if card.confidence != limits.confidence:
        raise ValueError(
            f"the scorecard's confidence is {card.confidence:g}, the gate asks for {limits.confidence:g}"
        )
    checks = [*_presence(card, missing, own_required)]
    for golden in card.scores:
        checks.append(_rows(golden, limits, (unknown or {}).get(golden.name, ())))
    if card.pooled is not None and card.pooled.difference is not None:
        checks.append(_pooled(card.pooled, card.pooled.difference, limits))
    for golden in card.prior:
        if golden.overall.high is not None:
            checks.append(_prior(golden, golden.overall.high, limits))
    if card.own is not None and card.own.overall.difference is not None:
        checks.append(_gain(card.own, card.own.overall.difference, limits))
    return Verdict(all(check.passed for check in checks), tuple(checks))


def _presence(card: Scorecard, missing: Sequence[str], own_required: bool) -> list[Check]:
    checks = [Check("present", False, f"golden set {name}: missing") for name in missing]
    if not card.prior:
        checks.append(Check("present", False, "no golden set of a prior month: forgetting cannot be judged"))
    if card.own is None and own_required and not missing:
        checks.append(Check("present", False, "no golden set of the month itself: the gain cannot be judged"))
    if not checks:
        names = ", ".join(golden.name for golden in card.scores)
        checks.append(Check("present", True, f"every golden set is there: {names}"))
    return checks


def _rows(golden: GoldenScore, limits: GateLimits, unknown: Sequence[str]) -> Check:
    n = golden.overall.n
    text = f"golden set {golden.name}: {n} rows"
    if unknown:
        n -= len(unknown)
        text += f", {n} of them with a label that the candidate knows (it lacks {named(unknown)})"
    text += f", at least {limits.min_rows} needed"
    if n > 0 and golden.overall.accuracy_before is None:
        return Check("rows", False, f"{text}; no model before to compare with")
    # An empty set is refused even where min_rows is 0.
    return Check("rows", n >= max(limits.min_rows, 1), text)


def named(labels: Sequence[str], most: int = 3) -> str:
    """Labels as a message names them: each once, sorted, the first few."""
    names = sorted(set(labels))
    return ", ".join(repr(name) for name in names[:most]) + (" ..." if len(names) > most else "")


def _pooled(pooled: Comparison, difference: float, limits: GateLimits) -> Check:
    return Check(
        "pooled",
        -difference <= limits.max_drop + _ROUNDING,
        f"all prior golden rows: {_figures(pooled, limits)}; a drop of {limits.max_drop:g} is allowed",
    )


def _prior(golden: GoldenScore, high: float, limits: GateLimits) -> Check:
    # The difference is after minus before: its upper bound is the smallest drop that the rows allow.
    smallest_drop = max(-high, 0.0)
    return Check(
        "prior",
        -high <= limits.max_drop + _ROUNDING,
        f"golden set {golden.name}: {_figures(golden.overall, limits)}; "
        f"surely a drop of {smallest_drop:.2f}, a drop of {limits.max_drop:g} is allowed",
    )


def _gain(own: GoldenScore, difference: float, limits: GateLimits) -> Check:
    return Check(
        "gain",
        difference >= limits.min_gain - _ROUNDING,
        f"golden set {own.name} (the month itself): {_figures(own.overall, limits)}; "
        f"a gain of at least {limits.min_gain:g} is asked for",
    )


def _figures(item: Comparison, limits: GateLimits) -> str:
    return (
        f"{item.accuracy_before:.2f} -> {item.accuracy_after:.2f} ({item.difference:+.2f}, "
        f"{100 * limits.confidence:g}% interval {item.low:+.2f} to {item.high:+.2f}, n={item.n})"
    )
