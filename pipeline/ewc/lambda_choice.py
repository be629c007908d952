"""Which lambda to take, from measured losses; and which one to train next, from predicted ones.

Pure functions; rows are the validation rows of the earlier months (`prior`) and of the new one (`new`).
"""

import math
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
class LambdaChoice:
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


def choose(trained: Sequence[Measured], *, plain: Measured, keep: float) -> LambdaChoice:
    """The smallest trained lambda that is harmless to the prior months and keeps `keep` of the plain gain.

    Args:
        trained: candidates, in any order.
        plain: the same training with lambda 0.
        keep: share of plain's gain on the new month, 0 to 1.
    """
    gain = -plain.new_change
    if not trained:
        return LambdaChoice(None, "no lambda was trained")
    if not gain > 0.0:
        return LambdaChoice(
            None,
            f"plain fine-tuning itself gains nothing on the new month's validation rows ({-gain:+.4f} nats), "
            "so there is no gain for a lambda to keep",
        )
    ordered = sorted(trained, key=lambda point: point.lambda_)
    harmless = [point for point in ordered if point.is_harmless]
    for point in harmless:
        if -point.new_change >= keep * gain:
            share = -point.new_change / gain
            harmless_by = "is a gain" if point.prior_high < 0.0 else "cannot be told from zero"
            return LambdaChoice(
                point.lambda_,
                f"lambda {point.lambda_:g} is the smallest whose prior change ({point.prior_change:+.4f} nats, interval "
                f"{point.prior_low:+.4f} to {point.prior_high:+.4f}) {harmless_by}; it keeps {share:.0%} of the "
                f"plain gain (at least {keep:.0%} is asked for)"
                + ("; plain fine-tuning does no measurable harm either" if plain.is_harmless else ""),
            )
    if not harmless:
        poor = next((point for point in ordered if -point.new_change < keep * gain), None)
        if poor is not None:
            return LambdaChoice(
                None,
                f"no lambda does both: at lambda {poor.lambda_:g} the prior months still lose {_harm(poor)}, and no more "
                f"than {-poor.new_change / gain:.0%} of the plain gain is left, where {keep:.0%} is asked for",
            )
        best = min(ordered, key=lambda point: point.prior_change)
        return LambdaChoice(
            None,
            f"no lambda that was trained spares the prior months: the least harm is {_harm(best)} "
            f"at lambda {best.lambda_:g}",
        )
    most = max(harmless, key=lambda point: -point.new_change)
    return LambdaChoice(
        None,
        f"no lambda does both: of those that spare the prior months, lambda {most.lambda_:g} keeps the most of the "
        f"plain gain, {-most.new_change / gain:.0%}, and {keep:.0%} is asked for",
    )


def next_to_train(
    predicted: Sequence[Measured], trained: Mapping[int, Measured], *, plain: Measured, keep: float = 0.0
) -> int | None:
    """The index of the grid that tells most about where harm ends; None when enough is known.

    Harm and gain fall as lambda grows, so the smallest harmless lambda lies between the largest harmful
    and the smallest harmless trained one, and not above a harmful one that keeps too little gain. The
    predicted curve, moved along the grid to meet the newest trained point, says where in
    between; two trained points say how fast harm really falls.

    Args:
        predicted: one for each lambda of the ascending grid.
        trained: index to what was measured, the newest last.
        plain: measured with lambda 0.
        keep: share of the plain gain that is asked for.
    """
    if plain.is_harmless:
        return None if 0 in trained else 0
    count = len(predicted)
    high = min((i for i, point in trained.items() if point.is_harmless), default=count)
    harmful = [i for i, point in trained.items() if not point.is_harmless and i < high]
    enough = keep * -plain.new_change
    poor = min((i for i in harmful if -trained[i].new_change < enough), default=None)
    if poor is not None:
        # whatever is larger keeps less still; only what lies below it can do both
        rich = max((i for i in harmful if i < poor), default=-1)
        return (rich + poor) // 2 if poor - rich > 1 else None
    low = max(harmful, default=-1)
    if high - low <= 1:
        return None
    if low >= 0 and high < count:
        return (low + high) // 2
    guess = next((i for i, point in enumerate(predicted) if point.is_harmless), None)
    if guess is None:
        guess = max((i for i, point in enumerate(predicted) if -point.new_change >= enough), default=0)
    if not trained:
        return guess
    newest = list(trained)[-1]
    guess += newest - _place(predicted, trained[newest].prior_change)
    stride: int = 2 ** (len(trained) - 1)  # doubled each time, so that no prediction is wrong for long
    if high < count:
        return max(min(guess, high - stride), 0)
    guess = max(guess, _extrapolated(trained, low), low + stride)
    return min(guess, low + 2 * stride, count - 1)


def _extrapolated(trained: Mapping[int, Measured], low: int) -> int:
    """Where harm, falling by the same factor a step as between the two largest harmful lambdas, is lost in noise."""
    before = max((i for i, point in trained.items() if not point.is_harmless and i < low), default=None)
    if before is None:
        return low + 1
    harm, earlier = trained[low].prior_change, trained[before].prior_change
    noise = harm - trained[low].prior_low
    if not 0.0 < noise < harm < earlier:
        return low + 1
    a_step = math.log(harm / earlier) / (low - before)
    return low + math.ceil(math.log(noise / harm) / a_step)


def _harm(point: Measured) -> str:
    return f"{point.prior_change:+.4f} nats (interval {point.prior_low:+.4f} to {point.prior_high:+.4f})"


def _place(predicted: Sequence[Measured], prior_change: float) -> int:
    """The index whose predicted change is nearest to a measured one."""
    return min(range(len(predicted)), key=lambda i: (abs(predicted[i].prior_change - prior_change), i))
