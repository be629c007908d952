"""What accuracy does not show: labels that few rows have, and whether the probabilities can be believed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_BINS = 15


@dataclass(frozen=True)
class Quality:
    """Macro-F1 and calibration error of the candidate and, where there is one, of the model before; in points."""

    macro_f1_before: float | None
    macro_f1_after: float
    calibration_error_before: float | None
    calibration_error_after: float


def macro_f1(labels: Sequence[str], answers: Sequence[str]) -> float:
    """The mean over labels of F1 = 2 right / (rows + answers of the label), each label weighing alike.

    Args:
        labels: the right label of each row, at least one.
        answers: what the model says, in the same order.

    Returns:
        Points, 0 to 100; over the labels that some row has.

    Source: Opitz and Burst 2019, "Macro F1 and Macro F1", the mean of F1 scores.
    """
    right = Counter(label for label, answer in zip(labels, answers, strict=True) if label == answer)
    rows, answered = Counter(labels), Counter(answers)
    return 100 * sum(2 * right[name] / (rows[name] + answered[name]) for name in rows) / len(rows)


def calibration_error(right: Sequence[bool], probabilities: Sequence[float]) -> float:
    """The expected calibration error: how far the probability of an answer lies from how often it is right.

    ECE = sum over 15 equal bins of probability of (rows in it / n) |accuracy - mean probability|.

    Args:
        right: whether each row's answer is right, at least one.
        probabilities: what the model gave to its answer, in [0, 1], in the same order.

    Returns:
        Points, 0 to 100.

    Source: Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    gaps: dict[int, float] = {}
    for was_right, probability in zip(right, probabilities, strict=True):
        place = min(int(probability * _BINS), _BINS - 1)
        gaps[place] = gaps.get(place, 0.0) + was_right - probability
    return 100 * sum(abs(gap) for gap in gaps.values()) / len(right)
