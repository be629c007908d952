"""What a candidate does to every golden set, beside the model before it.

All accuracies and differences are in points, 0 to 100; a difference is after minus before, so that a
drop is negative. The dataclasses hold only text, numbers, tuples and dicts: `dataclasses.asdict` of a
scorecard is what `eval/scorecard.json` holds, and `scorecard_from_record` reads it back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import ArtifactCorrupt
from pipeline.evaluation.golden import GoldenSet
from pipeline.evaluation.quality import Quality
from pipeline.evaluation.significance import mcnemar_exact, paired_difference_interval

_LOST_WEIGHT = 0.4
"""What a truly lost row weighs: the median of those that plain fine-tuning lost on two monthly streams."""


@dataclass(frozen=True)
class Comparison:
    """Accuracy on n rows after and, where there is a model to compare with, before.

    `accuracy_after` is None only when there is no row. `accuracy_before`, `difference`, its interval
    `low` to `high`, and McNemar's exact `p` are None too where there is no model before.
    """

    n: int
    accuracy_before: float | None
    accuracy_after: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    right_to_wrong: int
    wrong_to_right: int


@dataclass(frozen=True)
class Flip:
    """A golden row that one of the two models gets right and the other wrong.

    `probability_before` and `probability_after` are what each model gave to its own answer; None where that is not
    known.
    """

    golden: str
    id: str
    slice: str
    label: str
    before: str
    after: str
    probability_before: float | None = None
    probability_after: float | None = None

    @property
    def is_loss(self) -> bool:
        """Whether the row was right before and is wrong after."""
        return self.before == self.label

    @property
    def weight(self) -> float:
        """How much the row says about what was lost or gained, in (0, 1]: the product of the two probabilities.

        A row that one model answers surely right and the other surely wrong has changed; one on which both waver
        flips by chance. The product does not tell which model was right, so that chance flips weigh alike both ways.
        """
        if self.probability_before is None or self.probability_after is None:
            return 1.0
        return min(max(self.probability_before * self.probability_after, 1e-6), 1.0)


@dataclass(frozen=True)
class LabelFigures:
    """What became of the rows of one label."""

    n: int
    right_before: int
    lost: int
    gained: int

    @property
    def drop(self) -> float:
        """Points of accuracy lost; negative where more was gained."""
        return 100 * (self.lost - self.gained) / self.n

    def __str__(self) -> str:
        right = self.right_before - self.lost + self.gained
        return f"{self.right_before} -> {right} right of {self.n} prior golden rows"

    def together_with(self, other: LabelFigures) -> LabelFigures:
        """Both sets' rows as one."""
        return LabelFigures(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class GoldenScore:
    """One golden set's comparison: over all rows, per slice (rows without one in none), per label, and row by row.

    `labels` is empty where there is no model before.
    """

    name: str
    overall: Comparison
    slices: dict[str, Comparison]
    flips: tuple[Flip, ...]
    labels: dict[str, LabelFigures] = field(default_factory=dict)


@dataclass(frozen=True)
class Scorecard:
    """A candidate on its month's own golden set, on each prior month's, and on all prior rows pooled."""

    own: GoldenScore | None
    prior: tuple[GoldenScore, ...]
    pooled: Comparison | None
    confidence: float
    quality: Quality | None = None
    """Of the prior rows; None where nothing was measured."""

    @property
    def scores(self) -> tuple[GoldenScore, ...]:
        """The prior months' scores and, last, the own month's."""
        return self.prior if self.own is None else (*self.prior, self.own)

    @property
    def flips(self) -> tuple[Flip, ...]:
        """Every row that became wrong or right, set by set."""
        return tuple(flip for golden in self.scores for flip in golden.flips)

    @property
    def prior_flips(self) -> tuple[Flip, ...]:
        """The rows of the prior golden sets that became wrong or right."""
        return tuple(flip for golden in self.prior for flip in golden.flips)

    @property
    def labels(self) -> dict[str, LabelFigures]:
        """What became of the rows of each label, over the prior golden sets."""
        pooled: dict[str, LabelFigures] = {}
        for golden in self.prior:
            for name, item in golden.labels.items():
                pooled[name] = pooled[name].together_with(item) if name in pooled else item
        return pooled

    @property
    def worst_labels(self) -> list[tuple[str, LabelFigures]]:
        """The labels of prior rows that lost some, the largest drop first; of equal ones that of more rows."""
        fallen = [(name, item) for name, item in self.labels.items() if item.drop > 0.0]
        return sorted(fallen, key=lambda pair: (-pair[1].drop, -pair[1].n, pair[0]))


def score(
    golden: GoldenSet,
    before: Sequence[str] | None,
    after: Sequence[str],
    *,
    confidence: float,
    probabilities: Sequence[tuple[float, float]] | None = None,
) -> GoldenScore:
    """Compare two models' answers on one golden set.

    Args:
        golden: the rows.
        before: the label that the model before predicts for each row, in the rows' order; None where
            there is no model before.
        after: the label that the candidate predicts for each row, in the same order.
        confidence: of the intervals, in (0, 1).
        probabilities: what the model before and the candidate gave to their own answers, a pair a row, each in
            [0, 1]; None where that is not known.

    Raises:
        ValueError: when there is not one prediction for each row.
    """
    for which, predicted in (("before", before), ("after", after)):
        if predicted is not None and len(predicted) != len(golden.rows):
            raise ValueError(
                f"golden set {golden.name}: {len(predicted)} predictions {which} for {len(golden.rows)} rows"
            )
    labels = [row.label for row in golden.rows]
    right_after = [got == label for got, label in zip(after, labels, strict=True)]
    right_before = (
        None if before is None else [got == label for got, label in zip(before, labels, strict=True)]
    )
    members: dict[str, list[int]] = {}
    for index, row in enumerate(golden.rows):
        if row.slice:
            members.setdefault(row.slice, []).append(index)
    flips = []
    changes: dict[str, list[tuple[bool, bool]]] = {}
    if before is not None and right_before is not None:
        for index, row in enumerate(golden.rows):
            was, is_ = right_before[index], right_after[index]
            changes.setdefault(row.label, []).append((was, is_))
            if was != is_:
                sure = probabilities[index] if probabilities is not None else (None, None)
                flips.append(
                    Flip(golden.name, row.id, row.slice, row.label, before[index], after[index], *sure)
                )
    return GoldenScore(
        name=golden.name,
        overall=_compare(right_before, right_after, confidence),
        slices={
            name: _compare(
                None if right_before is None else [right_before[i] for i in indices],
                [right_after[i] for i in indices],
                confidence,
            )
            for name, indices in sorted(members.items())
        },
        flips=tuple(flips),
        labels={
            label: LabelFigures(
                n=len(pairs),
                right_before=sum(was for was, _ in pairs),
                lost=pairs.count((True, False)),
                gained=pairs.count((False, True)),
            )
            for label, pairs in sorted(changes.items())
        },
    )


def scorecard(
    own: GoldenScore | None,
    prior: Sequence[GoldenScore],
    *,
    confidence: float,
    quality: Quality | None = None,
) -> Scorecard:
    """Put one candidate's golden scores together and pool the prior ones, each row counting once.

    Args:
        own: the score on the month's own golden set, if it has one and was asked for.
        prior: the scores on earlier months' golden sets, oldest first.
        confidence: of the pooled interval; give what the scores were made with.
        quality: of the prior rows.
    """
    pooled = pool([item.overall for item in prior], confidence)
    return Scorecard(own, tuple(prior), pooled, confidence, quality)


def scorecard_from_record(record: Mapping[str, object], *, where: str) -> Scorecard:
    """Read back what `dataclasses.asdict` made of a scorecard.

    Raises:
        ArtifactCorrupt: when a field is absent, unknown or of the wrong type.
    """
    try:
        return TypeAdapter(Scorecard).validate_python(record)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ArtifactCorrupt(
            f"{where}: {key}: {first['msg']}. Run: retrain run --month M --force"
        ) from error


def _compare(before: Sequence[bool] | None, after: Sequence[bool], confidence: float) -> Comparison:
    if before is None:
        return comparison_of_counts(len(after), None, sum(after), 0, 0, confidence)
    pairs = list(zip(before, after, strict=True))
    lost, gained = pairs.count((True, False)), pairs.count((False, True))
    return comparison_of_counts(len(after), sum(before), sum(after), lost, gained, confidence)


def noise_rows(flips: Sequence[Flip]) -> float:
    """How many truly lost rows the rows that flip by chance count for, each way: those that were gained tell.

    Half a row stands for what may flip where none did.
    """
    gained = [flip.weight for flip in flips if not flip.is_loss]
    if any(flip.probability_before is None for flip in flips):
        return len(gained) + 0.5
    return sum((weight / _LOST_WEIGHT) ** 2 for weight in gained) + 0.5


def pool(comparisons: Sequence[Comparison], confidence: float) -> Comparison | None:
    """One comparison over the rows of all, or None of none; exact, because accuracies are ratios of counts."""
    if not comparisons:
        return None
    n = sum(item.n for item in comparisons)
    lost = sum(item.right_to_wrong for item in comparisons)
    gained = sum(item.wrong_to_right for item in comparisons)
    right_after = sum(_right(item.n, item.accuracy_after) for item in comparisons)
    compared = all(item.accuracy_before is not None or item.n == 0 for item in comparisons)
    right_before = sum(_right(item.n, item.accuracy_before) for item in comparisons) if compared else None
    return comparison_of_counts(n, right_before, right_after, lost, gained, confidence)


def _right(n: int, accuracy: float | None) -> int:
    return 0 if accuracy is None else round(n * accuracy / 100)


def comparison_of_counts(
    n: int, right_before: int | None, right_after: int, lost: int, gained: int, confidence: float
) -> Comparison:
    """The comparison of n rows of which so many were right before and are after, were lost and were gained."""
    if n == 0:
        return Comparison(0, None, None, None, None, None, None, 0, 0)
    accuracy_after = 100 * right_after / n
    if right_before is None:
        return Comparison(n, None, accuracy_after, None, None, None, None, 0, 0)
    low, high = paired_difference_interval(n, lost, gained, confidence)
    return Comparison(
        n=n,
        accuracy_before=100 * right_before / n,
        accuracy_after=accuracy_after,
        difference=100 * (gained - lost) / n,
        low=low,
        high=high,
        p=mcnemar_exact(lost, gained),
        right_to_wrong=lost,
        wrong_to_right=gained,
    )
