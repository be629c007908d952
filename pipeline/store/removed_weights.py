"""Attempts that keep their record and have lost their weights: `weights-removed.json` in the attempt's folder.

What a month learned from, what it answered and what the gate said stay; only nothing can start from it any more.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pipeline.errors import ArtifactCorrupt
from pipeline.store import atomic, reading
from pipeline.store.hashing import FISHER_FILE
from pipeline.store.records import AttemptId, Record, read_record, write_record
from pipeline.store.remaking import remaking

REMOVED_WEIGHTS_FILE = "weights-removed.json"
WEIGHTS_SUFFIX = ".safetensors"


class RemovedWeights(Record):
    """Which files of an attempt were removed on purpose."""

    version: Literal[1] = 1
    attempt: AttemptId
    files: tuple[str, ...]
    """Seen from the attempt's folder, with / between folders."""


def weights_of(attempt: Path) -> list[Path]:
    """The files of weights and curvature that lie below an attempt's checkpoint, in order."""
    return sorted((attempt / "finetune" / "checkpoint").rglob(f"*{WEIGHTS_SUFFIX}"))


def remove_weights(attempt: Path, attempt_id: str, recorded: Iterable[str]) -> None:
    """Remove an attempt's weights; the record of it is written first, so that the next call finishes what a kill left.

    Args:
        attempt: its folder.
        attempt_id: such as `2026-03/001`.
        recorded: the outputs of its finetune stage.

    Raises:
        AccessDenied, CannotWrite: as `atomic.write_file`, `atomic.remove_tree`.
    """
    names = {f"finetune/{name}" for name in recorded if name.endswith(WEIGHTS_SUFFIX)}
    names.add(f"finetune/checkpoint/{FISHER_FILE}")
    record = RemovedWeights(attempt=attempt_id, files=tuple(sorted(names)))
    write_record(attempt / REMOVED_WEIGHTS_FILE, record)
    for path in weights_of(attempt):
        atomic.remove_tree(path)


def removed_weights(attempt: Path) -> frozenset[str]:
    """The names of the files that were removed on purpose and are not there; none where all is whole.

    Raises:
        ArtifactCorrupt: the record is damaged, or belongs to another attempt.
    """
    file = attempt / REMOVED_WEIGHTS_FILE
    if reading.kind_of(file) == "nothing":
        return frozenset()
    mend = f"Restore it from a backup, or run: {remaking(attempt.parent)}"
    record = read_record(file, RemovedWeights, mend=mend)
    here = f"{attempt.parent.name}/{attempt.name}"
    if record.attempt != here:
        raise ArtifactCorrupt(f"{file}: belongs to attempt {record.attempt}, not to {here}. {mend}")
    return frozenset(name for name in record.files if reading.kind_of(attempt / name) == "nothing")
