"""The penalty inside a Trainer: taken once an optimizer step, whatever trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from transformers import TrainerCallback

from pipeline.ewc.penalty import raw_lambda
from pipeline.ewc.penalty_step import PenaltyStep


@dataclass(frozen=True)
class Consolidation:
    """What holds the weights back: lambda * sum_i W_i (theta_i - theta*_i)^2.

    Attributes:
        anchor: theta*, name to tensor, for the trained parameters; never changed.
        weights: W, same names and shapes, in any scale: the raw Fisher serves, so that no copy is needed.
        lambda_: the strength that goes with that scale.
        form: `gradient` joins the task's gradient, and the optimizer scales both; `proximal` pulls after the
            optimizer's step, at its learning rate.
    """

    anchor: dict[str, Tensor]
    weights: dict[str, Tensor]
    lambda_: float
    form: Literal["gradient", "proximal"] = "gradient"


class PenaltyCallback(TrainerCallback):
    """Holds the weights once per optimizer step: by a gradient after clipping, or by a pull after the step."""

    def __init__(self, parameters: dict[str, nn.Parameter], consolidation: Consolidation) -> None:
        anchor, weights = consolidation.anchor, consolidation.weights
        self.step = PenaltyStep(parameters, anchor, weights, consolidation.lambda_)
        self.form, self.value = consolidation.form, 0.0
        self._held = [parameters[name] for name in weights]

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.form == "gradient":
            value = self.step.add_gradient_(with_value=_is_logged(args, state))
            if value is not None:
                self.value = value

    def on_optimizer_step(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        if self.form == "proximal":
            rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
            self.step.pull_([rates[id(parameter)] for parameter in self._held])
            if _is_logged(args, state):
                self.value = self.step.value()


class EwcCallback(PenaltyCallback):
    """EWC for any transformers Trainer: lambda * sum_i W_i (theta_i - theta*_i)^2, the model as it is now its anchor.

    Args:
        model: whose weights are theta*; the Trainer is to train this very object.
        fisher: F, name to tensor, shapes as the parameters; what it does not name is free.
        lambda_: the strength, on F over its mean (`mean`) or on F itself (`raw`).
        form: as in `Consolidation`.

    Raises:
        KeyError: the Fisher names a parameter that the model does not have.
        ArtifactCorrupt: the Fisher has no positive entry.

    Source: Kirkpatrick et al. 2017, eq. 3, without its one-half.
    """

    def __init__(
        self,
        model: nn.Module,
        fisher: Mapping[str, Tensor],
        lambda_: float,
        *,
        scale: Literal["mean", "raw"] = "mean",
        form: Literal["gradient", "proximal"] = "gradient",
    ) -> None:
        named = dict(model.named_parameters())
        parameters = {name: named[name] for name in fisher}
        anchor = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        weights = {name: tensor.to(named[name].device) for name, tensor in fisher.items()}
        strength = raw_lambda(weights, list(weights), scale, lambda_)
        super().__init__(parameters, Consolidation(anchor, weights, strength, form))


def _is_logged(args: Any, state: Any) -> bool:
    """Whether a row of metrics follows the step that is being taken."""
    return bool((state.global_step + 1) % args.logging_steps == 0 or state.global_step + 1 == state.max_steps)
