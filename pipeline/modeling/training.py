"""Fine-tuning with the transformers Trainer and the EWC penalty in it."""

from __future__ import annotations

import gc
import logging
import math
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config import TrainSection
from pipeline.errors import StoppedBySignal, TrainingDiverged
from pipeline.modeling.batches import Examples, pad, padded_targets
from pipeline.modeling.head import head_parameters
from pipeline.modeling.interruption import DeferredSignals, is_out_of_memory, more_accumulation
from pipeline.modeling.metrics import Metric, MetricsCallback, ValidationSets
from pipeline.modeling.penalty_callback import Consolidation
from pipeline.modeling.resume import ResumeRecord, Resumption
from pipeline.modeling.row_order import EpochOrder, IndexedRows, OrderCallback, micro_batches
from pipeline.modeling.task import Learner
from pipeline.modeling.task_loss import Distillation, TaskLoss
from pipeline.modeling.trained import trained_by
from pipeline.modeling.trainer import ConsolidatingTrainer, add_callbacks, training_arguments
from pipeline.modeling.trainer_checkpoints import TrainerCheckpoints, bound_to
from pipeline.progress import Progress, silent

logger = logging.getLogger("retrain")


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


@dataclass(frozen=True)
class Objective:
    """What is minimised: the task's loss on a step's rows, and the penalty.

    Attributes:
        consolidation: the penalty; None for none.
        log_prior: log pi [C] of the balanced softmax; None for the plain cross-entropy.
        distillation: the champion's answers for the new rows and then the replayed ones; None for none.
        open_ids: ids of the labels that are learned, where some are merged or retired; None for all.
    """

    consolidation: Consolidation | None = None
    log_prior: Tensor | None = None
    distillation: Distillation | None = None
    open_ids: Tensor | None = None


Taken = tuple[Path, ResumeRecord]
"""A checkpoint inside of a training that is resumed, and its record."""
_NO_ROWS = Examples((), (), ())


