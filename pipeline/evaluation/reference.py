"""The reference of a golden set: the answers of a promoted model that later ones are held against."""

from collections.abc import Sequence

from pipeline.evaluation.significance import loss_p_value

_CHANCE = 0.001
"""How seldom a model that is no better may look better enough to become the reference."""


def surely_better(before: Sequence[bool], after: Sequence[bool]) -> bool:
    """Whether a model's answers are better than another's by more than chance.

    A reference that followed every best answer would be the luckiest of many models, and each candidate would look
    worn beside it; so the oldest answers stand until better ones are beyond doubt.

    Args:
        before, after: whether each row is right, in the same order.

    Returns:
        Whether the exact one-sided McNemar test rejects "no better" at the level 0.001.
    """
    pairs = list(zip(before, after, strict=True))
    gained, lost = ([1.0] * pairs.count(pair) for pair in ((False, True), (True, False)))
    return loss_p_value(gained, lost) <= _CHANCE
