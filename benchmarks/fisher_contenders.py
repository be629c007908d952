"""Ways to get the diagonal empirical Fisher of a batch, each a step that is timed on its own.

A step takes a batch and returns sum_b (d log p(y_b | x_b) / d theta)^2 by parameter name; the floor is
an ordinary forward and backward of the batch's loss, which returns nothing.
"""

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

Batch = Mapping[str, Tensor]
Step = Callable[[Batch], dict[str, Tensor]]


def loss_sum(logits: Tensor, batch: Batch) -> Tensor:
    """-log p of the labels, summed over examples (and over the tokens of each)."""
    labels = batch["labels"]
    if logits.dim() == 2:
        return F.cross_entropy(logits, labels, reduction="sum")
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")


def logits_of(model: nn.Module, batch: Batch, **more: Tensor) -> Tensor:
    """A plain forward."""
    output: Tensor = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], **more
    ).logits
    return output


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters whose Fisher is asked for."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def floor(model: nn.Module) -> Step:
    """Plain forward and backward: what one training step does before the optimizer."""

    def step(batch: Batch) -> dict[str, Tensor]:
        model.zero_grad(set_to_none=True)
        loss_sum(logits_of(model, batch), batch).div(len(batch["labels"])).backward()  # type: ignore[no-untyped-call]
        return {}

    return step


def batch_square(model: nn.Module) -> Step:
    """The square of the batch's gradient: cheap, common and wrong for more than one example."""
    plain, totals = floor(model), _zeros(model)

    def step(batch: Batch) -> dict[str, Tensor]:
        plain(batch)
        _add_squared_grads(model, totals, scale=len(batch["labels"]))
        return totals

    return step


def loop(model: nn.Module) -> Step:
    """One unpadded example after the other."""
    totals = _zeros(model)

    def step(batch: Batch) -> dict[str, Tensor]:
        for b, length in enumerate(batch["attention_mask"].sum(1).tolist()):
            one = {n: t[b : b + 1, :length] if t.dim() == 2 else t[b : b + 1] for n, t in batch.items()}
            model.zero_grad(set_to_none=True)
            loss_sum(logits_of(model, one), one).backward()  # type: ignore[no-untyped-call]
            _add_squared_grads(model, totals)
        return totals

    return step


def vmapped(model: nn.Module) -> Step:
    """A gradient for each example at once, through torch.func."""
    parameters = {name: p.detach() for name, p in trained(model).items()}
    rest = {n: p.detach() for n, p in model.named_parameters() if n not in parameters} | dict(
        model.named_buffers()
    )
    causal = "GPT2" in type(model).__name__

    def objective(leaves: dict[str, Tensor], ids: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        inputs = {"input_ids": ids.unsqueeze(0), "attention_mask": mask.unsqueeze(0)}
        logits = functional_call(model, (leaves, rest), kwargs=inputs).logits
        return loss_sum(logits, {"labels": labels.unsqueeze(0)})

    def step(batch: Batch) -> dict[str, Tensor]:
        # four-dimensional, because making one from two looks at its values, which vmap forbids
        mask = _additive(batch["attention_mask"], causal)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a slow path of vmap, which is what is measured
            found = vmap(grad(objective), in_dims=(None, 0, 0, 0))(
                parameters, batch["input_ids"], mask, batch["labels"]
            )
        return {name: gradient.square_().sum(0) for name, gradient in found.items()}

    return step


def backpack(model: nn.Module) -> Step:
    """BackPACK's SumGradSquared, on Linear layers: it has no rule for norms, nor for position embeddings."""
    package = import_module("backpack")
    square = import_module("backpack.extensions").SumGradSquared

    for module in model.modules():
        if type(module) is nn.Linear:
            package.extend(module)

    def step(batch: Batch) -> dict[str, Tensor]:
        model.zero_grad(set_to_none=True)
        with package.backpack(square()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss_sum(logits_of(model, batch), batch).backward()  # type: ignore[no-untyped-call]
        return {n: p.sum_grad_squared for n, p in trained(model).items() if hasattr(p, "sum_grad_squared")}

    return step


def opacus(model: nn.Module) -> Step:
    """Opacus' per-example gradients, squared."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    wrapped = import_module("opacus.grad_sample").GradSampleModule(
        model.train(), batch_first=True, loss_reduction="sum"
    )

    def step(batch: Batch) -> dict[str, Tensor]:
        wrapped.zero_grad(set_to_none=True)
        ids = batch["input_ids"]
        # positions must have a batch dimension of their own here
        whole = {
            "position_ids": torch.arange(ids.shape[1]).expand_as(ids),
            "token_type_ids": torch.zeros_like(ids),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss_sum(logits_of(wrapped, batch, **whole), batch).backward()  # type: ignore[no-untyped-call]
        found = {}
        for name, parameter in trained(wrapped).items():
            sample = getattr(parameter, "grad_sample", None)
            if sample is not None:
                found[name.removeprefix("_module.")] = sample.square().sum(0)
                parameter.grad_sample = None  # type: ignore[attr-defined]
        return found

    return step


CONTENDERS: dict[str, Callable[[nn.Module], Step]] = {
    "loop of single examples": loop,
    "vmap(grad)": vmapped,
    "BackPACK (Linear only)": backpack,
    "Opacus": opacus,
    "batch gradient squared (wrong)": batch_square,
}


def available(names: list[str]) -> list[str]:
    """Those whose packages are installed."""
    packages = {"BackPACK (Linear only)": "backpack", "Opacus": "opacus"}
    return [name for name in names if name not in packages or find_spec(packages[name]) is not None]


def _zeros(model: nn.Module) -> dict[str, Tensor]:
    return {name: torch.zeros_like(p) for name, p in trained(model).items()}


def _add_squared_grads(model: nn.Module, totals: dict[str, Tensor], scale: float = 1.0) -> None:
    for name, parameter in trained(model).items():
        if parameter.grad is not None:
            totals[name].addcmul_(parameter.grad, parameter.grad, value=scale)


def _additive(mask: Tensor, causal: bool) -> Tensor:
    """[B, 1, T, T] with 0 where a token may be attended to and -inf elsewhere."""
    length = mask.shape[1]
    allowed: Any = mask[:, None, None, :].bool().expand(-1, 1, length, length)
    if causal:
        allowed = allowed & torch.ones(length, length, dtype=torch.bool).tril()
    return torch.zeros(allowed.shape).masked_fill_(~allowed, torch.finfo(torch.float32).min)
