"""The tasks, and which one a checkpoint is of. To add one: a module like its neighbours, and its line in `TASKS`."""

from __future__ import annotations

from pathlib import Path

from pipeline.modeling.checkpoint import architectures
from pipeline.modeling.task import Learner, Task
from pipeline.modeling.tasks.causal_lm import CAUSAL_LM
from pipeline.modeling.tasks.sequence_classification import SEQUENCE_CLASSIFICATION
from pipeline.modeling.tasks.token_classification import TOKEN_CLASSIFICATION

TASKS = (CAUSAL_LM, TOKEN_CLASSIFICATION, SEQUENCE_CLASSIFICATION)
"""In the order in which they are asked; the last takes what no other does."""

__all__ = ["SEQUENCE_CLASSIFICATION", "TASKS", "Learner", "Task", "load_learner", "task_of"]


def load_learner(checkpoint: Path) -> Learner:
    """A checkpoint that a month may work on, in fp32 and eval mode.

    Raises:
        NoInput: the folder holds no checkpoint, or one of a task of which no month is built yet.
        ArtifactCorrupt: it is damaged, or its parts do not belong together.
    """
    task = task_of(checkpoint)
    task.require_month(str(checkpoint))
    return task.load(checkpoint)


def task_of(checkpoint: Path) -> Task:
    """The task whose classes a checkpoint's config.json names.

    Raises:
        NoInput: the folder holds no checkpoint.
        ArtifactCorrupt: its config cannot be read, or asks for code of its own.
    """
    named = architectures(checkpoint)
    return next(task for task in TASKS if task.architectures(named))
