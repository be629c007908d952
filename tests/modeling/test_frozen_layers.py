"""Frozen layers are run once for each row; what the model then says and learns stays the same."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers import AlbertConfig, AlbertForSequenceClassification

from pipeline.modeling import frozen_layers
from pipeline.modeling.batches import padded_batches
from pipeline.modeling.frozen_layers import FrozenLayers, remember_frozen_layers
from pipeline.modeling.prediction import logits
from pipeline.modeling.task import Learner
from pipeline.modeling.trained import by_layers, layer_stack
from tests import toy
from tests.modeling.conftest import tokenised

Make = Callable[..., Learner]
ARCHITECTURES = ("bert", "roberta", "distilbert")
STREAM = toy.toy_stream()
ROWS, OTHERS = STREAM.launch[:12], STREAM.launch[12:20]


def remembered(classifier: Learner, layers: str = "top:1") -> FrozenLayers:
    frozen = remember_frozen_layers(classifier, tokenised(classifier, ROWS).encoded, by_layers(layers))
    assert frozen is not None
    return frozen


def runs_of(layer: nn.Module) -> list[int]:
    """A list that grows whenever something inside of the layer runs."""
    inside = next(module for module in layer.modules() if isinstance(module, nn.Linear))
    runs: list[int] = []
    inside.register_forward_hook(lambda *_: runs.append(1))
    return runs


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("layers", ["top:1", "head"])
def test_known_rows_get_the_same_logits_without_a_run_of_the_frozen_layers(
    make: Make, architecture: str, layers: str
) -> None:
    classifier = make(architecture)
    encoded = tokenised(classifier, ROWS).encoded
    expected = logits(classifier, encoded)
    frozen = remembered(classifier, layers)
    runs = [runs_of(layer) for layer in frozen.layers]
    with frozen.looked_up(classifier.model):
        found = logits(classifier, encoded)
    assert [len(each) for each in runs] == [0] * len(runs)
    assert len(runs) == (1 if layers == "top:1" else 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_batch_with_an_unknown_row_runs_every_layer(make: Make) -> None:
    classifier = make()
    both = tokenised(classifier, [*ROWS, *OTHERS]).encoded
    expected = logits(classifier, both)
    frozen = remembered(classifier)
    runs = runs_of(frozen.layers[0])
    with frozen.looked_up(classifier.model):
        found = logits(classifier, both)
    assert runs
    assert torch.equal(found, expected)


def test_gradients_of_the_trained_layers_are_the_same(make: Make) -> None:
    classifier = make()
    frozen = remembered(classifier)
    classifier.model.eval()
    trained = {
        n: p for n, p in classifier.model.named_parameters() if ".layer.0." not in n and "emb" not in n
    }
    encoded = tokenised(classifier, ROWS[:4]).encoded

    def gradients() -> dict[str, torch.Tensor]:
        from pipeline.modeling.batches import pad

        classifier.model.zero_grad()
        classifier.model(**pad(classifier.tokenizer, encoded)).logits.square().sum().backward()
        return {name: p.grad.clone() for name, p in trained.items() if p.grad is not None}

    expected = gradients()
    with frozen.looked_up(classifier.model):
        found = gradients()
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_afterwards_the_layers_run_again(make: Make) -> None:
    classifier = make()
    frozen = remembered(classifier)
    with pytest.raises(RuntimeError, match="on the way"), frozen.looked_up(classifier.model):
        raise RuntimeError("on the way")
    runs = runs_of(frozen.layers[0])
    logits(classifier, tokenised(classifier, ROWS).encoded)
    assert runs


@pytest.mark.parametrize("layers", ["all", "encoder", "top:2"])
def test_nothing_is_kept_where_no_layer_is_frozen(make: Make, layers: str) -> None:
    classifier = make()
    assert remember_frozen_layers(classifier, tokenised(classifier, ROWS).encoded, by_layers(layers)) is None


def test_nothing_is_kept_where_it_would_take_too_much_memory(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = make()
    encoded = tokenised(classifier, ROWS).encoded
    needed = sum(len(row) for row in {tuple(row) for row in encoded}) * 32 * 4
    monkeypatch.setattr(frozen_layers, "MOST_BYTES", needed)
    assert remember_frozen_layers(classifier, encoded, by_layers("top:1")) is not None
    monkeypatch.setattr(frozen_layers, "MOST_BYTES", needed - 1)
    assert remember_frozen_layers(classifier, encoded, by_layers("top:1")) is None


def test_only_the_first_batch_goes_through_the_trained_layers(make: Make) -> None:
    classifier = make()
    rows = [[first, second] for first in range(20) for second in range(10)]
    batches = sum(1 for _ in padded_batches(classifier.tokenizer, rows))
    _, stack = layer_stack(classifier.model)
    frozen_runs, trained_runs = runs_of(stack[0]), runs_of(stack[1])
    frozen = remember_frozen_layers(classifier, rows, by_layers("top:1"))
    assert batches > 1
    assert (len(frozen_runs), len(trained_runs)) == (batches, 1)
    assert frozen is not None
    assert len(frozen.outputs) == len(rows)


def test_nothing_is_kept_of_a_layer_that_runs_more_than_once_a_pass(make: Make) -> None:
    bert = make()
    config = AlbertConfig(
        vocab_size=len(bert.tokenizer),
        hidden_size=16,
        embedding_size=16,
        intermediate_size=32,
        num_attention_heads=2,
        num_hidden_layers=2,
        inner_group_num=2,
        num_labels=len(bert.labels),
    )
    classifier = Learner(AlbertForSequenceClassification(config), bert.tokenizer, bert.labels, bert.task)
    assert len(layer_stack(classifier.model)[1]) == 2
    assert remember_frozen_layers(classifier, tokenised(classifier, ROWS).encoded, by_layers("top:1")) is None
