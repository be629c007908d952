"""What a model is trained to answer, as a record of functions: one module a task, and a line in the list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.ewc.fisher import Batch
from pipeline.feedback import CheckedRows, RawRecord, Row
from pipeline.labels import LabelSet
from pipeline.modeling.batches import Examples


@dataclass(frozen=True)
class Learner:
    """A model, its tokenizer, and its labels where it has some; they always travel together."""

    model: Any
    tokenizer: Any
    labels: LabelSet | None = None


@dataclass(frozen=True)
class Task:
    """One kind of model, and what the Fisher needs to know of it.

    Attributes:
        name: as messages call it.
        architectures: whether config.json's names of classes are of this task.
        load: a checkpoint's folder to its learner, in fp32 and eval mode; raises NoInput, ArtifactCorrupt.
        check: raw records that a person gives for a checkpoint, to rows of this task and refused ones.
        encoded: rows to token ids, cut to so many tokens; raises BadData for one with nothing to predict.
        batches: padded batches with what the Fisher needs of each example: `keyed_batches` or a function like it.
        division: what the sums are divided by, in words.
        estimators: those that are for it, in order of preference; `auto` takes the first, whose own `auto` is the engine's.
        draws: columns of the first where `auto` took it; None for the estimator's own.
        reason: why `auto` took it.
        require: refuses rows that are not the learner's, before some of them are drawn; raises ArtifactCorrupt.
    """

    name: str
    architectures: Callable[[Sequence[str]], bool]
    load: Callable[[Path], Learner]
    check: Callable[[Iterable[RawRecord], Path], CheckedRows]
    encoded: Callable[[Learner, Sequence[Row], int], Examples]
    batches: Callable[..., Iterator[Batch]]
    division: str
    estimators: tuple[str, ...]
    draws: int | None = None
    reason: str = ""
    require: Callable[[Learner, Sequence[Row]], None] = lambda learner, rows: None

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
