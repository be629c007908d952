"""What the golden rows are able to show: the drop that would be seen, and how many rows a smaller one needs."""

from dataclasses import dataclass

from pipeline.evaluation.gate import GateLimits, named, shares
from pipeline.evaluation.scorecard import Scorecard, noise_rows
from pipeline.evaluation.significance import detectable_drop, rate_p_value, rows_needed


@dataclass(frozen=True)
class Power:
    """What the golden rows are able to show.

    Attributes:
        rows: prior golden rows.
        shown: the drop over all of them, in points, that would be refused nine times in ten.
        allowed: `max_drop`.
        needed: rows that would show a drop of `max_drop` so.
        per_label: rows of a label that show that all of it was lost.
        thin: the labels that have fewer.
    """

    rows: int
    shown: float
    allowed: float
    needed: int
    per_label: int
    thin: tuple[str, ...]
    labels: int

    @property
    def text(self) -> str:
        """The figures in words."""
        enough = (
            ""
            if self.needed <= self.rows or not self.allowed
            else f"; {self.needed:,} rows would show {self.allowed:g}, which is allowed"
        )
        thin = (
            f"; {len(self.thin)} of {self.labels} labels have fewer than the {self.per_label} rows that show that a "
            f"label is lost: {named(self.thin)}"
            if self.thin
            else ""
        )
        return f"{self.rows:,} prior golden rows show a drop of {self.shown:.1f} points nine times in ten{enough}{thin}"


def power_of(card: Scorecard, limits: GateLimits) -> Power | None:
    """What the prior rows of a scorecard are able to show; None where there is none, or no model before.

    How many rows flip by chance is read from those that were gained.
    """
    if card.pooled is None or card.pooled.difference is None:
        return None
    n, noise = card.pooled.n, noise_rows(card.prior_flips)
    chances = shares(limits, card, card, card.own)
    alone = len(card.prior) == 1
    pooled, label = chances["pooled"] + (chances["prior"] if alone else 0.0), chances.get("label", 0.0)
    per_label = 1
    rate = min(limits.max_label_drop / 100, 0.99)
    while rate_p_value(per_label, per_label, rate) > label / max(len(card.labels), 1) and per_label < n:
        per_label += 1
    return Power(
        rows=n,
        shown=detectable_drop(n, noise, pooled),
        allowed=limits.max_drop,
        needed=rows_needed(limits.max_drop, noise / n, pooled) if limits.max_drop else 0,
        per_label=per_label,
        thin=tuple(sorted(name for name, item in card.labels.items() if item.n < per_label)),
        labels=len(card.labels),
    )
