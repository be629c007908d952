"""The tables that ingest wrote, read back as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.labels import LabelSet
from pipeline.recorded.names import LABELS_FILE, TRAIN_FILE, VALIDATION_FILE
from pipeline.rows import Row
from pipeline.store import reading
from pipeline.store.records import CheckpointRef
from pipeline.store.run_directory import RunDirectory
from pipeline.store.stage_directory import require_output, require_stage
from pipeline.store.tables import ColumnType, read_parquet
from pipeline.store.workspace import Workspace

ROW_COLUMNS: dict[str, ColumnType] = {field.name: "string" for field in fields(Row)}
"""The columns of every table of rows."""

if TYPE_CHECKING:
    pass


def rows_of(ingested: Path, name: str) -> list[Row]:
    """The rows of train.parquet or validation.parquet in a finished ingest folder.

    Raises:
        ArtifactCorrupt: the file is not what ingest recorded.
    """
    table: list[dict[str, Any]] = read_parquet(require_output(ingested, name))
    return [Row(**fields) for fields in table]


def training_rows(attempt: RunDirectory) -> list[Row]:
    """What an attempt's checkpoint was trained on."""
    return rows_of(attempt.stage("ingest"), TRAIN_FILE)


def training_hash(attempt: RunDirectory) -> str:
    """The recorded SHA-256 of what an attempt's checkpoint was trained on."""
    return require_stage(attempt.stage("ingest")).outputs[TRAIN_FILE]


def labels_of(attempt: RunDirectory) -> LabelSet:
    """The label set that an attempt's ingest settled."""
    names: Any = reading.read_json(require_output(attempt.stage("ingest"), LABELS_FILE))
    return LabelSet(tuple(names))


def validation_rows(workspace: Workspace, line: Sequence[CheckpointRef]) -> list[Row]:
    """The validation rows of all attempts in a line of descent, the oldest first."""
    return [
        row
        for checkpoint in line
        for row in rows_of(workspace.attempt(checkpoint.attempt).stage("ingest"), VALIDATION_FILE)
    ]
