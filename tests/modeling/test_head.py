"""The head grows by rows at its end; what was there stays bit for bit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipeline.errors import BadConfig
from pipeline.modeling.checkpoint import save_learner
from pipeline.modeling.head import (
    grow_head,
    head_features,
    head_linear,
    head_parameters,
    logits_of,
)
from pipeline.modeling.prediction import logits
from pipeline.modeling.task import Learner
from pipeline.modeling.tasks.sequence_classification import load_classifier
from pipeline.modeling.trained import layer_parameters
from tests import toy
from tests.modeling.conftest import LABELS, small_model, tokenised

Make = Callable[..., Learner]
ARCHITECTURES = ("bert", "roberta", "distilbert")
GROWN = LABELS.extended(["roaming", "insurance"])
ROWS = toy.toy_stream().launch[:12]


def grown(classifier: Learner) -> Learner:
    _, linear = head_linear(classifier.model)
    generator = torch.Generator().manual_seed(3)
    imprints = {
        name: torch.randn(linear.in_features, generator=generator) for name in ("insurance", "roaming")
    }
    return grow_head(classifier, GROWN, imprints)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_old_rows_and_all_other_weights_stay_bit_for_bit(make: Make, architecture: str) -> None:
    classifier = make(architecture)
    before = {name: tensor.clone() for name, tensor in classifier.model.state_dict().items()}
    name, linear = head_linear(grown(classifier).model)
    after = classifier.model.state_dict()
    assert linear.out_features == 8
    for key, tensor in before.items():
        assert torch.equal(after[key][:6] if key.startswith(f"{name}.") else after[key], tensor), key


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_old_labels_get_the_logits_that_they_had(make: Make, architecture: str) -> None:
    classifier = make(architecture)
    encoded = tokenised(classifier, ROWS).encoded
    before = logits(classifier, encoded)
    after = logits(grown(classifier), encoded)
    assert after.shape == (12, 8)
    torch.testing.assert_close(after[:, :6], before, rtol=0, atol=1e-6)


def test_a_new_row_beside_old_rows_of_nothing_but_zeros_is_zero(make: Make) -> None:
    classifier = make()
    with torch.no_grad():
        head_linear(classifier.model)[1].weight.zero_()
    grown = grow_head(classifier, LABELS.extended(["roaming"]), {"roaming": torch.ones(32)})
    assert not head_linear(grown.model)[1].weight.any()


def test_a_new_row_points_where_its_imprint_does_and_is_shorter_than_the_old_ones(make: Make) -> None:
    classifier = make()
    old_norm = head_linear(classifier.model)[1].weight.norm(dim=1).mean()
    imprint = torch.zeros(32)
    imprint[5] = 7.0
    _, linear = head_linear(grow_head(classifier, LABELS.extended(["roaming"]), {"roaming": imprint}).model)
    row = linear.weight[6].detach()
    assert row.nonzero().tolist() == [[5]]
    assert 0 < row[5] < old_norm


def test_a_grown_head_knows_its_labels_and_survives_saving(make: Make, tmp_path: Path) -> None:
    classifier = grown(make())
    assert classifier.model.config.num_labels == 8
    assert classifier.model.config.label2id == GROWN.ids
    save_learner(classifier, tmp_path)
    loaded = load_classifier(tmp_path)
    assert loaded.labels == GROWN
    for name, tensor in classifier.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_are_what_the_linear_layer_turns_into_logits(make: Make, architecture: str) -> None:
    classifier = make(architecture)
    encoded = tokenised(classifier, ROWS).encoded
    from_features = logits_of(classifier.model, head_features(classifier, encoded))
    torch.testing.assert_close(from_features, logits(classifier, encoded), rtol=1e-5, atol=1e-5)


def test_features_come_in_the_given_order_and_leave_the_mode_as_it_was(make: Make) -> None:
    classifier = make()
    classifier.model.train()
    encoded = tokenised(classifier, ROWS).encoded
    forward, backward = head_features(classifier, encoded), head_features(classifier, encoded[::-1])
    torch.testing.assert_close(forward, backward.flip(0), rtol=1e-5, atol=1e-6)
    assert classifier.model.training


@pytest.mark.parametrize(
    ("architecture", "prefix"),
    [
        ("bert", "bert.encoder.layer.1."),
        ("roberta", "roberta.encoder.layer.1."),
        ("distilbert", "distilbert.transformer.layer.1."),
    ],
)
def test_the_topmost_layers_are_trained_with_all_that_comes_after(
    make: Make, architecture: str, prefix: str
) -> None:
    model = make(architecture).model
    names = [name for name, _ in model.named_parameters()]
    top = layer_parameters(model, "top:1")
    assert top == names[names.index(top[0]) :]
    assert top[0].startswith(prefix)
    assert head_parameters(model) <= set(top)
    assert layer_parameters(model, "all") == names


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_more_layers_than_there_are_leaves_the_embeddings_alone(make: Make, architecture: str) -> None:
    model = make(architecture).model
    assert (
        layer_parameters(model, "top:9")
        == layer_parameters(model, "top:2")
        == layer_parameters(model, "encoder")
    )
    assert not [name for name in layer_parameters(model, "encoder") if "embedding" in name]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_head_alone_is_all_outside_of_the_encoder(make: Make, architecture: str) -> None:
    model = make(architecture).model
    names = layer_parameters(model, "head")
    assert f"{head_linear(model)[0]}.weight" in names
    assert not [name for name in names if "layer." in name or "embedding" in name]


def test_a_model_without_a_linear_head_is_refused() -> None:
    model = small_model("distilbert", 5, 30)
    model.classifier = torch.nn.Identity()
    with pytest.raises(BadConfig, match="expected a linear classification head, found none"):
        head_linear(model)
