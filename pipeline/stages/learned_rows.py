"""The rows that a month's training sees: its own, those of earlier months that are replayed, and those that are watched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.label_changes import present_rows
from pipeline.recorded.names import TRAIN_FILE, VALIDATION_FILE
from pipeline.recorded.rows import rows_of, training_rows, validation_rows
from pipeline.replay import replay_memory
from pipeline.rows import Row
from pipeline.stages.stage import RunContext
from pipeline.store.records import CheckpointRef

if TYPE_CHECKING:
    from pipeline.modeling.batches import Encoded, Examples


@dataclass(frozen=True)
class Validation:
    """The validation rows to watch: this month's, and those of the months before."""

    new: Examples
    prior: Examples


@dataclass(frozen=True)
class LearnedRows:
    """All of them, tokenised.

    Attributes:
        train: the month's own.
        remembered: the rows of earlier months that may be replayed, each once.
        memory: these, tokenised; those that are replayed more often come again after them.
        validation: whose loss is watched.
    """

    train: Examples
    remembered: list[Row]
    memory: Examples
    validation: Validation

    @property
    def encoded(self) -> list[Encoded]:
        """The token ids of every row."""
        sets = (self.train, self.memory, self.validation.new, self.validation.prior)
        return [ids for rows in sets for ids in rows.encoded]


def learned_rows(context: RunContext, tokenised: Callable[[list[Row]], Examples]) -> LearnedRows:
    """The rows of the month, as its recipe wants them."""
    remembered = _memory(context)
    prior = present_rows(validation_rows(context.workspace, context.line), context.label_changes)
    return LearnedRows(
        train=tokenised(_training_rows(context)),
        remembered=remembered,
        memory=tokenised(remembered),
        validation=Validation(
            new=tokenised(rows_of(context.output("ingest"), VALIDATION_FILE)), prior=tokenised(prior)
        ),
    )


def _training_rows(context: RunContext) -> list[Row]:
    """The month's rows; for the joint arm those of all months, a row that occurs again in its latest form."""
    own = rows_of(context.output("ingest"), TRAIN_FILE)
    if not context.recipe.from_scratch:
        return own
    line = context.line
    tables = [_present_table(context, checkpoint) for checkpoint in line]
    return list({row.key: row for table in [*tables, own] for row in table}.values())


def _memory(context: RunContext) -> list[Row]:
    """The rows of earlier months that are learned again; none at launch."""
    if context.base is None or not context.recipe.replayed_per_step:
        return []
    replay = context.config.replay
    line = context.line
    tables = [_present_table(context, checkpoint) for checkpoint in line]
    return replay_memory(
        tables,
        launch_rows=replay.launch_rows,
        month_rows=replay.month_rows,
        seed=context.config.seed,
        task=context.task,
    )


def _present_table(context: RunContext, checkpoint: CheckpointRef) -> list[Row]:
    """What an ancestor was trained on, as it counts now."""
    return present_rows(training_rows(context.workspace.attempt(checkpoint.attempt)), context.label_changes)
