"""The gate: may a candidate become the champion?

Every check is made and told with its figures, whether it held or not; one that did not hold refuses.

- `present`: no golden set that was asked for is missing, and there is at least one prior set.
- `rows`: each golden set has at least `min_rows` rows with a label that the candidate knows, and a model
  before to compare with.
- `pooled`, `prior`: on all prior golden rows together, and on each prior set, the drop against the champion is
  not more than `max_drop` by a difference that chance does not explain.
- `drift`: the same against the reference of each set (the answers of the first promoted model, or of a later one
  that was surely better) and `max_drift`: what many small drops add up to.
- `slice`: the same for the prior rows of each slice that `slices` names, with its own limit.
- `label`: no label surely lost more than `max_label_drop`; the worst one is told.
- `gain`: the month's own golden set is not surely below a gain of `min_gain`.

`pooled`, `prior`, `drift` and `slice` refuse where two things hold: the estimate is beyond the limit, and a model that
lost nothing would seldom look as bad (`loss_p_value`, in which rows that both models answered surely weigh more). How
seldom is shared out over the checks in the proportions of `_PARTS`, so that a candidate that lost nothing anywhere is
refused in at most a share `false_refusals` of months, however many sets and labels there are, and in at most twelve
times that share of years (Bonferroni's inequality holds for checks and months that depend on each other, too). Where
there is one prior set, it is the pool and has both parts. Where the estimate is beyond the limit and the rows cannot
tell it from chance, the check says so and `unsure` decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.evaluation.scorecard import (
    Comparison,
    Flip,
    GoldenScore,
    Scorecard,
    noise_rows,
    pool,
)
from pipeline.evaluation.significance import (
    detectable_drop,
    loss_p_value,
    paired_difference_interval,
    rate_p_value,
)

# Differences are ratios of counts: a drop of exactly the limit must not refuse by a rounding error.
_ROUNDING = 1e-9

_PARTS = {"pooled": 4, "drift": 4, "prior": 1, "slice": 1, "label": 1, "gain": 1}
"""How `false_refusals` is divided among the kinds of checks; what a month does not ask about, the others have."""


_LOSSES = frozenset({"pooled", "drift", "prior", "slice", "label"})


@dataclass(frozen=True)
class GateLimits:
    """What a candidate may lose and must gain."""

    max_drop: float = 0.5
    """Points of accuracy that prior golden sets may lose in a month."""
    max_drift: float = 1.0
    """Points that they may lie below their references, answers of earlier promoted models."""
    min_gain: float = 0.0
    """Points of accuracy that the month's own golden set must gain."""
    max_label_drop: float = 25.0
    """Points of accuracy that the rows of one label may lose in a month."""
    slices: Mapping[str, float] = field(default_factory=dict)
    """Slice to the points of accuracy that its prior rows may lose in a month."""
    false_refusals: float = 0.016
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

    @property
    def refused_for_losses(self) -> bool:
        """Whether something that the model before could do was lost."""
        return any(not check.passed and check.name in _LOSSES for check in self.checks)


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
    held = held if held is not None else card
    chances = shares(limits, held, worn, card.own)
    checks += _step(held, limits, chances)
    if worn is not None:
        checks += _drift(worn, limits, chances["drift"])
    checks += _slices(held, limits, chances.get("slice", 0.0))
    if held.labels:
        checks.append(_label(held, limits, chances["label"]))
    if card.own is not None and card.own.overall.difference is not None:
        checks.append(_gain(card.own, card.own.overall.difference, limits, chances["gain"]))
    return Verdict(all(check.passed for check in checks), tuple(checks))


def shares(
    limits: GateLimits, held: Scorecard, worn: Scorecard | None, own: GoldenScore | None
) -> dict[str, float]:
    """The chance that each kind of check may take, of those that this month has."""
    asked = {
        "pooled": True,
        "drift": worn is not None,
        "prior": True,
        "slice": bool(limits.slices),
        "label": bool(held.labels),
        "gain": own is not None,
    }
    whole = sum(_PARTS[name] for name in asked if asked[name])
    return {name: limits.false_refusals * _PARTS[name] / whole for name in asked if asked[name]}


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


def _step(held: Scorecard, limits: GateLimits, chances: Mapping[str, float]) -> list[Check]:
    """The drop against the champion: all rows together, and each set where there is more than one."""
    checks = []
    alone = len(held.prior) == 1
    pooled_chance = chances["pooled"] + (chances["prior"] if alone else 0.0)
    if held.pooled is not None and held.pooled.difference is not None:
        seen = _Seen("pooled", "all prior golden rows", held.pooled, held.prior_flips)
        checks.append(_loss(seen, limits.max_drop, pooled_chance, limits))
    for golden in () if alone else held.prior:
        if golden.overall.difference is not None:
            seen = _Seen("prior", f"golden set {golden.name}", golden.overall, golden.flips)
            checks.append(_loss(seen, limits.max_drop, chances["prior"] / len(held.prior), limits))
    return checks


