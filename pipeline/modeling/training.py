"""Fine-tuning with the transformers Trainer and the EWC penalty in it."""

import gc
import logging
import math
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset, Sampler
from transformers import Trainer, TrainerCallback, TrainingArguments

from pipeline.config import TrainSection
from pipeline.errors import StoppedBySignal, TrainingDiverged
from pipeline.ewc.distillation import distillation_loss
from pipeline.ewc.penalty import add_penalty_gradient_
from pipeline.modeling.batches import Examples, pad
from pipeline.modeling.checkpoint import Classifier
from pipeline.modeling.head import head_parameters, trained_parameters
from pipeline.modeling.interruption import DeferredSignals, is_out_of_memory, more_accumulation
from pipeline.modeling.prediction import mean_loss
from pipeline.modeling.resume import ResumeRecord, Resumption
from pipeline.modeling.trainer_checkpoints import MetricRow, TrainerCheckpoints, bound_to
from pipeline.progress import Progress, silent
from pipeline.replay import epoch_order

logger = logging.getLogger("retrain")
LOG_STEPS = 5
"""Optimizer steps between two rows of metrics."""


@dataclass(frozen=True)
class Consolidation:
    """What holds the weights back: lambda * sum_i W_i (theta_i - theta*_i)^2.

    Attributes:
        anchor: theta*, name to tensor, for the trained parameters.
        weights: W, same names and shapes.
        lambda_: the strength.
    """

    anchor: dict[str, Tensor]
    weights: dict[str, Tensor]
    lambda_: float


@dataclass(frozen=True)
class Replay:
    """Rows of earlier months, and how many of them join an optimizer step."""

    examples: Examples
    per_step: int


@dataclass(frozen=True)
class Distillation:
    """The champion's logits for the month's rows and then the replayed ones, and how much each row counts.

    Attributes:
        teacher: [N, C_old].
        weights: [N], 0 where the champion cannot know the answer.
        temperature: T > 0.
    """

    teacher: Tensor
    weights: Tensor
    temperature: float


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


@dataclass(frozen=True)
class TrainingResult:
    steps: int
    final_task_loss: float
    metrics: list[Metric] = field(default_factory=list)


class ValidationSets(Protocol):
    """The validation rows to watch after each epoch."""

    @property
    def new(self) -> Examples: ...

    @property
    def prior(self) -> Examples: ...


class _Rows(Dataset[dict[str, Any]]):
    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"ids": self.examples.encoded[index], "label": self.examples.label_ids[index], "row": index}


