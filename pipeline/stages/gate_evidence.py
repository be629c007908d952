"""What the gate judges by beside the scorecard: the rows that could be lost, and the reference of each golden set."""

from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.config import Config
from pipeline.evaluation.gate import GateLimits
from pipeline.evaluation.golden import GoldenRow, GoldenSet
from pipeline.evaluation.reference import surely_better
from pipeline.evaluation.scorecard import Scorecard, score, scorecard
from pipeline.label_changes import NO_CHANGES, LabelChanges
from pipeline.labels import LabelSet
from pipeline.store.records import CheckpointRef
from pipeline.store.run_directory import Workspace
from pipeline.store.stage_directory import require_output
from pipeline.store.tables import read_parquet

PREDICTIONS_FILE = "predictions.parquet"
Answers = dict[str, list[tuple[str, float]]]
"""Golden set name to (label, confidence) of each of its rows."""


def gate_limits(config: Config) -> GateLimits:
    """The gate's limits from the configuration."""
    return GateLimits(**dict(config.gate))


def held_rows(
    golden: Sequence[GoldenSet],
    before: Answers,
    after: Answers,
    *,
    known: Container[str],
    last: str | None,
    confidence: float,
) -> Scorecard:
    """The scorecard of the rows that the model before could have lost.

    Left out are the sets of months after its own, which it never passed, and rows whose label it lacked: gains there
    would hide losses elsewhere.

    Args:
        golden: prior golden sets, named by month.
        before, after: what the model before and the candidate say about each row.
        known: the labels of the model before, under present names.
        last: its month; None where it has none, and all sets are taken.
        confidence: of the intervals.
    """
    scores = []
    for item in golden:
        if last is not None and item.name > last:
            continue
        places = [i for i, row in enumerate(item.rows) if row.label in known]
        if places:
            kept = replace(item, rows=tuple(item.rows[i] for i in places))
            old, new = ([said[item.name][i][0] for i in places] for said in (before, after))
            scores.append(score(kept, old, new, confidence=confidence))
    return scorecard(None, scores, confidence=confidence)


def present_names(labels: LabelSet, changes: LabelChanges) -> set[str]:
    """What a model's labels are called now; merged ones have one name."""
    return {changes.name_of(name) for name in labels.names}


def worn_rows(
    workspace: Workspace,
    line: Sequence[CheckpointRef],
    golden: Sequence[GoldenSet],
    after: Answers,
    *,
    changes: LabelChanges = NO_CHANGES,
    confidence: float,
) -> Scorecard | None:
    """The candidate's scorecard beside each prior golden set's reference; None where no set has one.

    Args:
        workspace: where the promoted models' recorded answers lie.
        line: the promoted models, oldest first.
        golden: prior golden sets.
        after: what the candidate says about each row.
        changes: of labels; recorded answers and golden labels of earlier months are read under present names.
        confidence: of the intervals.
    """
    recorded = [_recorded(predictions_file(workspace, ref), changes) for ref in line]
    scores = []
    for item in golden:
        best = _reference(item, [answers.get(item.name, {}) for answers in recorded])
        places = [i for i, row in enumerate(item.rows) if _key(row) in best]
        if places:
            kept = replace(item, rows=tuple(item.rows[i] for i in places))
            old = [best[_key(row)] for row in kept.rows]
            scores.append(score(kept, old, [after[item.name][i][0] for i in places], confidence=confidence))
    return scorecard(None, scores, confidence=confidence) if scores else None


def predictions_file(workspace: Workspace, ref: CheckpointRef) -> Path:
    """The recorded answers of a checkpoint of the workspace on the golden sets of its time.

    Raises:
        ArtifactCorrupt: they are not what the evaluation recorded.
    """
    return require_output(workspace.attempt(ref.attempt).stage("eval"), PREDICTIONS_FILE)


_Key = tuple[str, str]


def _key(row: GoldenRow) -> _Key:
    """A golden row that was given another label since is another row."""
    return row.id, row.label


def _recorded(file: Path, changes: LabelChanges) -> dict[str, dict[_Key, str]]:
    """Golden set name to what a model said about each of its rows."""
    said: dict[str, dict[_Key, str]] = {}
    for row in read_parquet(file):
        key = str(row["id"]), changes.name_of(str(row["label"]))
        said.setdefault(str(row["golden"]), {})[key] = changes.name_of(str(row["after"]))
    return said


def _reference(golden: GoldenSet, models: Sequence[dict[_Key, str]]) -> dict[_Key, str]:
    """The answers of the oldest model that has some, or of a later one that was surely better on the same rows."""
    best: dict[_Key, str] = {}
    for said in models:
        both = [key for key in map(_key, golden.rows) if key in best and key in said]
        right = [[answers[key] == key[1] for key in both] for answers in (best, said)]
        if not best or surely_better(*right):
            best = said
    return best