def _drift(worn: Scorecard, limits: GateLimits, chance: float) -> list[Check]:
    """The drop against the reference: all rows together take three quarters of the chance, the sets the rest."""
    alone = len(worn.prior) == 1
    checks, beside = [], "beside their reference"
    if worn.pooled is not None and worn.pooled.difference is not None:
        seen = _Seen("drift", f"all prior golden rows {beside}", worn.pooled, worn.prior_flips)
        checks.append(_loss(seen, limits.max_drift, chance * (1 if alone else 3 / 4), limits))
    for golden in () if alone else worn.prior:
        if golden.overall.difference is not None:
            what = f"golden set {golden.name} beside its reference"
            seen = _Seen("drift", what, golden.overall, golden.flips)
            checks.append(_loss(seen, limits.max_drift, chance / 4 / len(worn.prior), limits))
    return checks


def _slices(held: Scorecard, limits: GateLimits, chance: float) -> list[Check]:
    """The drop of each slice that has a limit; one that no row belongs to refuses, as nothing can be said of it."""
    checks = []
    for name, allowed in sorted(limits.slices.items()):
        parts = [golden.slices[name] for golden in held.prior if name in golden.slices]
        together = pool(parts, limits.confidence)
        if together is None or together.difference is None:
            checks.append(Check("present", False, f"slice {name!r}: no prior golden row belongs to it"))
            continue
        flips = [flip for flip in held.prior_flips if flip.slice == name]
        seen = _Seen("slice", f"slice {name!r} of the prior golden rows", together, flips)
        checks.append(_loss(seen, allowed, chance / len(limits.slices), limits))
    return checks


def _label(held: Scorecard, limits: GateLimits, chance: float) -> Check:
    """Refuse where a label's rows were lost at a rate surely above the allowed one; tell the worst label.

    Of n rows, of which a share g was gained, so many are lost by chance as a binomial draw at the allowed rate + g.
    """
    allowed, labels = limits.max_label_drop, held.labels
    if not held.worst_labels:
        text = f"no label of {len(labels)} lost rows; a drop of {allowed:g} points is allowed"
        return Check("label", True, text)
    sure = [
        (name, item)
        for name, item in held.worst_labels
        if item.drop > allowed + _ROUNDING
        and rate_p_value(item.lost, item.n, min(allowed / 100 + item.gained / item.n, 1.0))
        <= chance / len(labels)
    ]
    name, item = (sure or held.worst_labels)[0]
    text = f"label {name!r}: {item}; a drop of {allowed:g} points is allowed"
    if sure:
        others = f", as it is for {len(sure) - 1} more: {named([n for n, _ in sure[1:]])}" if sure[1:] else ""
        return Check("label", False, f"{text}, and this is surely more{others}")
    return Check("label", True, f"{text}; no label lost a larger share")


@dataclass(frozen=True)
class _Seen:
    """What a check looked at: its name, what the rows are, how they compare, and those that flipped."""

    name: str
    what: str
    item: Comparison
    flips: Sequence[Flip]


def _loss(seen: _Seen, allowed: float, chance: float, limits: GateLimits) -> Check:
    """Refuse a drop beyond the allowed one that comes by chance in less than a share `chance` of months."""
    item = seen.item
    assert item.difference is not None
    text = f"{seen.what}: {_figures(item, limits)}; a drop of {allowed:g} is allowed"
    if -item.difference <= allowed + _ROUNDING:
        return Check(seen.name, True, text)
    lost = [flip.weight for flip in seen.flips if flip.is_loss]
    gained = [flip.weight for flip in seen.flips if not flip.is_loss]
    p = loss_p_value(lost, gained)
    told = f"{item.right_to_wrong} rows lost and {item.wrong_to_right} gained come by chance with p = {p:.2g}"
    if p <= chance:
        return Check(seen.name, False, f"{text}; {told}, at most {chance:.2g} is taken for a loss")
    shown = detectable_drop(item.n, noise_rows(seen.flips), chance)
    return _unsure(
        seen.name,
        f"{text}; {told}, above {chance:.2g} (a drop of {shown:.1f} would be seen nine times in ten)",
        limits,
    )


def _gain(own: GoldenScore, difference: float, limits: GateLimits, chance: float) -> Check:
    item = own.overall
    text = (
        f"golden set {own.name} (the month itself): {_figures(item, limits)}; "
        f"a gain of at least {limits.min_gain:g} is asked for"
    )
    if difference >= limits.min_gain - _ROUNDING:
        return Check("gain", True, text)
    sure = 1 - 2 * chance  # one-sided: only the upper bound is looked at
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
