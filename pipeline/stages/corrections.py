"""What is done to trained weights before they become the candidate: interpolation, then calibration; both optional."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.errors import BadConfig
from pipeline.stages.stage import RunContext

if TYPE_CHECKING:
    from pipeline.stages.preparation import Prepared


def correction_settings(context: RunContext) -> dict[str, Any]:
    """The configuration of the corrections that this month's weights get; empty for none."""
    if context.base is None or not context.recipe.trains or context.recipe.from_scratch:
        return {}
    resolved = context.config.resolved()
    wanted = {
        "interpolate": context.config.interpolate.steps > 0,
        "calibrate": context.config.calibrate.new_labels,
    }
    return {name: resolved[name] for name, on in wanted.items() if on}


def correct(ready: Prepared) -> dict[str, Any]:
    """Correct a trained classifier in place, on the validation rows; says what was chosen.

    Raises:
        BadConfig: calibration is asked for where the head has no bias.
    """
    wanted = correction_settings(ready.context)
    chosen: dict[str, Any] = {}
    with ready.looked_up():
        if "interpolate" in wanted:
            chosen["interpolate"] = _interpolate(ready, wanted["interpolate"]["steps"])
        if "calibrate" in wanted:
            chosen["calibrate"] = _calibrate(ready)
    return chosen


def _interpolate(ready: Prepared, steps: int) -> dict[str, Any]:
    from pipeline.ewc.interpolation import alphas, best_alpha, interpolate_

    model = ready.classifier.model
    parameters = dict(model.named_parameters())
    names = ready.trained.weights(model)
    candidate = {name: parameters[name].detach().clone() for name in names}
    losses = {}
    for alpha in alphas(steps):
        interpolate_(parameters, ready.penalties.anchor, candidate, alpha)
        prior, new = (
            ready.classifier.month().measure(ready.classifier, rows) if len(rows) else 0.0
            for rows in (ready.rows.validation.prior, ready.rows.validation.new)
        )
        losses[alpha] = (prior, new)
    alpha = best_alpha(losses)
    interpolate_(parameters, ready.penalties.anchor, candidate, alpha)
    tried = [{"alpha": a, "prior_loss": prior, "new_loss": new} for a, (prior, new) in losses.items()]
    return {"alpha": alpha, "tried": tried}


def _calibrate(ready: Prepared) -> dict[str, Any]:
    import torch

    from pipeline.ewc.calibration import new_label_offset
    from pipeline.modeling.head import head_linear
    from pipeline.modeling.prediction import logits

    name, linear = head_linear(ready.classifier.model)
    if linear.bias is None:
        raise BadConfig(f"calibrate.new_labels: the head {name} has no bias to correct. Set it to false")
    known = ready.penalties.champion[f"{name}.weight"][0]
    rows = ready.rows.validation.prior + ready.rows.validation.new
    if not len(rows):
        return {"offset": 0.0}
    offset = new_label_offset(
        logits(ready.classifier, rows.encoded), torch.tensor(rows.label_ids, dtype=torch.int64), known
    )
    with torch.no_grad():
        linear.bias[known:] += offset
    return {"offset": offset}
