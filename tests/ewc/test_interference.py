"""Rows that the month's labels pull at, and how often they are drawn again."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ewc.interference import MOST_AGAIN, again, interference

SCORES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40)


def test_interference_is_the_probability_of_the_taught_labels_without_the_rows_own() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.5, -1.0], [0.0, 3.0, 0.2, 2.5], [0.1, 0.2, 0.3, 0.4]])
    own, taught = [0, 3, 1], [3, 1, 3]
    expected = []
    for row, label in zip(logits.tolist(), own, strict=True):
        total = sum(math.exp(value) for value in row)
        expected.append(sum(math.exp(row[other]) for other in (1, 3) if other != label) / total)
    assert interference(logits, own, taught).tolist() == pytest.approx(expected, rel=1e-6)


def test_a_row_that_the_model_is_sure_of_is_hardly_pulled_at_and_one_next_to_a_new_label_is() -> None:
    logits = torch.tensor([[9.0, 0.0, 0.0], [2.0, 0.0, 1.9], [2.0, 1.9, 0.0]])
    sure, near, near_an_untaught = interference(logits, [0, 0, 0], [2]).tolist()
    assert sure < 0.001
    assert near > 0.4
    assert near_an_untaught < 0.1


@given(scores=SCORES, share=st.sampled_from([0.1, 0.5, 0.75]))
def test_draws_follow_the_scores_up_to_the_bound_and_less_than_one_apart(
    scores: list[float], share: float
) -> None:
    counts = again(torch.tensor(scores, dtype=torch.float64), share)
    assert all(0 <= count <= MOST_AGAIN for count in counts)
    total = sum(scores)
    if total == 0.0:
        assert counts == [0] * len(scores)
        return
    places = len(scores) * share / (1 - share)
    wanted = 0.0
    for index, score in enumerate(scores):
        wanted += min(score / total * places, MOST_AGAIN)
        assert sum(counts[: index + 1]) == pytest.approx(wanted, abs=1.0 + 1e-6)


def test_of_equal_scores_every_row_is_drawn_again_as_often() -> None:
    assert again(torch.full((8,), 0.25), 0.5) == [1] * 8
    assert again(torch.full((8,), 0.25), 0.75) == [3] * 8


def test_a_share_of_zero_draws_none_again() -> None:
    assert again(torch.tensor([0.5, 0.1]), 0.0) == [0, 0]
