"""The table that tells forgetting: each month's model on each golden set."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.evaluation.scorecard import Scorecard


@dataclass(frozen=True)
class AccuracyMatrix:
    """`accuracies[i][j]`: accuracy in points of the model of `months[i]` on golden set `golden_sets[j]`.

    None where that model was not scored on that set. Reading a column downwards shows one golden set
    being forgotten (or not); the diagonal shows each month's own set when it was new.
    """

    months: tuple[str, ...]
    golden_sets: tuple[str, ...]
    accuracies: tuple[tuple[float | None, ...], ...]


def accuracy_matrix(cards: Mapping[str, Scorecard]) -> AccuracyMatrix:
    """Collect `accuracy_after` of every scorecard into one table.

    Args:
        cards: the scorecard of each month's model, by month, oldest first.

    Returns:
        Months in the order given; golden sets in the order in which they first occur.
    """
    golden_sets = tuple(dict.fromkeys(golden.name for card in cards.values() for golden in card.scores))
    rows = []
    for card in cards.values():
        by_set = {golden.name: golden.overall.accuracy_after for golden in card.scores}
        rows.append(tuple(by_set.get(name) for name in golden_sets))
    return AccuracyMatrix(tuple(cards), golden_sets, tuple(rows))
