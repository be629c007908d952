"""Which lambda to take, from measured losses; and which one to train next, from predicted ones.

Pure functions; rows are the validation rows of the earlier months (`prior`) and of the new one (`new`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

RESAMPLES = 2000


@dataclass(frozen=True)
class Measured:
    """One lambda against the model before the month; losses in nats, accuracies in points.

    Attributes:
        prior_change: mean over prior rows of loss after minus loss before, with its bootstrap interval
            `prior_low` to `prior_high`.
        new_change: the same for the new month's rows; negative is a gain.
    """

    lambda_: float
    prior_change: float
    prior_low: float
    prior_high: float
    new_change: float
    prior_accuracy: float
    new_accuracy: float

    @property
    def is_harmless(self) -> bool:
        """Whether the rise of the prior loss cannot be told from zero."""
        return self.prior_low <= 0.0

    @property
    def ratio(self) -> float | None:
        """Prior nats lost for each new nat gained; None where nothing was gained."""
        return self.prior_change / -self.new_change if self.new_change < 0.0 else None


@dataclass(frozen=True)
class Choice:
    """The chosen lambda, None when there is none, and why."""

    lambda_: float | None
    reason: str


def bootstrap_interval(
    differences: Tensor, *, confidence: float, seed: int, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of paired differences [N], N > 0.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3.
    """
    generator = torch.Generator().manual_seed(seed)
    count = len(differences)
    means = torch.empty(resamples, dtype=torch.float64)
    values = differences.double()
    for index in range(resamples):
        means[index] = values[torch.randint(count, (count,), generator=generator)].mean()
    tail = (1.0 - confidence) / 2.0
    low, high = torch.quantile(means, torch.tensor([tail, 1.0 - tail], dtype=torch.float64)).tolist()
    return low, high


def choose(trained: Sequence[Measured], *, plain: Measured, keep: float) -> Choice:
    """The smallest trained lambda that is harmless to the prior months and keeps `keep` of the plain gain.

    Args:
        trained: candidates, in any order.
        plain: the same training with lambda 0.
        keep: share of plain's gain on the new month, 0 to 1.
    """
    gain = -plain.new_change
    if not trained:
        return Choice(None, "no lambda was trained")
    if not gain > 0.0:
        return Choice(
            None,
            f"plain fine-tuning itself gains nothing on the new month's validation rows ({-gain:+.4f} nats), "
            "so there is no gain for a lambda to keep",
        )
    ordered = sorted(trained, key=lambda point: point.lambda_)
    harmless = [point for point in ordered if point.is_harmless]
    for point in harmless:
        if -point.new_change >= keep * gain:
            share = -point.new_change / gain
            return Choice(
                point.lambda_,
                f"lambda {point.lambda_:g} is the smallest whose prior change ({point.prior_change:+.4f} nats, interval "
                f"{point.prior_low:+.4f} to {point.prior_high:+.4f}) cannot be told from zero; it keeps {share:.0%} of the "
                f"plain gain (at least {keep:.0%} is asked for)"
                + ("; plain fine-tuning does no measurable harm either" if plain.is_harmless else ""),
            )
    if not harmless:
        best = min(ordered, key=lambda point: point.prior_change)
        return Choice(
            None,
            f"no lambda spares the prior months: the least harm is {best.prior_change:+.4f} nats "
            f"(interval {best.prior_low:+.4f} to {best.prior_high:+.4f}) at lambda {best.lambda_:g}",
        )
    most = max(harmless, key=lambda point: -point.new_change)
    return Choice(
        None,
        f"no lambda does both: of those that spare the prior months, lambda {most.lambda_:g} keeps the most of the "
        f"plain gain, {-most.new_change / gain:.0%}, and {keep:.0%} is asked for",
    )


def next_to_train(
    predicted: Sequence[Measured], trained: Mapping[int, Measured], *, plain: Measured
) -> int | None:
    """The index of the grid that tells most about where harm ends; None when its neighbours are known.

    Harm falls as lambda grows, so the smallest harmless lambda lies between the largest harmful and the
    smallest harmless trained one. The predicted curve, moved along the grid to meet the newest trained
    point, says where in between.

    Args:
        predicted: one for each lambda of the ascending grid.
        trained: index to what was measured, the newest last.
        plain: measured with lambda 0.
    """
    if plain.is_harmless:
        return None if 0 in trained else 0
    count = len(predicted)
    high = min((i for i, point in trained.items() if point.is_harmless), default=count)
    low = max((i for i, point in trained.items() if not point.is_harmless and i < high), default=-1)
    if high - low <= 1:
        return None
    threshold = next((i for i, point in enumerate(predicted) if point.is_harmless), count - 1)
    if trained:
        newest = list(trained)[-1]
        threshold += newest - _place(predicted, trained[newest].prior_change)
    return min(max(threshold, low + 1), high - 1)


def _place(predicted: Sequence[Measured], prior_change: float) -> int:
    """The index whose predicted change is nearest to a measured one."""
    return min(range(len(predicted)), key=lambda i: (abs(predicted[i].prior_change - prior_change), i))
