import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.ewc.fisher.columns import Scored, column_count, columns


def scored(logits: Tensor, keys: Tensor | None = None) -> Scored:
    """Every position of logits [B, S, C] counts."""
    mask = torch.ones(logits.shape[:2], dtype=torch.bool)
    return Scored(logits, mask, None, torch.arange(len(logits)) if keys is None else keys)


def covariance(logits: Tensor) -> Tensor:
    """diag(p) - p p^T, [..., C, C]."""
    p = logits.softmax(-1)
    return torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)


def outer_sum(logits: Tensor, estimator: str, draws: int, seed: int = 0) -> Tensor:
    """sum_k v_k v_k^T for a classifier, [B, C, C]."""
    found = [v.squeeze(1) for v in columns(scored(logits), estimator, draws, seed)]
    assert len(found) == column_count(estimator, draws, 1, logits.shape[-1])
    return sum(
        (v.unsqueeze(-1) * v.unsqueeze(-2) for v in found[1:]),
        found[0].unsqueeze(-1) * found[0].unsqueeze(-2),
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-40, 40), min_size=2, max_size=8))
def test_exact_columns_factor_the_fisher_of_the_logits(values: list[float]) -> None:
    logits = torch.tensor(values, dtype=torch.float64).reshape(1, 1, -1)
    difference = outer_sum(logits, "exact", 1) - covariance(logits)[:, 0]
    assert float(difference.abs().max()) <= 1e-15


def test_lowrank_with_as_many_columns_as_classes_is_exact() -> None:
    logits = torch.randn(6, 1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    difference = outer_sum(logits, "lowrank", 5) - covariance(logits)[:, 0]
    assert float(difference.abs().max()) <= 1e-14


@pytest.mark.parametrize(("estimator", "draws"), [("mc", 1), ("mc", 3), ("lowrank", 1), ("lowrank", 3)])
def test_sampled_columns_factor_it_in_expectation(estimator: str, draws: int) -> None:
    copies = 40_000
    logits = torch.tensor([2.0, 0.5, 0.0, -1.0, 1.0], dtype=torch.float64).expand(copies, 1, 5)
    found = outer_sum(logits, estimator, draws)
    error = found.std(0) / copies**0.5
    assert float(((found.mean(0) - covariance(logits[:1])[0, 0]).abs() / (error + 1e-12)).max()) < 4.5


def test_more_columns_leave_less_to_chance() -> None:
    logits = torch.randn(1, 1, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2
    many = logits.expand(2000, 1, 30)
    spread = [
        float(outer_sum(many, "lowrank", k).diagonal(dim1=1, dim2=2).var(0).sum()) for k in (1, 2, 4, 8)
    ]
    assert spread[0] > 1.2 * spread[1] > 1.2 * spread[2] > 1.2 * spread[3]


def test_columns_of_a_sequence_are_unbiased_for_the_sum_over_its_tokens() -> None:
    copies, positions, classes = 20_000, 3, 4
    one = torch.randn(1, positions, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = torch.randn(positions, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    gradients = (covariance(one)[0] @ weights.unsqueeze(-1)).squeeze(-1)
    expected = float((weights * gradients).sum())  # sum_t w_t^T S_t w_t
    for estimator, draws in (("mc", 2), ("lowrank", 1), ("lowrank", 3)):
        found = sum(
            (v * weights).sum((1, 2)).square()
            for v in columns(scored(one.expand(copies, positions, classes)), estimator, draws, 0)
        )
        assert isinstance(found, Tensor)
        assert abs(float(found.mean()) - expected) < 4.5 * float(found.std()) / copies**0.5
    exact = sum(float((v * weights).sum()) ** 2 for v in columns(scored(one), "exact", 1, 0))
    assert exact == pytest.approx(expected, rel=1e-12)


def test_positions_that_are_not_scored_get_nothing() -> None:
    logits = torch.randn(2, 3, 4)
    mask = torch.tensor([[True, False, True], [False, True, False]])
    labels = torch.tensor([[1, -100, 2], [-100, 0, -100]])
    for estimator in ("exact", "mc", "lowrank", "empirical"):
        for column in columns(Scored(logits, mask, labels, torch.arange(2)), estimator, 2, 0):
            assert float(column[~mask].abs().max()) == 0


def test_a_certain_model_has_finite_columns() -> None:
    logits = torch.tensor([[[1000.0, 0.0, -1000.0]]])
    for estimator in ("exact", "mc", "lowrank"):
        for column in columns(scored(logits), estimator, 3, 0):
            assert bool(torch.isfinite(column).all())


def test_exact_over_a_vocabulary_is_refused_with_the_number_of_columns() -> None:
    with pytest.raises(UsageError, match=r"exact needs 9,990 backward columns.*Use the lowrank estimator"):
        next(columns(scored(torch.zeros(1, 10, 1000)), "exact", 1, 0))
