"""One example at a time with plain autograd: for parameters without a rule, and to check those with one."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline.ewc.fisher.capture import Capture
from pipeline.ewc.fisher.columns import columns
from pipeline.ewc.fisher.estimate import Batch, FisherSums
from pipeline.ewc.fisher.examples import (
    batch_size,
    forward_logits,
    is_encoder_decoder,
    scored_logits,
    single_examples,
)

_CHECKED_EXAMPLES = 2
_NOISE_FLOOR = 1e-9  # of the trace: gradients that are zero but for rounding, as of attention's key biases


def add_one_at_a_time(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    batch: Batch,
    *,
    estimator: str,
    draws: int,
    seed: int,
    sums: FisherSums,
    traces: Tensor,
    autocast_dtype: torch.dtype | None = None,
    sign: int = 1,
) -> None:
    """Add each example's squared gradients of `parameters`, by a forward and backward of its own.

    Args:
        model: prepared; the parameters require grad only inside.
        parameters: name to parameter, entries of `sums`.
        batch: B examples; each is unpadded first.
        estimator, draws, seed: as for `columns`; the same examples get the same draws.
        sums: gets the squares.
        traces: float64 [B], gets each example's share.
        autocast_dtype: of the forward.
        sign: -1 subtracts the squares.
    """
    leaves = list(parameters.values())
    try:
        for parameter in leaves:
            parameter.requires_grad_(True)
        for b, one in enumerate(single_examples(batch, labels_follow_input=not is_encoder_decoder(model))):
            logits = forward_logits(model, one, autocast_dtype)
            if not logits.requires_grad:
                continue
            scored = scored_logits(model, one, logits)
            for column in columns(scored, estimator, draws, seed):
                traces[b] += _add_gradients(
                    torch.autograd.grad(scored.logits, leaves, column, retain_graph=True, allow_unused=True),
                    [sums.squares[name] for name in parameters],
                    sign,
                )
    finally:
        for parameter in leaves:
            parameter.requires_grad_(False)


def _add_gradients(gradients: Sequence[Tensor | None], totals: Sequence[Tensor], sign: int) -> float:
    """Add sign times the squares, and give what that adds to the trace.

    A function of its own, because the gradients are as large as the model and must be gone at its end.
    """
    trace = 0.0
    for gradient, total in zip(gradients, totals, strict=True):
        if gradient is not None:
            gradient = gradient.to(total.dtype)
            total.addcmul_(gradient, gradient, value=sign)
            trace += sign * float(torch.linalg.vector_norm(gradient)) ** 2
    return trace


def disagreeing(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    capture: Capture,
    batch: Batch,
    *,
    seed: int,
    scratch: FisherSums,
) -> set[str]:
    """Parameters whose rule does not give what plain autograd gives on the first examples of a batch.

    A rule sees calls of modules. A weight that is also used outside its module, or a module whose
    first dimension is not the example, shows up here.

    Args:
        model: prepared, with the capture's hooks in place.
        parameters: all that are wanted; those in `capture.fallback` are not checked.
        capture: of this model.
        batch: its first two examples are used (its only one twice), with one random column each.
        seed: of that column.
        scratch: zeros, and zeros again afterwards; lent, because sums are as large as the model.
    """
    few = {name: torch.cat([tensor, tensor])[:_CHECKED_EXAMPLES] for name, tensor in _head(batch).items()}
    logits = forward_hooked(model, capture, few)
    traces = torch.zeros(_CHECKED_EXAMPLES, dtype=torch.float64, device=logits.device)
    for column in columns(scored_logits(model, few, logits), "lowrank", 1, seed):
        capture.backward(logits, column.reshape(logits.shape), last=True, sums=scratch, traces=traces)
    expected = {name: float(scratch.squares[name].sum()) for name in parameters}
    checked = {name: p for name, p in parameters.items() if name not in capture.fallback}
    capture.begin(0)
    add_one_at_a_time(
        model, checked, few, estimator="lowrank", draws=1, seed=seed, sums=scratch, traces=traces, sign=-1
    )
    floor = _NOISE_FLOOR * sum(expected.values())
    wrong = set()
    for name in checked:
        left = float(scratch.squares[name].abs_().sum())
        if not left <= _tolerance(parameters[name]) * expected[name] + floor:
            wrong.add(name)
    for total in scratch.squares.values():
        total.zero_()
    return wrong


def forward_hooked(
    model: nn.Module, capture: Capture, batch: Batch, autocast_dtype: torch.dtype | None = None
) -> Tensor:
    """The logits of a batch, with the capture watching.

    A model that itself repeats what its examples share fails when that was repeated before: then those
    parameters are given up to the fallback.
    """
    ids = batch.get("input_ids")
    tokens = ids.shape[1] if ids is not None and ids.dim() > 1 else 0
    while True:
        capture.begin(batch_size(batch), tokens)
        try:
            return forward_logits(model, batch, autocast_dtype)
        except (RuntimeError, ValueError) as error:
            if not capture.repeated or isinstance(error, torch.OutOfMemoryError):
                raise
            capture.fallback.update(capture.repeated)  # each turn knows more of them, so this ends


def _head(batch: Batch) -> Batch:
    return {name: tensor[:_CHECKED_EXAMPLES] for name, tensor in batch.items()}


def _tolerance(parameter: Tensor) -> float:
    """Relative difference that rounding explains: a wrong rule is off by far more."""
    if parameter.dtype == torch.float64:
        return 1e-6
    return 1e-2 if parameter.dtype == torch.float32 else 0.25
