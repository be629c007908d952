"""What a training moves is asked of one record, so that another way to train is one module."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from torch import nn

from pipeline.modeling import training
from pipeline.modeling.penalty_callback import Consolidation, PenaltyCallback
from pipeline.modeling.task import Learner
from pipeline.modeling.trained import Trained, by_layers
from tests import toy
from tests.modeling.test_training import away, parameters, train

Make = Callable[..., Learner]
ROWS = toy.toy_stream().launch[:24]


def test_only_what_is_updated_requires_a_gradient(make: Make) -> None:
    model = make().model
    updated = by_layers("head").updated(model)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == set(updated)
    assert list(updated) == by_layers("head").weights(model)


def test_the_layers_below_the_first_weight_that_may_move_are_frozen(make: Make) -> None:
    model = make().model
    assert len(by_layers("top:1").frozen_below(model)) == 1
    assert by_layers("all").frozen_below(model) == []


def test_a_training_moves_what_its_way_updates_and_is_held_as_the_way_says(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[set[str]] = []

    def penalty(parameters: dict[str, nn.Parameter], consolidation: Consolidation) -> PenaltyCallback:
        held.append(set(parameters))
        names = parameters.keys()
        return PenaltyCallback(
            parameters,
            replace(
                consolidation,
                anchor={name: consolidation.anchor[name] for name in names},
                weights={name: consolidation.weights[name] for name in names},
            ),
        )

    def updated(model: nn.Module) -> dict[str, nn.Parameter]:
        return {n: p for n, p in by_layers("head").updated(model).items() if n.endswith("bias")}

    way = Trained(weights=lambda model: list(updated(model)), updated=updated, penalty=penalty)
    monkeypatch.setattr(training, "trained_by", lambda layers: way)
    classifier = make()
    before = parameters(classifier)
    train(classifier, ROWS, consolidation=away(classifier), layers="all")
    after = parameters(classifier)
    moved = {name for name in before if not after[name].equal(before[name])}
    assert moved == held[0] == set(updated(classifier.model))
