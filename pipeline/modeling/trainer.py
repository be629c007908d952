"""The transformers Trainer with our rows, our loss, and checkpoints that resume to the same bits.

All that this project knows of the Trainer's inside is in this module.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from pipeline.config import TrainSection
from pipeline.ewc.fisher.examples import scored_logits
from pipeline.modeling.resume import LossesSoFar
from pipeline.modeling.row_order import EpochOrder
from pipeline.modeling.task_loss import TaskLoss

LOG_STEPS = 5
"""Optimizer steps between two rows of metrics."""


class ConsolidatingTrainer(Trainer):
    """A Trainer whose row order depends on nothing but seed, epoch and row ids.

    Args:
        order: of the rows.
        loss: of a micro-batch, divided by the rows of the whole optimizer step already.
    """

    save_with: Callable[[ConsolidatingTrainer, Callable[[], None]], None] | None = None
    """What is called instead of saving a checkpoint, with the function that writes the Trainer's files."""

    def __init__(self, *args: Any, order: EpochOrder, loss: TaskLoss, **kwargs: Any) -> None:
        self._order, self._loss = order, loss
        super().__init__(*args, compute_loss_func=loss, **kwargs)
        # BERT-like models accept **kwargs without using num_items_in_batch; our loss divides by it
        self.model_accepts_loss_kwargs = False
        self.remove_callback(PrinterCallback)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        named = {"labels": inputs.pop("labels"), "example_keys": inputs.pop("rows")}
        outputs = model(**inputs)
        scored = scored_logits(self.accelerator.unwrap_model(model), inputs | named, outputs["logits"])
        loss = self._loss(scored, num_items_in_batch)
        if self.accelerator.num_processes > 1:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over processes
        return (loss, outputs) if return_outputs else loss

    def losses(self) -> LossesSoFar:
        """What a checkpoint has to keep beside the Trainer's files."""
        return LossesSoFar(self._tr_loss.item(), self._total_loss_scalar, self._globalstep_last_logged)

    def restore_losses(self, losses: LossesSoFar) -> None:
        """Put back what the Trainer forgets when it resumes."""
        self._tr_loss = torch.tensor(losses.since_log, device=self.args.device)
        self._total_loss_scalar = losses.before
        self._globalstep_last_logged = losses.last_logged
        self._initial_global_step = 0

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochOrder:
        return self._order

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.save_with is not None:
            self.save_with(self, lambda: super(ConsolidatingTrainer, self)._save_checkpoint(model, trial))


def training_arguments(
    settings: TrainSection,
    folder: Path,
    *,
    rows_per_step: int,
    accumulation: int,
    seed: int,
    device: torch.device,
    autocast: torch.dtype | None,
) -> TrainingArguments:
    """The Trainer's arguments: one device a process, nothing reported, checkpoints only where they are asked for.

    Args:
        rows_per_step: rows of an optimizer step, `accumulation` micro-batches of them.
    """
    arguments = TrainingArguments(
        output_dir=str(folder),
        use_cpu=device.type == "cpu",
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
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
    )
    if arguments.world_size == 1:
        arguments._n_gpu = min(arguments.n_gpu, 1)  # never DataParallel
    return arguments


def add_callbacks(trainer: Trainer, *callbacks: TrainerCallback | None) -> None:
    """Add callbacks in the order in which they are to be told; None for none."""
    for callback in callbacks:
        if callback is not None:
            trainer.add_callback(callback)
