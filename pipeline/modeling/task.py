"""What a model is trained to answer, as a record of functions: one module a task, and a line in the list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.errors import NoInput, UsageError
from pipeline.labels import LabelSet
from pipeline.modeling.batches import Examples
from pipeline.row_task import RowTask
from pipeline.rows import CheckedRows, RawRecord, Row


@dataclass(frozen=True)
class Learner:
    """A model, its tokenizer, its labels (none where it has none) and its task; they always travel together."""

    model: Any
    tokenizer: Any
    labels: LabelSet
    task: Task

    def month(self) -> TaskMonth:
        """What a month needs of the task.

        Raises:
            NoInput: no month of it is built yet.
        """
        return self.task.require_month(str(self.model.name_or_path))


class NewLearner(Protocol):
    """A pretrained model at a folder or a Hub name, with a new, seeded head for the labels."""

    def __call__(self, location: str, labels: LabelSet, *, seed: int) -> Learner: ...


@dataclass(frozen=True)
class TaskMonth:
    """What the monthly job needs of a task beside its Fisher; the loss is `TaskLoss` for all, over what `Scored` says.

    Attributes:
        new: a learner from a pretrained model, for launch; raises NoInput, ArtifactCorrupt.
        answer: texts, cut to so many tokens, to the answer to each and its probability.
        measure: mean loss in nats over N > 0 examples, without any penalty.
    """

    new: NewLearner
    answer: Callable[[Learner, Sequence[str], int], list[tuple[str, float]]]
    measure: Callable[[Learner, Examples], float]


@dataclass(frozen=True)
class Task:
    """One kind of model: how it is read, what its Fisher needs, and what a month does.

    Attributes:
        name: as messages call it.
        architectures: whether config.json's names of classes are of this task.
        load: a checkpoint's folder to its learner, in fp32 and eval mode; raises NoInput, ArtifactCorrupt.
        rows: the half of the task that needs no model.
        check: raw records that a person gives for a checkpoint, to rows of this task and refused ones.
        encoded: rows to token ids and targets, cut to so many tokens; raises BadData for one with nothing to predict.
        division: what the sums are divided by, in words.
        estimators: those that are for it, in order of preference; `auto` takes the first, whose own `auto` is the engine's.
        draws: columns of the first where `auto` took it; None for the estimator's own.
        reason: why `auto` took it.
        month: what a month of it needs; None where none is built yet, and the Fisher by hand is all there is.
        require: refuses rows that are not the learner's, before some of them are drawn; raises ArtifactCorrupt.
    """

    name: str
    architectures: Callable[[Sequence[str]], bool]
    load: Callable[[Path], Learner]
    rows: RowTask
    check: Callable[[Iterable[RawRecord], Path], CheckedRows]
    encoded: Callable[[Learner, Sequence[Row], int], Examples]
    division: str
    estimators: tuple[str, ...]
    draws: int | None = None
    reason: str = ""
    month: TaskMonth | None = None
    require: Callable[[Learner, Sequence[Row]], None] = lambda learner, rows: None

    def require_month(self, where: str) -> TaskMonth:
        """What a month needs.

        Raises:
            NoInput: no month of the task is built yet.
        """
        if self.month is None:
            raise NoInput(
                f"{where}: is a {self.name}, expected a text classifier: months of others are not built yet; fisher compute "
                "works. To make a classifier of it, name it as model.base and launch without --checkpoint"
            )
        return self.month

    def estimator(self, asked: str, checkpoint: Path) -> tuple[str, int | None, str]:
        """The estimator that is used, its draws, and why where nobody asked for it.

        Raises:
            UsageError: the one that is asked for is not for this task.
        """
        if asked == "auto":
            return self.estimators[0], self.draws, self.reason
        if asked not in self.estimators:
            raise UsageError(
                f"--estimator {asked}: is not for {checkpoint}, which is a {self.name}. Take "
                f"{' or '.join(name for name in self.estimators if name != 'auto')}"
            )
        return asked, None, ""
