"""L2-SP weighs every old weight alike, and new rows not at all."""

import torch

from pipeline.ewc.l2sp import equal_importance
from pipeline.ewc.penalty import penalty

ANCHOR = {"encoder": torch.zeros(3, 2), "head.weight": torch.zeros(5, 2), "head.bias": torch.zeros(5)}
CHAMPION = {"encoder": (3, 2), "head.weight": (4, 2), "head.bias": (4,)}


def test_the_penalty_is_lambda_times_the_squared_distance() -> None:
    weights = equal_importance({name: tuple(t.shape) for name, t in ANCHOR.items()}, ANCHOR)
    theta = {name: torch.full_like(tensor, 2.0) for name, tensor in ANCHOR.items()}
    assert penalty(theta, ANCHOR, weights, 0.5).item() == 0.5 * 4.0 * (6 + 10 + 5)


def test_rows_of_new_labels_are_free() -> None:
    weights = equal_importance(CHAMPION, ANCHOR)
    assert weights["head.weight"].tolist() == [[1.0, 1.0]] * 4 + [[0.0, 0.0]]
    assert weights["head.bias"].tolist() == [1.0] * 4 + [0.0]


def test_weights_of_what_did_not_grow_take_no_memory() -> None:
    weights = equal_importance(CHAMPION, ANCHOR)
    assert weights["encoder"].shape == (3, 2)
    assert weights["encoder"].untyped_storage().nbytes() == 4
