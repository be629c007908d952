"""What moved, group by group."""

import pytest
import torch

from pipeline.ewc.deltas import group_deltas, group_of


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("bert.encoder.layer.5.attention.self.query.weight", "bert.encoder.layer.5"),
        ("bert.encoder.layer.10.output.dense.bias", "bert.encoder.layer.10"),
        ("transformer.h.0.mlp.c_fc.weight", "transformer.h.0"),
        ("model.layers.3.self_attn.q_proj.weight", "model.layers.3"),
        ("bert.embeddings.word_embeddings.weight", "bert.embeddings.word_embeddings"),
        ("classifier.weight", "classifier"),
        ("scale", "scale"),
    ],
)
def test_a_parameter_belongs_to_its_numbered_layer_or_its_module(name: str, group: str) -> None:
    assert group_of(name) == group


def test_norms_are_those_of_all_the_groups_members_together() -> None:
    anchor = {"a.weight": torch.tensor([3.0, 0.0]), "a.bias": torch.tensor([4.0]), "b.weight": torch.zeros(2)}
    theta = {"a.weight": torch.tensor([3.0, 3.0]), "a.bias": torch.tensor([8.0]), "b.weight": torch.ones(2)}
    a, b = group_deltas(theta, anchor, None)
    assert (a.group, a.size, a.norm, a.relative) == ("a", 3, 5.0, 1.0)
    assert (b.group, b.size, b.relative) == ("b", 2, 0.0)
    assert b.norm == pytest.approx(2**0.5)
    assert a.fisher_mass is a.weighted_change is a.weighted_share is None


def test_shares_of_mass_and_of_weighted_change_each_sum_to_one() -> None:
    generator = torch.Generator().manual_seed(0)
    theta = {f"layer.{i}.weight": torch.randn(4, generator=generator) for i in range(3)}
    anchor = {name: torch.randn(4, generator=generator) for name in theta}
    fisher = {name: torch.rand(4, generator=generator) for name in theta}
    deltas = group_deltas(theta, anchor, fisher)
    assert sum(delta.fisher_mass or 0.0 for delta in deltas) == pytest.approx(1.0)
    assert sum(delta.weighted_share or 0.0 for delta in deltas) == pytest.approx(1.0)
    first = "layer.0.weight"
    expected = (fisher[first] * (theta[first] - anchor[first]).square()).sum().item()
    assert deltas[0].weighted_change == pytest.approx(expected, rel=1e-6)


def test_nothing_moved_gives_zeros_and_no_division_by_zero() -> None:
    same = {"w": torch.ones(2)}
    (delta,) = group_deltas(same, same, {"w": torch.zeros(2)})
    assert (delta.norm, delta.relative, delta.fisher_mass, delta.weighted_share) == (0.0, 0.0, 0.0, 0.0)
