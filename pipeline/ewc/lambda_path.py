"""The curvature path: the whole curve over lambda, predicted from one plain fine-tune.

Near theta* the old months' loss is held as the penalty lambda * sum W d^2, and the new month's loss is
taken as a quadratic with its minimum where plain fine-tuning ended. The minimiser of their sum is known
in closed form, so that one training predicts every lambda; what is left are forward passes.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.ewc.fisher.columns import Scored

Tensors = Mapping[str, Tensor]


def calibrated(shape: Tensors, change: Tensors, fall: float) -> dict[str, Tensor]:
    """F_new = c * shape, where c lets the quadratic account for what plain fine-tuning gained.

    c solves 1/2 sum c shape d^2 = fall. A Fisher at theta* knows which weights the new month cares
    about, but not by how much: its rows are far from fitted there, and nearly fitted at the end.

    Args:
        shape: the new month's Fisher diagonal at theta*, >= 0.
        change: d = theta_plain - theta*, same names and shapes.
        fall: by how much plain fine-tuning lowered the new month's training loss, in nats; where it is
            not positive, or nothing moved, c is 1.
    """
    energy = 0.5 * weighted_square(shape, change)
    factor = fall / energy if fall > 0.0 and energy > 0.0 else 1.0
    return {name: tensor * factor for name, tensor in shape.items()}


def path_point(
    anchor: Tensors, change: Tensors, new_fisher: Tensors, weights: Tensors, lambda_: float
) -> dict[str, Tensor]:
    """theta(lambda) = theta* + F_new d / (F_new + 2 lambda W), entry by entry.

    The minimiser of 1/2 F_new (theta - theta_plain)^2 + lambda W (theta - theta*)^2. Our penalty carries
    no one-half, hence the 2. Where neither term has curvature nothing holds the weight: it moves by d.

    Args:
        anchor: theta*.
        change: d = theta_plain - theta*; decides the names of the result.
        new_fisher: curvature of the new month's loss, >= 0, same names.
        weights: W >= 0 of the penalty; names it lacks are not penalised.
        lambda_: >= 0; at 0 the result is theta_plain.
    """
    result = {}
    for name, d in change.items():
        if name not in weights or lambda_ == 0.0:
            result[name] = anchor[name] + d
            continue
        curvature = new_fisher[name]
        held = curvature + 2.0 * lambda_ * weights[name]
        share = torch.where(held > 0.0, curvature / held.clamp_min(torch.finfo(held.dtype).tiny), 1.0)
        result[name] = anchor[name] + share * d
    return result


def weighted_square(weights: Tensors, change: Tensors) -> float:
    """sum_i W_i d_i^2 over the names of `weights` that `change` has, in float64."""
    return sum(
        float((weights[name].double() * change[name].double().square()).sum())
        for name in weights
        if name in change
    )


def second_order_change(fisher: Tensors, change: Tensors, months: float = 1.0) -> float:
    """1/2 d^T F d: by how much the old months' mean loss should rise, in nats.

    At the optimum of the old months' loss the gradient is zero and the Fisher is the expected Hessian.

    Args:
        fisher: raw F, a sum over `months` months (each a mean over its examples).
        change: theta - theta*.
        months: sum of the months' weights in F, so that the result is a mean over months.

    Source: Kirkpatrick et al. 2017, section 2.1; Martens 2020, "New insights and perspectives on the
    natural gradient method", section 5.
    """
    return 0.5 * weighted_square(fisher, change) / months


def directional_change(scored: Scored, nearby: Tensor, *, step: float) -> tuple[float, float]:
    """First and second order of the mean loss along a change d, without the diagonal's loss.

    With v = J d the change of the logits: the slope is mean (p - y)^T v, and the curvature is
    1/2 d^T F d = 1/2 mean (sum p v^2 - (sum p v)^2) for the whole Fisher F. Where it is far larger than
    the diagonal's, many weights pull the same way, which a diagonal cannot see.

    Args:
        scored: N examples' logits at theta*, with labels.
        nearby: [N, S, C], the logits at theta* + step * d.
        step: small against 1, so that (nearby - logits) / step is J d.

    Returns:
        Slope and curvature, in nats an example, summed over its scored positions.

    Source: Martens 2020, "New insights and perspectives on the natural gradient method", section 9.2.
    """
    assert scored.labels is not None
    p = scored.logits.double().softmax(dim=-1)
    v = (nearby.double() - scored.logits.double()) / step
    mean = (p * v).sum(dim=-1)
    slope = mean - v.gather(-1, scored.labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    curvature = (p * v.square()).sum(dim=-1) - mean.square()
    counted = scored.mask.double()
    return float((slope * counted).sum(dim=1).mean()), 0.5 * float((curvature * counted).sum(dim=1).mean())


def balanced_lambda(new_fisher: Tensors, weights: Tensors, change: Tensors) -> float:
    """The lambda at which the penalty is as curved along d as the new month's loss.

    lambda = sum F_new d^2 / (2 sum W d^2): below it the new month wins, above it the old ones. It comes
    with the units of the model at hand, so a grid around it fits any model.

    Raises:
        ValueError: when nothing that is penalised moved.
    """
    pull, hold = (
        weighted_square({n: f for n, f in new_fisher.items() if n in weights}, change),
        weighted_square(weights, change),
    )
    if not (pull > 0.0 and hold > 0.0):
        raise ValueError("no penalised weight moved: there is nothing that lambda could hold")
    return pull / (2.0 * hold)


def lambda_grid(
    centre: float, *, decades: int = 3, mantissas: tuple[float, ...] = (1.0, 3.0)
) -> tuple[float, ...]:
    """Round numbers (1 and 3 in each decade) from `decades` below `centre` to `decades` above it, ascending."""
    first = math.floor(math.log10(centre)) - decades
    values = [m * 10.0**power for power in range(first, first + 2 * decades + 2) for m in mantissas]
    low, high = centre / 10.0**decades, centre * 10.0**decades
    return tuple(float(f"{v:.3g}") for v in values if low <= v * (1 + 1e-9) and v <= high * (1 + 1e-9))
