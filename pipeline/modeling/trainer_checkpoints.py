"""When a running training is saved, and how it resumes from there as if it had never stopped."""

import hashlib
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from transformers import TrainerCallback

from pipeline.errors import TrainingDiverged
from pipeline.modeling.interruption import DeferredSignals
from pipeline.modeling.resume import MetricRow, ResumeRecord, Resumption, writing
from pipeline.modeling.trainer import ConsolidatingTrainer
from pipeline.store.hashing import sha256_json

CHECKPOINT_SECONDS = 60.0
"""Work that a killed training loses at most, beside the step and the checkpoint that were under way."""


class TrainerCheckpoints(TrainerCallback):
    """Saves every CHECKPOINT_SECONDS, and after the step in which a signal came; which ends the training.

    Args:
        resumption: where checkpoints lie.
        signals: noted while training.
        accumulation: micro-batches per optimizer step.
        measured: the metrics so far; called after what belongs to the end of an epoch was measured.
    """

    def __init__(
        self,
        resumption: Resumption,
        signals: DeferredSignals,
        accumulation: int,
        measured: Callable[[Any], list[MetricRow]],
    ) -> None:
        self.resumption, self.signals, self.accumulation = resumption, signals, accumulation
        self.measured = measured
        self._last = time.monotonic()

    def save(self, trainer: ConsolidatingTrainer, save_trainer_files: Callable[[], None]) -> None:
        """Write one checkpoint, its record last.

        Raises:
            TrainingDiverged: the loss is not finite; such a state is never resumed.
            AccessDenied, CannotWrite: the disk refuses.
        """
        losses = trainer.losses()
        if not math.isfinite(losses.since_log):
            raise TrainingDiverged(
                f"training diverged by step {trainer.state.global_step}: the loss is not finite; nothing was "
                "promoted. Lower train.learning_rate or the lambda that the log names, or look for damaged rows in the training table"
            )
        rows = self.measured(trainer.state)
        path = self.resumption.folder / f"checkpoint-{trainer.state.global_step}"
        with writing(path):
            save_trainer_files()
        self.resumption.complete(
            path,
            ResumeRecord(
                step=trainer.state.global_step,
                accumulation=self.accumulation,
                fingerprint=self.resumption.fingerprint,
                loss_since_log=losses.since_log,
                loss_before=losses.before,
                last_logged=losses.last_logged,
                metrics=tuple(rows),
                files={},
            ),
        )
        self._last = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.signals.signum is not None or time.monotonic() - self._last >= CHECKPOINT_SECONDS:
            control.should_save = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.signals.signum is not None and not self._is_saved(state):
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.signals.signum is not None:
            control.should_training_stop = True

    def _is_saved(self, state: Any) -> bool:
        return (self.resumption.folder / f"checkpoint-{state.global_step}").exists()


def bound_to(
    resumption: Resumption,
    start: Mapping[str, Tensor],
    penalty: tuple[Mapping[str, Tensor], ...],
    strength: str,
    replayed: Sequence[str],
) -> Resumption:
    """The resumption with a fingerprint that also covers the starting weights, the penalty, and which rows are replayed.

    So training never resumes from what had another anchor, Fisher, form or lambda, or another order of rows.
    """
    hashes = [_hash_of(start), *(_hash_of(part) for part in penalty), sha256_json(list(replayed))]
    parts = [resumption.fingerprint, strength, *hashes]
    return replace(resumption, fingerprint=sha256_json(parts))


def checkpoint_bytes(model: Any, trained: Collection[str]) -> int:
    """Upper estimate of one checkpoint's size: fp32 weights, two moments of what is trained, small files."""
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    weights, moments = sum(sizes.values()), 2 * sum(sizes[name] for name in trained)
    return int(4 * (weights + moments) + 2**20)


def _hash_of(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()
