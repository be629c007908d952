"""The reference moves up with real gains and not with luck."""

import random

from pipeline.evaluation.reference import surely_better


def test_a_luckier_model_is_not_surely_better_and_a_better_one_is() -> None:
    old = [True] * 80 + [False] * 20
    assert not surely_better(old, old)
    assert not surely_better(old, [True] * 84 + [False] * 16)
    assert surely_better(old, [True] * 90 + [False] * 10)
    assert not surely_better([True] * 90 + [False] * 10, old)


def test_a_model_that_is_no_better_seldom_becomes_the_reference() -> None:
    draw, draws = random.Random(0), 2000
    tossed = [[draw.random() < 0.5 for _ in range(40)] for _ in range(2 * draws)]
    moved = sum(surely_better(old, new) for old, new in zip(tossed[::2], tossed[1::2], strict=True))
    assert moved / draws <= 0.01 + 3 * (0.01 * 0.99 / draws) ** 0.5
