"""The prior of the balanced softmax."""

import torch

from pipeline.ewc.prior import log_prior


def test_the_prior_is_a_distribution() -> None:
    prior = log_prior([0, 0, 1], [2], 4, new_per_step=2, replayed_per_step=1)
    torch.testing.assert_close(prior.exp().sum(), torch.tensor(1.0))


def test_shares_are_those_of_an_optimizer_step_plus_one_row() -> None:
    # three new rows; two replayed rows for four new ones in a step stand for 1.5 rows
    prior = log_prior([0, 0, 1], [2, 2, 3], 4, new_per_step=4, replayed_per_step=2)
    counts = torch.tensor([2.0, 1.0, 1.0, 0.5]) + 1.0
    torch.testing.assert_close(prior, (counts / counts.sum()).log())


def test_without_replay_only_new_rows_count() -> None:
    prior = log_prior([0, 0, 1], [2, 2], 3, new_per_step=4, replayed_per_step=0)
    torch.testing.assert_close(prior, torch.tensor([3.0, 2.0, 1.0]).div(6.0).log())


def test_a_label_without_rows_stays_finite() -> None:
    assert torch.isfinite(log_prior([0], [], 3, new_per_step=1, replayed_per_step=0)).all()
