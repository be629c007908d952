"""Hooks that turn one batched forward and backward into per-example gradients, layer by layer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.ewc.fisher.accumulate import Gradient, add_squares
from pipeline.ewc.fisher.estimate import FisherSums
from pipeline.ewc.fisher.rules import Rule, rule_of


@dataclass
class _Layer:
    """A module with a rule, and which of its parameters are wanted."""

    module: nn.Module
    rule: Rule
    names: dict[str, str]
    """Attribute to parameter name."""


@dataclass
class _Pending:
    """Uses of one parameter in this batch."""

    uses: int = 0
    gradients: list[Gradient] = field(default_factory=list)


class Capture:
    """Adds the squared per-example gradients of every parameter that has a rule.

    The graph starts at the earliest output that is needed: that output is made to require grad, so no
    parameter has to. A module's input is kept by a forward hook; a tensor hook on the output of that
    very call receives its gradient. An output without examples, of leading size 1, is repeated for each
    (positions are such); one that lists all tokens of all examples is folded. A parameter is given up to
    `fallback` when a call of its module has some other shape.
    """

    def __init__(self, model: nn.Module, parameters: Mapping[str, nn.Parameter], fallback: set[str]) -> None:
        self.fallback = fallback
        self._names = {id(parameter): name for name, parameter in parameters.items()}
        self._layers = list(self._ruled(model))
        ruled = [name for layer in self._layers for name in layer.names.values()]
        self.fallback.update(set(parameters) - set(ruled))
        self._clear()

    def _ruled(self, model: nn.Module) -> Iterator[_Layer]:
        unruled: set[str] = set()
        for module in model.modules():
            own = {
                attribute: self._names[id(p)]
                for attribute, p in module.named_parameters(recurse=False)
                if id(p) in self._names
            }
            if not own:
                continue
            rule = rule_of(module)
            if rule is None:
                unruled.update(own.values())
            else:
                yield _Layer(module, rule, own)
        self.fallback.update(unruled)

    def _clear(self) -> None:
        self._examples, self._tokens = 0, 0
        self.repeated: set[str] = set()
        """Parameters of modules whose output was repeated since `begin`."""
        self._starts: list[Tensor] = []
        self._kept: list[list[Tensor | None]] = []
        self._pending: dict[str, _Pending] = {}
        self._sums: FisherSums | None = None
        self._traces = torch.zeros(0)
        self._last = True

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """The hooks are in place inside, and gone afterwards."""
        handles = [
            layer.module.register_forward_hook(self._forward_hook(layer), with_kwargs=True)
            for layer in self._layers
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._clear()

    def begin(self, examples: int, tokens: int = 0) -> None:
        """A forward of this many examples with as many (padded) tokens each comes next; 0 watches nothing."""
        self._clear()
        self._examples, self._tokens = examples, tokens

    def kept_inputs(self) -> list[Tensor]:
        """Inputs that are held until the last backward."""
        return [x for kept in self._kept for x in kept if x is not None]

    def backward(
        self, logits: Tensor, column: Tensor, *, last: bool, sums: FisherSums, traces: Tensor
    ) -> None:
        """Backpropagate one column and add the squares.

        Args:
            logits: of the forward since `begin`.
            column: shaped like logits.
            last: the graph is not needed again.
            sums: gets the squares.
            traces: float64 [B], gets each example's share.
        """
        if not self._starts:
            return
        self._sums, self._traces, self._last = sums, traces, last
        torch.autograd.grad(logits, self._starts, column, retain_graph=not last, allow_unused=True)
        for name, pending in self._pending.items():
            if pending.gradients:
                add_squares(sums.squares[name], pending.gradients, traces)
                pending.gradients = []

    def _forward_hook(self, layer: _Layer) -> Any:
        def hook(
            module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
        ) -> Tensor | None:
            wanted = {a: name for a, name in layer.names.items() if name not in self.fallback}
            if not wanted or self._examples == 0 or not torch.is_grad_enabled():
                return None
            x = args[0] if args else next(iter(kwargs.values()))
            return self._watched(layer, wanted, x, output)

        return hook

    def _watched(self, layer: _Layer, wanted: dict[str, str], x: Tensor, output: Tensor) -> Tensor | None:
        replaced, count = None, self._examples
        if len(output) == 1 and count > 1:
            self.repeated.update(wanted.values())
            x = x.expand(count, *x.shape[1:])
            output = replaced = output.expand(count, *output.shape[1:])
        folded = len(output) == len(x) == count * self._tokens != count
        if not folded and not len(output) == len(x) == count:
            self.fallback.update(wanted.values())
            return None
        if not output.requires_grad:
            start = output.detach().requires_grad_()
            self._starts.append(start)
            output = replaced = start.clone()  # in-place changes are forbidden on the start itself
        names = frozenset(wanted)
        kept: list[Tensor | None] = [x.detach() if names & layer.rule.reads_input else None]
        self._kept.append(kept)
        for name in wanted.values():
            self._pending.setdefault(name, _Pending()).uses += 1

        def arrived(g: Tensor) -> None:
            sums = self._sums
            assert sums is not None
            still = frozenset(a for a in names if wanted[a] not in self.fallback)
            wide = sums.squares[next(iter(wanted.values()))].dtype
            g = g.to(wide)
            seen = kept[0] if kept[0] is not None else g
            seen = seen.to(wide) if seen.is_floating_point() else seen
            if folded:
                g, seen = (each.reshape(count, -1, *each.shape[1:]) for each in (g, seen))
            for attribute, gradient in layer.rule.gradients(layer.module, seen, g, still).items():
                self._add(wanted[attribute], gradient, sums)
            if self._last:
                kept[0] = None

        output.register_hook(arrived)  # type: ignore[no-untyped-call]
        return replaced

    def _add(self, name: str, gradient: Gradient, sums: FisherSums) -> None:
        pending = self._pending[name]
        if pending.uses == 1:
            add_squares(sums.squares[name], [gradient], self._traces)
        else:
            pending.gradients.append(gradient)
