"""The gate: may a candidate become the champion?

Every check is made and told with its figures, whether it held or not; one that did not hold refuses.

- `present`: no golden set that was asked for is missing, and there is at least one prior set.
- `rows`: each golden set has at least `min_rows` rows with a label that the candidate knows, and a model
  before to compare with.
- `pooled`, `prior`: on all prior golden rows together, and on each prior set, the drop against the champion is
  not more than `max_drop` by a difference that chance does not explain.
- `drift`: the same against the reference of each set (the answers of the first promoted model, or of a later one
  that was surely better) and `max_drift`: what many small drops add up to.
- `gain`: the month's own golden set is not surely below a gain of `min_gain`.

`pooled`, `prior` and `drift` refuse where two things hold: the estimate is beyond the limit, and a model that lost
nothing would seldom lose as many rows (the exact one-sided McNemar test). How seldom is shared out, so that a
candidate that lost nothing anywhere is refused in at most a share `false_refusals` of months, however many sets
there are (Bonferroni's inequality): a half for `pooled`, a sixth each for all of `prior`, for all of `drift` and
for `gain`; where there is one prior set, it is the pool and has both parts. Where the estimate is beyond the limit and the rows cannot tell it from chance, the check says so and
`unsure` decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.evaluation.scorecard import Comparison, GoldenScore, Scorecard
from pipeline.evaluation.significance import detectable_drop, loss_p_value, paired_difference_interval

# Differences are ratios of counts: a drop of exactly the limit must not refuse by a rounding error.
_ROUNDING = 1e-9

_POOLED_SHARE, _OTHER_SHARE = 1 / 2, 1 / 6
"""Parts of `false_refusals`: for the pooled rows, and for each of prior sets, drift and gain."""


@dataclass(frozen=True)
class GateLimits:
    """What a candidate may lose and must gain."""

    max_drop: float = 0.5
    """Points of accuracy that prior golden sets may lose in a month."""
    max_drift: float = 1.0
    """Points that they may lie below their references, answers of earlier promoted models."""
    min_gain: float = 0.0
    """Points of accuracy that the month's own golden set must gain."""
    false_refusals: float = 0.02
    """Largest share of months in which a candidate that lost nothing is refused by chance, in (0, 1)."""
    unsure: Literal["promote", "refuse"] = "promote"
    """What follows where an estimate is beyond its limit and the rows cannot tell it from chance."""
    confidence: float = 0.95
    """Confidence of the intervals that are told, in (0, 1)."""
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
    held: Scorecard | None = None,
    worn: Scorecard | None = None,
    missing: Sequence[str] = (),
    unknown: Mapping[str, Sequence[str]] | None = None,
    retired: Mapping[str, int] | None = None,
    own_required: bool = True,
) -> Verdict:
    """Hold a scorecard against the limits.

    Args:
        card: the candidate's scores beside the champion's, on all rows.
        limits: in points of accuracy.
        held: the same on the prior rows that the champion could have lost: of sets that it was judged by, with
            labels that it knew; None where that is all prior rows. What a candidate learns anew is no making
            good of what it lost.
        worn: the candidate's scores beside each prior set's reference, the answers of an earlier promoted model;
            None where there is no reference.
        missing: names of golden sets that should have been scored and do not exist.
        unknown: golden set to the labels of those of its rows that no answer of the candidate can match.
        retired: golden set to how many of its rows are left out because their label is retired. They count for
            `min_rows`, and a set that lost all rows so is passed over: a retirement is no reason to refuse a month.
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
        lacking, out = (unknown or {}).get(golden.name, ()), (retired or {}).get(golden.name, 0)
        checks.append(_rows(golden, limits, lacking, out))
    scored = {golden.name for golden in card.scores}
    for name, out in (retired or {}).items():
        if name not in scored:
            text = f"golden set {name}: all of its {out} rows have retired labels; it is passed over"
            checks.append(Check("rows", True, text))
    checks += _step(held if held is not None else card, limits)
    if worn is not None:
        checks += _drift(worn, limits)
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


def _rows(golden: GoldenScore, limits: GateLimits, unknown: Sequence[str], retired: int) -> Check:
    n = golden.overall.n
    text = f"golden set {golden.name}: {n} rows"
    if unknown:
        n -= len(unknown)
        text += f", {n} of them with a label that the candidate knows (it lacks {named(unknown)})"
    if retired:
        text += f", and {retired} of retired labels that are left out"
    text += f", at least {limits.min_rows} needed"
    if n > 0 and golden.overall.accuracy_before is None:
        return Check("rows", False, f"{text}; no model before to compare with")
    # An empty set is refused even where min_rows is 0.
    return Check("rows", n > 0 and n + retired >= limits.min_rows, text)


def named(labels: Sequence[str], most: int = 3) -> str:
    """Labels as a message names them: each once, sorted, the first few."""
    names = sorted(set(labels))
    return ", ".join(repr(name) for name in names[:most]) + (" ..." if len(names) > most else "")


def _step(held: Scorecard, limits: GateLimits) -> list[Check]:
    """The drop against the champion: all rows together, and each set where there is more than one."""
    checks = []
    chance = limits.false_refusals
    alone = len(held.prior) == 1
    pooled_share = _POOLED_SHARE + _OTHER_SHARE if alone else _POOLED_SHARE
    if held.pooled is not None and held.pooled.difference is not None:
        checks.append(
            _loss(
                "pooled",
                "all prior golden rows",
                held.pooled,
                limits.max_drop,
                pooled_share * chance,
                limits,
            )
        )
    for golden in () if alone else held.prior:
        if golden.overall.difference is not None:
            share = _OTHER_SHARE * chance / len(held.prior)
            checks.append(
                _loss("prior", f"golden set {golden.name}", golden.overall, limits.max_drop, share, limits)
            )
    return checks


def _drift(worn: Scorecard, limits: GateLimits) -> list[Check]:
    """The drop against the reference: all rows together take half of the share, the sets the other half."""
    alone = len(worn.prior) == 1
    chance, checks = _OTHER_SHARE * limits.false_refusals / (1 if alone else 2), []
    beside = "beside their reference"
    if worn.pooled is not None and worn.pooled.difference is not None:
        what = f"all prior golden rows {beside}"
        checks.append(_loss("drift", what, worn.pooled, limits.max_drift, chance, limits))
    for golden in () if alone else worn.prior:
        if golden.overall.difference is not None:
            what = f"golden set {golden.name} beside its reference"
            share = chance / len(worn.prior)
            checks.append(_loss("drift", what, golden.overall, limits.max_drift, share, limits))
    return checks


def _loss(name: str, what: str, item: Comparison, allowed: float, chance: float, limits: GateLimits) -> Check:
    """Refuse a drop beyond the allowed one that comes by chance in less than a share `chance` of months."""
    assert item.difference is not None
    text = f"{what}: {_figures(item, limits)}; a drop of {allowed:g} is allowed"
    if -item.difference <= allowed + _ROUNDING:
        return Check(name, True, text)
    p = loss_p_value(item.right_to_wrong, item.wrong_to_right)
    seen = f"{item.right_to_wrong} rows lost and {item.wrong_to_right} gained come by chance with p = {p:.2g}"
    if p <= chance:
        return Check(name, False, f"{text}; {seen}, at most {chance:.2g} is taken for a loss")
    shown = detectable_drop(item.n, item.wrong_to_right, chance)
    return _unsure(
        name,
        f"{text}; {seen}, above {chance:.2g} (a drop of {shown:.1f} would be seen nine times in ten)",
        limits,
    )


def _gain(own: GoldenScore, difference: float, limits: GateLimits) -> Check:
    item = own.overall
    text = (
        f"golden set {own.name} (the month itself): {_figures(item, limits)}; "
        f"a gain of at least {limits.min_gain:g} is asked for"
    )
    if difference >= limits.min_gain - _ROUNDING:
        return Check("gain", True, text)
    sure = 1 - 2 * _OTHER_SHARE * limits.false_refusals  # one-sided: only the upper bound is looked at
    _, highest = paired_difference_interval(item.n, item.right_to_wrong, item.wrong_to_right, sure)
    if highest < limits.min_gain:
        return Check("gain", False, f"{text}; it is surely below, {highest:+.2f} at the most")
    return _unsure("gain", f"{text}; it may be up to {highest:+.2f}", limits)


def _unsure(name: str, text: str, limits: GateLimits) -> Check:
    promotes = limits.unsure == "promote"
    told = "" if promotes else f"; gate.unsure is {limits.unsure}"
    return Check(name, promotes, f"{text}: these rows cannot tell it from chance{told}")


def _figures(item: Comparison, limits: GateLimits) -> str:
    return (
        f"{item.accuracy_before:.2f} -> {item.accuracy_after:.2f} ({item.difference:+.2f}, "
        f"{100 * limits.confidence:g}% interval {item.low:+.2f} to {item.high:+.2f}, n={item.n})"
    )
