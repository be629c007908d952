"""The offset of new labels' logits."""

import math

import pytest
import torch

from pipeline.ewc.calibration import new_label_offset


def test_an_offset_that_was_added_is_found_and_taken_back() -> None:
    draw = torch.Generator().manual_seed(5)
    logits = torch.randn(4000, 4, generator=draw).double()
    targets = torch.multinomial(logits.softmax(dim=1), 1, generator=draw).squeeze(1)
    fair = new_label_offset(logits, targets, 2)
    shifted = logits + torch.tensor([0.0, 0.0, 1.5, 1.5])
    assert new_label_offset(shifted, targets, 2) == pytest.approx(fair - 1.5, abs=1e-4)
    assert abs(fair) < 0.15  # the labels were drawn from these very logits, half of them new


def test_closed_form_of_two_labels() -> None:
    """Equal logits: the new label gets its share of the weight, s = 1/2, whatever the count of its rows."""
    logits = torch.tensor([[0.0, 2.0]] * 9)
    targets = torch.tensor([0] * 8 + [1])
    assert new_label_offset(logits, targets, 1) == pytest.approx(-2.0 + math.log(0.5 / 0.5), abs=1e-5)


@pytest.mark.parametrize(("targets", "known"), [([0, 1, 1], 3), ([0, 1, 1], 2), ([2, 2, 2], 2)])
def test_nothing_is_corrected_where_rows_of_a_kind_are_lacking(targets: list[int], known: int) -> None:
    assert new_label_offset(torch.randn(3, 3), torch.tensor(targets), known) == 0.0
