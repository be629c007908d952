"""Where a change went."""

import pytest
import torch

from pipeline.ewc.movement import ALL, KINDS, kind_of, movements

NAMES = [
    *(
        f"bert.encoder.layer.{i}.{part}"
        for i in range(3)
        for part in ("attention.self.query.weight", "output.dense.weight")
    ),
    "classifier.weight",
]


def planted(wrecked: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Small random changes everywhere, a large one in the wrecked layer; theta, theta*, F."""
    torch.manual_seed(0)
    anchor = {name: torch.randn(4, 5) for name in NAMES}
    parameters = {
        name: tensor + torch.randn(4, 5) * (1.0 if name.startswith(wrecked) else 0.01)
        for name, tensor in anchor.items()
    }
    return parameters, anchor, {name: torch.rand(4, 5) for name in NAMES}


@pytest.mark.parametrize("wrecked", ["bert.encoder.layer.0", "bert.encoder.layer.2", "classifier"])
def test_wrecked_layer_comes_first(wrecked: str) -> None:
    found = movements(*planted(wrecked))
    assert (found[0].group, found[0].kind) == (wrecked, ALL)
    assert found[0].weighted_share > 0.99


def test_shares_of_groups_and_of_kinds_each_add_up_to_one() -> None:
    found = movements(*planted("classifier"))
    for part in ([m for m in found if m.kind == ALL], [m for m in found if m.kind != ALL]):
        assert sum(m.weighted_share for m in part) == pytest.approx(1.0)
        assert sum(m.fisher_mass for m in part) == pytest.approx(1.0)


def test_protection_tells_whether_protected_weights_moved() -> None:
    fisher = {"a.weight": torch.tensor([3.0, 1.0])}
    anchor = {"a.weight": torch.zeros(2)}

    def protection(*change: float) -> float | None:
        return movements({"a.weight": torch.tensor(change)}, anchor, fisher)[0].protection

    assert protection(1.0, 1.0) == pytest.approx(1.0)
    assert protection(1.0, 0.0) == pytest.approx(1.5)
    assert protection(0.0, 1.0) == pytest.approx(0.5)
    assert protection(0.0, 0.0) is None


def test_rows_of_new_labels_have_no_anchor_and_are_left_out() -> None:
    anchor, fisher = {"classifier.weight": torch.ones(2, 3)}, {"classifier.weight": torch.ones(2, 3)}
    grown = torch.cat([torch.ones(2, 3), torch.full((1, 3), 9.0)])
    found = movements({"classifier.weight": grown}, anchor, fisher)[0]
    assert (found.size, found.norm) == (6, 0.0)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bert.encoder.layer.0.attention.self.query.weight", "query"),
        ("bert.encoder.layer.0.attention.output.dense.bias", "attention out"),
        ("bert.encoder.layer.0.attention.output.LayerNorm.weight", "norm"),
        ("bert.encoder.layer.0.intermediate.dense.weight", "feed-forward in"),
        ("bert.encoder.layer.0.output.dense.weight", "feed-forward out"),
        ("distilbert.transformer.layer.1.attention.v_lin.weight", "value"),
        ("distilbert.transformer.layer.1.ffn.lin1.weight", "feed-forward in"),
        ("model.layers.3.self_attn.k_proj.weight", "key"),
        ("model.layers.3.mlp.down_proj.weight", "feed-forward out"),
        ("transformer.h.2.attn.c_attn.weight", "query, key, value"),
        ("bert.embeddings.word_embeddings.weight", "embedding"),
        ("classifier.weight", "dense"),
    ],
)
def test_kind_is_told_by_the_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind
    assert kind in KINDS
