"""The rows of metrics.jsonl: measured while training, and held to be finite."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import TrainerCallback

from pipeline.errors import TrainingDiverged
from pipeline.modeling.batches import Examples
from pipeline.modeling.resume import MetricRow
from pipeline.modeling.task import Learner


class MeasuresPenalty(Protocol):
    """What knows the penalty as it was last added."""

    @property
    def value(self) -> float: ...


@dataclass(frozen=True)
class Metric:
    """One row of metrics.jsonl; losses in nats, `penalty` as added to the task loss; None: not measured then."""

    step: int
    epoch: float
    task_loss: float | None = None
    penalty: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    weight_change: float | None = None
    new_validation_loss: float | None = None
    prior_validation_loss: float | None = None


class ValidationSets(Protocol):
    """The validation rows to watch after each epoch."""

    @property
    def new(self) -> Examples: ...

    @property
    def prior(self) -> Examples: ...


class MetricsCallback(TrainerCallback):
    """Collects the rows of metrics.jsonl, reports progress, and stops a run that is not finite."""

    def __init__(
        self,
        classifier: Learner,
        start: dict[str, Tensor],
        validation: ValidationSets,
        penalty: MeasuresPenalty | None,
        progress: Any,
    ) -> None:
        self.classifier, self.start, self.validation = classifier, start, validation
        self.penalty, self.progress = penalty, progress
        self.metrics: list[Metric] = []
        self.note = ""

    def restore(self, rows: Sequence[MetricRow], step: int) -> None:
        """Take over what was measured before a run that goes on at `step` was interrupted."""
        known: list[dict[str, Any]] = [dict(row) for row in rows]
        self.metrics = [Metric(**row) for row in known]
        self.progress(step, self.note)

    def rows(self, state: Any) -> list[MetricRow]:
        """All metrics up to now as JSON values, those of an epoch that has just ended included."""
        self._end_epoch(state)
        return [{k: v for k, v in asdict(metric).items() if v is not None} for metric in self.metrics]

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.progress(1, self.note)
        if state.global_step == state.max_steps:
            control.should_log = True  # however few steps there were

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: dict[str, float] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        **_: Any,
    ) -> None:
        if logs is None or "loss" not in logs:
            return
        metric = Metric(
            step=state.global_step,
            epoch=round(state.epoch, 4),
            task_loss=logs["loss"],
            penalty=self.penalty.value if self.penalty else 0.0,
            learning_rate=logs.get("learning_rate"),
            gradient_norm=logs.get("grad_norm"),
            weight_change=self._weight_change(),
        )
        require_finite(metric)
        if optimizer is not None:
            require_finite_moments(optimizer, state.global_step)
        self.metrics.append(metric)
        self.note = f"loss {metric.task_loss:.3f}" + (
            f" penalty {metric.penalty:.4f}" if self.penalty else ""
        )

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._end_epoch(state)

    def _end_epoch(self, state: Any) -> None:
        """Measure the validation losses once an epoch, when it is complete."""
        measured = any(m.step == state.global_step and m.task_loss is None for m in self.metrics)
        if measured or state.global_step % steps_per_epoch(state):
            return
        metric = Metric(
            step=state.global_step,
            epoch=round(state.epoch, 4),
            new_validation_loss=self._loss(self.validation.new),
            prior_validation_loss=self._loss(self.validation.prior),
        )
        require_finite(metric)
        self.metrics.append(metric)

    def _loss(self, examples: Examples) -> float | None:
        if not len(examples):
            return None
        return self.classifier.month().measure(self.classifier, examples)

    @torch.no_grad()
    def _weight_change(self) -> float:
        named = dict(self.classifier.model.named_parameters())
        squares = [(named[name].detach() - tensor).square().sum() for name, tensor in self.start.items()]
        return float(torch.stack(squares).sum().sqrt())


def steps_per_epoch(state: Any) -> int:
    """Optimizer steps in an epoch, of a TrainerState."""
    return int(state.max_steps // state.num_train_epochs)


def require_finite(metric: Metric) -> None:
    """Stop when any value of a metric is infinite or not a number.

    Raises:
        TrainingDiverged: naming the value, the step and the likely causes.
    """
    for name, value in asdict(metric).items():
        if value is not None and not math.isfinite(value):
            raise _diverged(metric.step, f"{name} is {value}")


@torch.no_grad()
def require_finite_moments(optimizer: torch.optim.Optimizer, step: int) -> None:
    """Stop when a running mean of squared gradients has overflowed, which it never leaves again.

    Adam divides by its root, so such a weight stands still from then on, while every loss stays finite.

    Raises:
        TrainingDiverged: naming the step and the likely causes.
    """
    largest = [held["exp_avg_sq"].max() for held in optimizer.state.values() if "exp_avg_sq" in held]
    if largest and not bool(torch.isfinite(torch.stack(largest)).all()):
        raise _diverged(step, "a gradient's square is beyond what the optimizer can hold")


def _diverged(step: int, what: str) -> TrainingDiverged:
    return TrainingDiverged(
        f"training diverged at step {step}: {what}; nothing was promoted. Likely causes: "
        "lambda times Fisher times learning rate too large (lower the lambda that the log names), train.learning_rate too "
        "large, or damaged rows in the training table"
    )
