"""How a module's input and the gradient of its output give its parameters' gradients, example by example."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.ewc.fisher.accumulate import Direct, Gradient, Outer, Rows


@dataclass(frozen=True)
class Rule:
    """Gradients of one kind of module.

    `gradients(module, x, g)` maps attribute names to gradients, for an input x [B, ...] and the
    gradient of the output g [B, ...], both in the accumulation dtype; only those of `names` are asked for.
    """

    gradients: Callable[[nn.Module, Tensor, Tensor, frozenset[str]], Mapping[str, Gradient]]
    reads_input: frozenset[str]
    """Attributes whose gradient needs the input; for the others it need not be kept."""


def rule_of(module: nn.Module) -> Rule | None:
    """The rule of a module, or None where only plain autograd is known to be right.

    A subclass counts only if it kept the forward of its parent.
    """
    forward = type(module).forward
    if forward is nn.Linear.forward:
        return _LINEAR
    if forward is nn.LayerNorm.forward:
        return _LAYER_NORM
    if forward is nn.Embedding.forward and _plain_embedding(module):
        return _EMBEDDING
    if _is_scaled_embedding(module):
        return _SCALED_EMBEDDING
    if _is_conv1d(module):
        return _CONV1D
    if forward is nn.RMSNorm.forward or _is_rms_norm(module):
        return _RMS_NORM
    return None


def _plain_embedding(module: nn.Module) -> bool:
    assert isinstance(module, nn.Embedding)
    return module.max_norm is None and not module.scale_grad_by_freq and not module.sparse


def _is_scaled_embedding(module: nn.Module) -> bool:
    """An embedding whose rows are multiplied by a constant, as of BART and Gemma; told by its name, as
    transformers is not imported here."""
    scaled = type(module).__name__.endswith("ScaledWordEmbedding") and hasattr(module, "embed_scale")
    return scaled and isinstance(module, nn.Embedding) and _plain_embedding(module)


def _is_conv1d(module: nn.Module) -> bool:
    """The transposed linear layer of GPT-2, told by its name and shape."""
    parameters = dict(module.named_parameters(recurse=False))
    if type(module).__name__ != "Conv1D" or set(parameters) != {"weight", "bias"}:
        return False
    return parameters["weight"].dim() == 2 and parameters["bias"].shape == parameters["weight"].shape[1:]


def _is_rms_norm(module: nn.Module) -> bool:
    """A root-mean-square norm of some model family: one vector of weights, and an epsilon."""
    name = type(module).__name__
    parameters = dict(module.named_parameters(recurse=False))
    named = name.endswith("RMSNorm") or name == "T5LayerNorm"
    return (
        named
        and set(parameters) == {"weight"}
        and parameters["weight"].dim() == 1
        and _epsilon(module) is not None
    )


def _epsilon(module: nn.Module) -> float | None:
    for attribute in ("variance_epsilon", "eps"):
        value = getattr(module, attribute, None)
        if isinstance(value, float):
            return value
    return None


def _tokens(x: Tensor) -> Tensor:
    """[B, ..., K] as [B, T, K]."""
    return x.reshape(len(x), -1, x.shape[-1])


def live_tokens(g: Tensor) -> Tensor:
    """Tokens of g [B, T, K] with a gradient, bool [B, T].

    Padding has none, nor has anything above the last attention of a model that reads one token. A
    norm that underflows to 0 belongs to a gradient whose square would.
    """
    norms: Tensor = torch.linalg.vector_norm(g, dim=-1)
    return norms.ne(0)


def _linear(module: nn.Module, x: Tensor, g: Tensor, names: frozenset[str]) -> dict[str, Gradient]:
    g = _tokens(g)
    found: dict[str, Gradient] = {}
    if "weight" in names:
        found["weight"] = Outer(g, _tokens(x), live_tokens(g))
    if "bias" in names:
        found["bias"] = Direct(g.sum(1))
    return found


def _conv1d(module: nn.Module, x: Tensor, g: Tensor, names: frozenset[str]) -> dict[str, Gradient]:
    g = _tokens(g)
    found: dict[str, Gradient] = {}
    if "weight" in names:
        found["weight"] = Outer(_tokens(x), g, live_tokens(g))
    if "bias" in names:
        found["bias"] = Direct(g.sum(1))
    return found


def _embedding(module: nn.Module, x: Tensor, g: Tensor, names: frozenset[str]) -> dict[str, Gradient]:
    assert isinstance(module, nn.Embedding)
    ids = x.reshape(len(x), -1)
    if module.padding_idx is not None:
        ids = ids.masked_fill(ids == module.padding_idx, -1)
    return {"weight": Rows(ids, g.reshape(*ids.shape, g.shape[-1]))}


def _scaled_embedding(module: nn.Module, x: Tensor, g: Tensor, names: frozenset[str]) -> dict[str, Gradient]:
    scale: Tensor | float = module.embed_scale  # type: ignore[assignment]
    return _embedding(module, x, g * scale, names)


def _layer_norm(module: nn.Module, x: Tensor, g: Tensor, names: frozenset[str]) -> dict[str, Gradient]:
    assert isinstance(module, nn.LayerNorm)
    found: dict[str, Gradient] = {}
    if "weight" in names:
        normalised = F.layer_norm(x, module.normalized_shape, eps=module.eps)
        found["weight"] = Direct(_summed((normalised * g), module.weight))
    if "bias" in names:
        found["bias"] = Direct(_summed(g, module.bias))
    return found


def _rms_norm(module: nn.Module, x: Tensor, g: Tensor, names: frozenset[str]) -> dict[str, Gradient]:
    weight = module.get_parameter("weight")
    normalised = F.rms_norm(x, tuple(weight.shape), eps=_epsilon(module))
    return {"weight": Direct(_summed(normalised * g, weight))}


def _summed(x: Tensor, parameter: Tensor) -> Tensor:
    """[B, ..., *parameter.shape] summed to [B, *parameter.shape]."""
    return x.reshape(len(x), -1, *parameter.shape).sum(1)


_LINEAR = Rule(_linear, frozenset({"weight"}))
_CONV1D = Rule(_conv1d, frozenset({"weight"}))
_EMBEDDING = Rule(_embedding, frozenset({"weight"}))
_SCALED_EMBEDDING = Rule(_scaled_embedding, frozenset({"weight"}))
_LAYER_NORM = Rule(_layer_norm, frozenset({"weight"}))
_RMS_NORM = Rule(_rms_norm, frozenset({"weight"}))
