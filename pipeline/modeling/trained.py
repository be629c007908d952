"""What a training moves: one seam for the Fisher, the penalty, the optimizer and all else that asks which weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from torch import nn

from pipeline.errors import BadConfig
from pipeline.modeling.head import head_parameters
from pipeline.modeling.penalty_callback import Consolidation, PenaltyCallback


@dataclass(frozen=True)
class Trained:
    """A way to train, as a record of functions of the model.

    To write another: a function like `by_layers` that returns one, and its line in `trained_by`. What it updates may be
    other parameters than the weights that it moves, as an adapter's are: the penalty is what connects the two.

    Attributes:
        weights: names of the checkpoint's weights that may move, in model order: the Fisher covers them, the penalty holds
            them, interpolation goes along them. Raises BadConfig where the model has no such weights.
        updated: the parameters that the optimizer updates, by name; afterwards no other requires a gradient.
        penalty: what holds the weights while these parameters are trained.
    """

    weights: Callable[[Any], list[str]]
    updated: Callable[[Any], dict[str, nn.Parameter]]
    penalty: Callable[[dict[str, nn.Parameter], Consolidation], PenaltyCallback]

    def frozen_below(self, model: Any) -> list[nn.Module]:
        """The layers of the model's stack that come before the first weight that may move, in model order."""
        name, stack = layer_stack(model)
        moving = set(self.weights(model))
        below = takewhile(lambda n: n not in moving, (n for n, _ in model.named_parameters()))
        numbers = {n.removeprefix(f"{name}.").split(".")[0] for n in below if n.startswith(f"{name}.")}
        return list(stack[: len(numbers)])


def trained_by(layers: str) -> Trained:
    """What `train.layers` or `launch.layers` asks for."""
    return by_layers(layers)


def by_layers(layers: str) -> Trained:
    """The weights of some layers themselves: `all`, `encoder`, `top:N` or `head`."""

    def updated(model: Any) -> dict[str, nn.Parameter]:
        names = set(layer_parameters(model, layers))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in names)
        return {name: p for name, p in model.named_parameters() if name in names}

    return Trained(
        weights=lambda model: layer_parameters(model, layers), updated=updated, penalty=PenaltyCallback
    )


def layer_parameters(model: Any, layers: str) -> list[str]:
    """Names of the parameters that `layers` (`all`, `encoder`, `top:N` or `head`) trains, in model order.

    `top:N` trains the N topmost layers and all that comes after them, `encoder` all layers; what comes
    before, the embeddings at least, stays frozen.
    """
    names = [name for name, _ in model.named_parameters()]
    if layers == "all":
        return names
    if layers == "head":
        head = head_parameters(model)
        return [name for name in names if name in head]
    stack_name, stack = layer_stack(model)
    if not len(stack):
        raise BadConfig(
            f"train.layers {layers}: {type(model).__name__} has no stack of layers. Use all or head"
        )
    count = len(stack) if layers == "encoder" else int(layers.removeprefix("top:"))
    first = max(len(stack) - count, 0)
    start = next(i for i, name in enumerate(names) if name.startswith(f"{stack_name}.{first}."))
    beside = f"{stack_name.rpartition('.')[0]}."
    return [name for name in names[start:] if not _is_embedding(name.removeprefix(beside), name, beside)]


def _is_embedding(own: str, name: str, beside: str) -> bool:
    """Whether a parameter that is registered after its stack comes before it: BART's `encoder.layernorm_embedding`."""
    return name.startswith(beside) and "embed" in own.partition(".")[0]


def layer_stack(model: Any) -> tuple[str, nn.ModuleList]:
    """The name and modules of the model's longest stack of layers, bottom first; empty where it has none.

    A list inside of one of several layers is no stack (T5 has one in each block), and neither are lists side by side that
    hold the parts of each layer (XLM).
    """
    lists: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") and len(lists[outer]) > 1 for outer in lists)
        if isinstance(module, nn.ModuleList) and not inside:
            lists[name] = module
    name = max(lists, key=lambda item: len(lists[item]), default="")
    beside = [
        other
        for other in lists
        if other.rpartition(".")[0] == name.rpartition(".")[0] and len(lists[other]) == len(lists[name])
    ]
    return (name, lists[name]) if len(beside) == 1 else ("", nn.ModuleList())