class Training:
    """One training of a classifier, in place; only the parameters that `settings.layers` names change.

    Args:
        classifier: on the device that is to be used.
        train: N > 0 rows.
        validation: rows whose mean loss is measured after each epoch; the penalty is never part of it.
        settings: epochs, batch size, learning rates and the rest; `launch` or `train` of the configuration.
        objective: what is minimised.
        seed: of row order and dropout.
        autocast: torch.bfloat16 or None.
        replay: rows of earlier months that join every optimizer step; None for none.
    """

    def __init__(
        self,
        classifier: Learner,
        train: Examples,
        validation: ValidationSets,
        *,
        settings: TrainSection,
        objective: Objective,
        seed: int,
        autocast: torch.dtype | None = None,
        replay: Replay | None = None,
    ) -> None:
        self.classifier, self.validation, self.settings = classifier, validation, settings
        self.objective, self.seed, self.autocast = objective, seed, autocast
        memory = replay.examples if replay is not None else _NO_ROWS
        self.rows, self.replayed = train + memory, memory.ids
        self.order = EpochOrder(
            train,
            memory,
            new_per_step=settings.batch_size,
            replayed_per_step=replay.per_step if replay is not None else 0,
            seed=seed,
        )
        self.rows_per_step = settings.batch_size + self.order.replayed_per_step
        self.trained = trained_by(settings.layers)
        self.parameters = self.trained.updated(classifier.model)
        self.start = _start(self.parameters, objective.consolidation)

    def run(self, *, progress: Progress = silent, resumption: Resumption | None = None) -> TrainingResult:
        """Train to the end.

        Args:
            resumption: where the state of training is saved, and resumed from to the same bits; None for nowhere, and
                then a signal is left to the caller's handler.

        Raises:
            TrainingDiverged: as soon as a logged loss, penalty, norm or final weight is not finite.
            StoppedBySignal: SIGTERM or SIGINT came; the state after the step that was under way is saved.
            BadConfig: memory ran out even with micro-batches of one row. With larger ones the training begins
                again at the anchor with half the micro-batch.
        """
        if resumption is not None:
            resumption = self._bound(resumption)
        with _interruptible(resumption) as (folder, signals):
            output, metrics = self._until_it_fits(folder, signals, progress, resumption)
        if signals.signum is not None:
            raise StoppedBySignal(
                f"stopped by {signal.Signals(signals.signum).name} after step {output.global_step} of fine-tuning, which "
                "is saved. Run the same command again to resume",
                signum=signals.signum,
            )
        self.classifier.model.eval()
        self._require_finite_weights()
        return TrainingResult(
            steps=output.global_step, final_task_loss=output.training_loss, metrics=metrics.metrics
        )

    def _bound(self, resumption: Resumption) -> Resumption:
        """The resumption of a training that starts at these weights, with this penalty and these replayed rows."""
        held = self.objective.consolidation
        penalty = () if held is None else (held.anchor, held.weights)
        strength = f"{held.form} {held.lambda_!r}" if held is not None else "none"
        return bound_to(resumption, self.start, penalty, strength, self.replayed)

    def _until_it_fits(
        self, folder: Path, signals: DeferredSignals, progress: Progress, resumption: Resumption | None
    ) -> tuple[Any, MetricsCallback]:
        """The Trainer's output and the metrics; begins again with smaller micro-batches where memory runs out."""
        accumulation = self.settings.gradient_accumulation or micro_batches(
            self.rows_per_step, self.classifier.model.device.type
        )
        taken = resumption.newest() if resumption is not None else None
        if resumption is not None and taken is not None:
            accumulation = taken[1].accumulation
            resumption.tell(f"fine-tune: resumes from step {taken[1].step}, where it was interrupted")
        while True:
            try:
                return self._trained(accumulation, folder, signals, progress, resumption, taken)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # outside of the except clause, whose traceback holds the tensors
            accumulation, taken = more_accumulation(self.rows_per_step, accumulation), None
            if resumption is not None:
                resumption.clear()
            _back_to(self.start, self.parameters)
            logger.warning(
                "fine-tune: out of memory; begins again at the anchor with micro-batches of %d rows, "
                "%d of them an optimizer step",
                self.rows_per_step // accumulation,
                accumulation,
            )

    def _trained(
        self,
        accumulation: int,
        folder: Path,
        signals: DeferredSignals,
        progress: Progress,
        resumption: Resumption | None,
        taken: Taken | None,
    ) -> tuple[Any, MetricsCallback]:
        """Train from the anchor, or from a checkpoint."""
        trainer = self._trainer(accumulation, folder)
        alone = trainer.args.world_size == 1
        penalty = None
        if self.objective.consolidation is not None:
            penalty = self.trained.penalty(self.parameters, self.objective.consolidation)
        steps = math.ceil(self.order.steps / trainer.args.world_size) * self.settings.epochs
        with progress("fine-tune", steps, "step") as advance:
            metrics = MetricsCallback(self.classifier, self.start, self.validation, penalty, advance)
            saving = None
            if resumption is not None and alone:
                saving = TrainerCheckpoints(resumption, signals, accumulation, metrics.rows)
                trainer.save_with = saving.save

            def restore() -> None:
                if taken is not None and saving is not None:
                    trainer.restore_losses(taken[1].losses)
                    metrics.restore(taken[1].metrics, taken[1].step)

            add_callbacks(trainer, OrderCallback(self.order, restore), penalty, metrics, saving)
            return trainer.train(resume_from_checkpoint=str(taken[0]) if taken else None), metrics

    def _trainer(self, accumulation: int, folder: Path) -> ConsolidatingTrainer:
        model, objective = self.classifier.model, self.objective
        return ConsolidatingTrainer(
            model=model,
            args=training_arguments(
                self.settings,
                folder,
                rows_per_step=self.rows_per_step,
                accumulation=accumulation,
                seed=self.seed,
                device=model.device,
                autocast=self.autocast,
            ),
            train_dataset=IndexedRows(self.rows),
            data_collator=self._collate,
            order=self.order,
            loss=TaskLoss(
                label_smoothing=self.settings.label_smoothing,
                log_prior=objective.log_prior,
                distillation=objective.distillation,
                open_ids=objective.open_ids,
            ),
            optimizers=(_optimizer(model, self.parameters, self.settings), None),
        )

    def _collate(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        return {
            **pad(self.classifier.tokenizer, [row["ids"] for row in rows]),
            "labels": padded_targets([row["target"] for row in rows], per_token=self.rows.per_token),
            "rows": torch.tensor([row["row"] for row in rows], dtype=torch.int64),
        }

    def _require_finite_weights(self) -> None:
        for name, parameter in self.parameters.items():
            if not bool(torch.isfinite(parameter).all()):
                raise TrainingDiverged(
                    f"training diverged: {name} holds values that are not finite; nothing was promoted"
                )


@contextmanager
def _interruptible(resumption: Resumption | None) -> Iterator[tuple[Path, DeferredSignals]]:
    """The folder for the Trainer's files, and the signals: noted where the training can be resumed, else not touched."""
    signals = DeferredSignals()
    if resumption is not None:
        with signals:
            yield resumption.folder, signals
        return
    with tempfile.TemporaryDirectory(prefix="retrain-trainer-") as folder:
        yield Path(folder), signals


def _start(parameters: dict[str, nn.Parameter], consolidation: Consolidation | None) -> dict[str, Tensor]:
    """The weights that training starts from: the anchor itself where it is the same, else a copy."""
    anchor = consolidation.anchor if consolidation is not None else {}
    return {
        name: anchor[name] if name in anchor and torch.equal(anchor[name], p) else p.detach().clone()
        for name, p in parameters.items()
    }


@torch.no_grad()
def _back_to(start: dict[str, Tensor], parameters: dict[str, nn.Parameter]) -> None:
    """Give every parameter its starting value again, and free what the failed attempt held."""
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
