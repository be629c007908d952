"""Which estimator `auto` means, from the classes and the model's confidence on a first sample."""

from dataclasses import dataclass

from pipeline.ewc.fisher.columns import Scored

_MOST_CLASSES_FOR_EXACT = 4


@dataclass(frozen=True)
class Choice:
    """An estimator with its number of draws, and why, in one line."""

    estimator: str
    draws: int
    reason: str = ""


def asked_for(estimator: str, draws: int | None) -> Choice:
    """The choice of a caller who knows."""
    return Choice(estimator, draws if draws is not None else 1 if estimator == "empirical" else 4)


def chosen(sample: Scored, draws: int | None) -> Choice:
    """The estimator for this model: exact for a few classes, the leading eigen-columns for more."""
    positions, classes = sample.logits.shape[1:]
    confidence = float(sample.logits.detach().float().softmax(-1).amax(-1)[sample.mask].mean())
    seen = f"{classes:,} classes, mean confidence {confidence:.2f} on {len(sample.keys)} examples"
    if positions == 1 and classes <= _MOST_CLASSES_FOR_EXACT:
        return Choice("exact", classes - 1, f"exact: {seen}; all classes cost {classes - 1} backward columns")
    if positions > 1:
        return Choice(
            "lowrank", draws or 1, f"lowrank with {draws or 1} random column: {seen}, at every token"
        )
    return Choice("lowrank", draws or 2, f"lowrank with {draws or 2} columns: {seen}")
