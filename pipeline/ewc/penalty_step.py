"""The penalty at an optimizer step: in place, at about the speed of memory, with one small buffer.

Nothing of the model's size is allocated: differences from the anchor are formed in pieces that are used up
before the next one is formed. Two forms of the same penalty, lambda * sum_i W_i (theta_i - theta*_i)^2:

- `add_gradient_`, before the optimizer's step: its gradient joins the task's.
- `pull_`, after the optimizer's step: the proximal operator, which solves for the penalty exactly and so is
  stable at any lambda (Parikh & Boyd 2014, "Proximal Algorithms", section 1.1 and 6.1).
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from pipeline.errors import TrainingDiverged

Tensors = Mapping[str, Tensor]
Three = tuple[Tensor, Tensor, Tensor]
Four = tuple[Tensor, Tensor, Tensor, Tensor]

PIECE = {"cpu": 2**20, "other": 2**22}
"""Numbers in a piece: few enough for the cache, and enough that calling costs little beside the work."""
TOGETHER = {"cpu": 2**14, "other": 2**22}
"""Tensors of at most so many numbers share one call: biases and norms, and on an accelerator nearly all."""


class PenaltyStep:
    """The penalty over fixed parameters, anchor and weights, which it reads at every step and never copies.

    Args:
        parameters: theta, name to tensor; changed in place.
        anchor: theta*, same names and shapes.
        weights: W >= 0, same names and shapes (an expanded scalar will do); its names decide what is held.
        lambda_: the strength: of W, whatever its scale.
        piece, together: as PIECE and TOGETHER, for tests.

    Raises:
        TrainingDiverged: lambda in W's scale is beyond a 32-bit number.
    """

    def __init__(
        self,
        parameters: Tensors,
        anchor: Tensors,
        weights: Tensors,
        lambda_: float,
        *,
        piece: int | None = None,
        together: int | None = None,
    ) -> None:
        if 2.0 * lambda_ > torch.finfo(torch.float32).max:
            raise TrainingDiverged(
                f"the penalty is not finite: lambda {lambda_:.3g} in the scale of its weights is beyond a 32-bit "
                "number; nothing was promoted. Lower the lambda that the log names"
            )
        self.lambda_ = lambda_
        self._held = [(parameters[name], anchor[name], weights[name]) for name in weights]
        kind = "cpu" if all(p.device.type == "cpu" for p, _, _ in self._held) else "other"
        self._piece = piece or PIECE[kind]
        limit = min(TOGETHER[kind] if together is None else together, self._piece)
        small = [held for held in self._held if held[0].numel() <= limit]
        self._buckets = [
            tuple(map(list, zip(*bucket, strict=True))) for bucket in _buckets(small, self._piece)
        ]
        self._buffers: dict[tuple[torch.device, torch.dtype, bool], Tensor] = {}
        large = [held for held in self._held if limit < held[0].numel() <= self._piece]
        for theta, _, _ in sorted(large, key=lambda held: -held[0].numel()):
            self._buffer(theta)  # the largest first: views of it serve the others
        self._large = [(*held, self._buffer(held[0])) for held in large]
        self._huge = [held for held in self._held if held[0].numel() > self._piece]

    @torch.no_grad()
    def add_gradient_(self, *, with_value: bool = False) -> float | None:
        """Add 2 lambda W (theta - theta*) to each parameter's `.grad`, in place.

        Called once per optimizer step, after clipping and after gradients are reduced over processes, so
        that neither accumulation, clipping nor the process count scales it.

        Args:
            with_value: also return the penalty's value at theta (a device sync, and work on what is in cache).
        """
        twice, terms, subtract = 2.0 * self.lambda_, list[Tensor](), torch.sub
        for theta, anchor, weight, buffer in self._large:
            _gradient(theta).addcmul_(subtract(theta, anchor, out=buffer), weight, value=twice)
            if with_value:
                terms.append(_weighted_square(buffer, weight, self._buffer(buffer, second=True)))
        for thetas, anchors, weights in self._buckets:
            deltas = torch._foreach_sub(thetas, anchors)
            torch._foreach_addcmul_([_gradient(theta) for theta in thetas], deltas, weights, twice)
            if with_value:
                terms += [_weighted_square(d, w) for d, w in zip(deltas, weights, strict=True)]
        for held in self._huge:
            for theta, anchor, weight, gradient in self._pieces(*held, _gradient(held[0])):
                delta = subtract(theta, anchor, out=self._buffer(theta))
                gradient.addcmul_(delta, weight, value=twice)
                if with_value:
                    terms.append(_weighted_square(delta, weight, self._buffer(theta, second=True)))
        return self._total(terms) if with_value else None

    @torch.no_grad()
    def pull_(self, rates: Sequence[float]) -> None:
        """theta <- (theta + w theta*) / (1 + w) with w = 2 rate lambda W, in place: the proximal step.

        It is argmin_x of lambda sum_i W_i (x_i - theta*_i)^2 + |x - theta|^2 / (2 rate). A weight of zero
        leaves its parameter bit for bit; a very large one puts it at the anchor.

        Args:
            rates: the learning rate of each held parameter, in the order of `weights`.
        """
        for (parameter, anchors, weights), rate in zip(self._held, rates, strict=True):
            factor = 2.0 * rate * self.lambda_
            if factor == 0.0:
                continue
            for theta, anchor, weight, _ in self._pieces(parameter, anchors, weights, parameter):
                kept = torch.add(
                    theta.new_ones(()), weight, alpha=factor, out=self._buffer(theta)
                ).reciprocal_()
                torch.lerp(anchor, theta, kept, out=theta)  # exact where kept is 0 or 1

    @torch.no_grad()
    def value(self) -> float:
        """lambda * sum_i W_i (theta_i - theta*_i)^2 at the present theta."""
        terms = [
            _weighted_square(
                torch.sub(theta, anchor, out=self._buffer(theta)), weight, self._buffer(theta, second=True)
            )
            for parameter, anchors, weights in self._held
            for theta, anchor, weight, _ in self._pieces(parameter, anchors, weights, parameter)
        ]
        return self._total(terms)

    def _pieces(self, *tensors: Tensor) -> Iterator[Four]:
        """The same rows of four tensors of equal shape, few enough at a time."""
        first = tensors[0]
        if first.numel() <= self._piece:
            yield tensors[0], tensors[1], tensors[2], tensors[3]
            return
        rows = max(1, self._piece * len(first) // first.numel())
        yield from zip(*(tensor.split(rows) for tensor in tensors), strict=True)  # type: ignore[no-untyped-call]

    def _buffer(self, like: Tensor, *, second: bool = False) -> Tensor:
        """Memory of the shape and kind of a piece, used again for the next."""
        key = like.device, like.dtype, second
        if key not in self._buffers or self._buffers[key].numel() < like.numel():
            self._buffers[key] = torch.empty(like.numel(), device=like.device, dtype=like.dtype)
        return self._buffers[key][: like.numel()].view(like.shape)

    def _total(self, terms: list[Tensor]) -> float:
        return self.lambda_ * float(torch.stack(terms).sum()) if terms else 0.0


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _weighted_square(delta: Tensor, weight: Tensor, buffer: Tensor | None = None) -> Tensor:
    """sum W d^2, a float64 scalar; `delta` and `buffer` are contiguous."""
    product = torch.mul(delta, weight, out=buffer)
    return torch.dot(product.view(-1), delta.view(-1)).double()


def _buckets(held: list[Three], most: int) -> Iterator[list[Three]]:
    """The same in groups whose numbers add up to at most `most`."""
    bucket: list[Three] = []
    for one in held:
        if bucket and sum(theta.numel() for theta, _, _ in bucket) + one[0].numel() > most:
            yield bucket
            bucket = []
        bucket.append(one)
    if bucket:
        yield bucket