class EpochOrder(Sampler[int]):
    """The order of an epoch: a pure function of seed, epoch and row ids, whatever came before."""

    def __init__(
        self,
        new: Sequence[str],
        memory: Sequence[str],
        *,
        new_per_step: int,
        replayed_per_step: int,
        seed: int,
    ) -> None:
        self.new, self.memory, self.seed, self.epoch = new, memory, seed, 0
        self.new_per_step, self.replayed_per_step = new_per_step, replayed_per_step if memory else 0

    @property
    def steps(self) -> int:
        """Optimizer steps in an epoch."""
        return -(-len(self.new) // self.new_per_step)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.new) + self.steps * self.replayed_per_step

    def __iter__(self) -> Iterator[int]:
        return iter(
            epoch_order(
                self.new,
                self.memory,
                new_per_step=self.new_per_step,
                replayed_per_step=self.replayed_per_step,
                seed=self.seed,
                epoch=self.epoch,
            )
        )


def mean_task_loss(
    outputs: Any,
    labels: Tensor,
    num_items_in_batch: Tensor | int | None = None,
    *,
    label_smoothing: float = 0.0,
    log_prior: Tensor | None = None,
) -> Tensor:
    """Cross-entropy summed over the micro-batch and divided by the rows of the whole optimizer step.

    So one step of 32 rows and four accumulated micro-batches of 8 give the same gradient, and a shorter
    last micro-batch weighs what its rows weigh. `log_prior` [C] is added to the logits (balanced softmax).
    """
    count = num_items_in_batch if num_items_in_batch is not None else labels.numel()
    logits = outputs["logits"].float()
    if log_prior is not None:
        logits = logits + log_prior.to(logits.device)
    return F.cross_entropy(logits, labels, reduction="sum", label_smoothing=label_smoothing) / count


class TaskLoss:
    """The loss of a micro-batch: cross-entropy, and distillation on the rows that have a teacher."""

    def __init__(
        self, *, label_smoothing: float, log_prior: Tensor | None, distillation: Distillation | None
    ) -> None:
        self.label_smoothing, self.log_prior, self.distillation = label_smoothing, log_prior, distillation
        self.rows: Tensor | None = None

    def __call__(
        self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        loss = mean_task_loss(
            outputs,
            labels,
            num_items_in_batch,
            label_smoothing=self.label_smoothing,
            log_prior=self.log_prior,
        )
        if self.distillation is None or self.rows is None:
            return loss
        logits, rows = outputs["logits"].float(), self.rows.cpu()
        count = num_items_in_batch if num_items_in_batch is not None else labels.numel()
        soft = distillation_loss(
            logits,
            self.distillation.teacher[rows].to(logits.device),
            self.distillation.weights[rows].to(logits.device),
            self.distillation.temperature,
        )
        return loss + soft / count


class ConsolidatingTrainer(Trainer):
    """A Trainer whose row order depends on nothing but seed, epoch and row ids."""

    checkpoints: TrainerCheckpoints | None = None

    def __init__(self, *args: Any, order: EpochOrder, loss: TaskLoss, **kwargs: Any) -> None:
        self._order, self._loss = order, loss
        super().__init__(*args, compute_loss_func=loss, **kwargs)
        # BERT-like models accept **kwargs without using num_items_in_batch; our loss divides by it
        self.model_accepts_loss_kwargs = False

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        self._loss.rows = inputs.pop("rows", None)
        return super().compute_loss(model, inputs, *args, **kwargs)

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochOrder:
        return self._order

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.checkpoints is not None:
            self.checkpoints.save(
                self, lambda: super(ConsolidatingTrainer, self)._save_checkpoint(model, trial)
            )


class _OrderCallback(TrainerCallback):
    """Tells the row order its epoch: the Trainer's own way to it is lost where a resumed epoch is entered."""

    def __init__(self, order: EpochOrder, begun: Callable[[], None]) -> None:
        self.order, self.begun = order, begun

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.begun()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.order.set_epoch(state.global_step // _steps_per_epoch(state))


class PenaltyCallback(TrainerCallback):
    """Adds the penalty's gradient once per optimizer step: after accumulation, reduction and clipping."""

    def __init__(self, parameters: dict[str, nn.Parameter], consolidation: Consolidation) -> None:
        self.parameters, self.consolidation, self.value = parameters, consolidation, 0.0

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        due = (state.global_step + 1) % args.logging_steps == 0 or state.global_step + 1 == state.max_steps
        value = add_penalty_gradient_(
            self.parameters,
            self.consolidation.anchor,
            self.consolidation.weights,
            self.consolidation.lambda_,
            with_value=due,
        )
        if value is not None:
            self.value = value


class MetricsCallback(TrainerCallback):
    """Collects the rows of metrics.jsonl, reports progress, and stops a run that is not finite."""

    def __init__(
        self,
        classifier: Classifier,
        start: dict[str, Tensor],
        validation: ValidationSets,
        penalty: PenaltyCallback | None,
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
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
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
        self.metrics.append(metric)
        self.note = f"loss {metric.task_loss:.3f}" + (
            f" penalty {metric.penalty:.4f}" if self.penalty else ""
        )

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._end_epoch(state)

    def _end_epoch(self, state: Any) -> None:
        """Measure the validation losses once an epoch, when it is complete."""
        measured = any(m.step == state.global_step and m.task_loss is None for m in self.metrics)
        if measured or state.global_step % _steps_per_epoch(state):
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
        return mean_loss(self.classifier, examples.encoded, examples.label_ids)

    @torch.no_grad()
    def _weight_change(self) -> float:
        named = dict(self.classifier.model.named_parameters())
        squares = [(named[name].detach() - tensor).square().sum() for name, tensor in self.start.items()]
        return float(torch.stack(squares).sum().sqrt())


def _steps_per_epoch(state: Any) -> int:
    return int(state.max_steps // state.num_train_epochs)


def require_finite(metric: Metric) -> None:
    """Stop when any value of a metric is infinite or not a number.

    Raises:
        TrainingDiverged: naming the value, the step and the likely causes.
    """
    for name, value in asdict(metric).items():
        if value is not None and not math.isfinite(value):
            raise TrainingDiverged(
                f"training diverged at step {metric.step}: {name} is {value}; nothing was promoted. Likely causes: "
                "lambda times Fisher times learning rate too large (lower ewc.lambda), train.learning_rate too "
                "large, or damaged rows in the training table"
            )


def finetune(
    classifier: Classifier,
    train: Examples,
    validation: ValidationSets,
    *,
    settings: TrainSection,
    consolidation: Consolidation | None,
    seed: int,
    autocast: torch.dtype | None,
    replay: Replay | None = None,
    log_prior: Tensor | None = None,
    distillation: Distillation | None = None,
    progress: Progress = silent,
    resumption: Resumption | None = None,
) -> TrainingResult:
    """Train the classifier in place; only the parameters that `settings.layers` names change.

    Args:
        classifier: on the device that is to be used.
        train: N > 0 rows.
        validation: rows whose mean loss is measured after each epoch; the penalty is never part of it.
        settings: epochs, batch size, learning rates and the rest; `launch` or `train` of the configuration.
        consolidation: the penalty; None for none.
        seed: of row order and dropout.
        autocast: torch.bfloat16 or None.
        replay: rows of earlier months that join every optimizer step; None for none.
        log_prior: log pi [C] of the balanced softmax; None for the plain cross-entropy.
        distillation: the champion's answers for `train` and then `replay`; None for none.
        resumption: where the state of training is saved, and gone on from to the same bits; None for
            nowhere, and then a signal is left to the caller's handler.

    Raises:
        TrainingDiverged: as soon as a logged loss, penalty, norm or final weight is not finite.
        StoppedBySignal: SIGTERM or SIGINT came; the state after the step that was under way is saved.
        BadConfig: memory ran out even with micro-batches of one row. With larger ones the training begins
            again at the anchor with half the micro-batch.
    """
    model = classifier.model
    trained = set(trained_parameters(model, settings.layers))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    parameters = {name: parameter for name, parameter in model.named_parameters() if name in trained}
    start = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    penalty = PenaltyCallback(parameters, consolidation) if consolidation else None
    memory = replay.examples if replay is not None else Examples((), (), ())
    order = EpochOrder(
        train.ids,
        memory.ids,
        new_per_step=settings.batch_size,
        replayed_per_step=replay.per_step if replay is not None else 0,
        seed=seed,
    )
    rows_per_step = settings.batch_size + order.replayed_per_step

    accumulation, taken = settings.gradient_accumulation, None
    if resumption is not None:
        held = () if consolidation is None else (consolidation.anchor, consolidation.weights)
        resumption = bound_to(resumption, start, held, consolidation.lambda_ if consolidation else 0.0)
        taken = resumption.newest()
        if taken is not None:
            accumulation = taken[1].accumulation
            resumption.tell(f"fine-tune: goes on from step {taken[1].step}, where it was interrupted")

    def train_with(
        accumulation: int, folder: Path, taken: tuple[Path, ResumeRecord] | None
    ) -> tuple[Any, Any]:
        """Train from the anchor, or from a checkpoint; the Trainer's output and the metrics."""
        arguments = TrainingArguments(
            output_dir=str(folder),
            use_cpu=model.device.type == "cpu",
            per_device_train_batch_size=rows_per_step // accumulation,
            gradient_accumulation_steps=accumulation,
            num_train_epochs=settings.epochs,
            lr_scheduler_type="linear",
            warmup_steps=settings.warmup,
            max_grad_norm=settings.max_grad_norm,
            bf16=autocast is torch.bfloat16,
            seed=seed,
            logging_steps=LOG_STEPS,
            logging_nan_inf_filter=False,
            save_strategy="no",  # TrainerCheckpoints asks for each one
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=model.device.type == "cuda",
        )
        if arguments.world_size == 1:
            arguments._n_gpu = min(arguments.n_gpu, 1)  # one device a process, never DataParallel
        trainer = ConsolidatingTrainer(
            model=model,
            args=arguments,
            train_dataset=_Rows(train + memory),
            data_collator=lambda rows: {
                **pad(classifier.tokenizer, [row["ids"] for row in rows]),
                "labels": torch.tensor([row["label"] for row in rows], dtype=torch.int64),
                "rows": torch.tensor([row["row"] for row in rows], dtype=torch.int64),
            },
            order=order,
            loss=TaskLoss(
                label_smoothing=settings.label_smoothing, log_prior=log_prior, distillation=distillation
            ),
            optimizers=(_optimizer(model, parameters, settings), None),
        )
        from transformers.trainer_callback import PrinterCallback

        trainer.remove_callback(PrinterCallback)
        steps = math.ceil(order.steps / arguments.world_size) * settings.epochs
        with progress("fine-tune", steps, "step") as advance:
            metrics = MetricsCallback(classifier, start, validation, penalty, advance)
            if resumption is not None and arguments.world_size == 1:
                trainer.checkpoints = TrainerCheckpoints(resumption, signals, accumulation, metrics.rows)

            def restore() -> None:
                if taken is not None and trainer.checkpoints is not None:
                    trainer.checkpoints.restore_losses(trainer, taken[1])
                    metrics.restore(taken[1].metrics, taken[1].step)

            for callback in (_OrderCallback(order, restore), penalty, metrics, trainer.checkpoints):
                if callback is not None:
                    trainer.add_callback(callback)
            return trainer.train(resume_from_checkpoint=str(taken[0]) if taken else None), metrics

    signals = DeferredSignals()
    with (
        tempfile.TemporaryDirectory(prefix="retrain-trainer-") as scratch,
        signals if resumption is not None else nullcontext(),
    ):
        folder = resumption.folder if resumption is not None else Path(scratch)
        done: tuple[Any, Any] | None = None
        while done is None:
            try:
                done = train_with(accumulation, folder, taken)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            if done is None:  # outside of the except clause, whose traceback holds the tensors
                accumulation, taken = more_accumulation(rows_per_step, accumulation), None
                _back_to(start, parameters, resumption)
                logger.warning(
                    "fine-tune: out of memory; begins again at the anchor with micro-batches of %d rows, "
                    "%d of them an optimizer step",
                    rows_per_step // accumulation,
                    accumulation,
                )
        output, metrics = done
    if signals.signum is not None:
        raise StoppedBySignal(
            f"stopped by {signal.Signals(signals.signum).name} after step {output.global_step} of fine-tuning, which "
            "is saved. Run the same command again to resume",
            signum=signals.signum,
        )
    model.eval()
    for name, parameter in parameters.items():
        if not bool(torch.isfinite(parameter).all()):
            raise TrainingDiverged(
                f"training diverged: {name} holds values that are not finite; nothing was promoted"
            )
    return TrainingResult(
        steps=output.global_step, final_task_loss=output.training_loss, metrics=metrics.metrics
    )


@torch.no_grad()
def _back_to(
    start: dict[str, Tensor], parameters: dict[str, nn.Parameter], resumption: Resumption | None
) -> None:
    """Give every parameter its starting value again, and free what the failed attempt held."""
    if resumption is not None:
        resumption.clear()
    for name, parameter in parameters.items():
        parameter.grad = None
        parameter.copy_(start[name])
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _optimizer(
    model: Any, parameters: dict[str, nn.Parameter], settings: TrainSection
) -> torch.optim.Optimizer:
    head = head_parameters(model)
    head_rate = settings.head_learning_rate or settings.learning_rate
    groups = [
        {"params": [p for n, p in parameters.items() if n not in head], "lr": settings.learning_rate},
        {"params": [p for n, p in parameters.items() if n in head], "lr": head_rate},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], weight_decay=settings.weight_decay)
