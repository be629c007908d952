"""Fine-tuning with the transformers Trainer and the EWC penalty in it."""

import gc
import logging
import math
import signal
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from pipeline.config import TrainSection
from pipeline.errors import StoppedBySignal, TrainingDiverged
from pipeline.ewc.penalty_step import PenaltyStep
from pipeline.modeling.batches import Examples, pad
from pipeline.modeling.checkpoint import Classifier
from pipeline.modeling.head import head_parameters, trained_parameters
from pipeline.modeling.interruption import DeferredSignals, is_out_of_memory, more_accumulation
from pipeline.modeling.metrics import Metric, MetricsCallback, ValidationSets
from pipeline.modeling.resume import ResumeRecord, Resumption
from pipeline.modeling.row_order import EpochOrder, IndexedRows, OrderCallback, micro_batches
from pipeline.modeling.task_loss import Distillation, TaskLoss
from pipeline.modeling.trainer_checkpoints import TrainerCheckpoints, bound_to
from pipeline.progress import Progress, silent

logger = logging.getLogger("retrain")
LOG_STEPS = 5
"""Optimizer steps between two rows of metrics."""


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


@dataclass(frozen=True)
class Replay:
    """Rows of earlier months, and how many of them join an optimizer step."""

    examples: Examples
    per_step: int


@dataclass(frozen=True)
class TrainingResult:
    steps: int
    final_task_loss: float
    metrics: list[Metric] = field(default_factory=list)


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


def _is_logged(args: Any, state: Any) -> bool:
    """Whether a row of metrics follows the step that is being taken."""
    return bool((state.global_step + 1) % args.logging_steps == 0 or state.global_step + 1 == state.max_steps)


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
    open_ids: Tensor | None = None,
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
        open_ids: ids of the labels that are learned, where some are merged or retired; None for all.
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
    start = _start(parameters, consolidation)
    penalty = PenaltyCallback(parameters, consolidation) if consolidation else None
    memory = replay.examples if replay is not None else Examples((), (), ())
    order = EpochOrder(
        train,
        memory,
        new_per_step=settings.batch_size,
        replayed_per_step=replay.per_step if replay is not None else 0,
        seed=seed,
    )
    rows_per_step = settings.batch_size + order.replayed_per_step

    accumulation = settings.gradient_accumulation or micro_batches(rows_per_step, model.device.type)
    taken = None
    if resumption is not None:
        held = () if consolidation is None else (consolidation.anchor, consolidation.weights)
        strength = f"{consolidation.form} {consolidation.lambda_!r}" if consolidation else "none"
        resumption = bound_to(resumption, start, held, strength, memory.ids)
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
            train_dataset=IndexedRows(train + memory),
            data_collator=lambda rows: {
                **pad(classifier.tokenizer, [row["ids"] for row in rows]),
                "labels": torch.tensor([row["label"] for row in rows], dtype=torch.int64),
                "rows": torch.tensor([row["row"] for row in rows], dtype=torch.int64),
            },
            order=order,
            loss=TaskLoss(
                label_smoothing=settings.label_smoothing,
                log_prior=log_prior,
                distillation=distillation,
                open_ids=open_ids,
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

            for callback in (OrderCallback(order, restore), penalty, metrics, trainer.checkpoints):
                if callback is not None:
                    trainer.add_callback(callback)
            return trainer.train(resume_from_checkpoint=str(taken[0]) if taken else None), metrics

    signals = DeferredSignals()
    with (
        nullcontext(resumption.folder)
        if resumption is not None
        else tempfile.TemporaryDirectory(prefix="retrain-trainer-") as folder,
        signals if resumption is not None else nullcontext(),
    ):
        done: tuple[Any, Any] | None = None
        while done is None:
            try:
                done = train_with(accumulation, Path(folder), taken)
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


def _start(parameters: dict[str, nn.Parameter], consolidation: Consolidation | None) -> dict[str, Tensor]:
    """The weights that training starts from: the anchor itself where it is the same, else a copy."""
    anchor = consolidation.anchor if consolidation is not None else {}
    return {
        name: anchor[name] if name in anchor and torch.equal(anchor[name], p) else p.detach().clone()
        for name, p in parameters.items()
    }


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
