"""What the gate judges by beside the scorecard: the rows that could be lost, and the reference of each golden set."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.evaluation.gate import GateLimits
from pipeline.evaluation.golden import GoldenRow, GoldenSet
from pipeline.evaluation.power import power_of
from pipeline.evaluation.reference import surely_better
from pipeline.evaluation.scorecard import GoldenScore, Scorecard, score, scorecard
from pipeline.label_changes import NO_CHANGES, LabelChanges
from pipeline.labels import LabelSet
from pipeline.recorded.names import PREDICTIONS_FILE
from pipeline.store.records import CheckpointRef, Manifest
from pipeline.store.stage_directory import require_output
from pipeline.store.tables import read_parquet
from pipeline.store.workspace import Workspace

Answer = tuple[str, float]
"""A label, and the probability that the model gave to it."""
Answers = dict[str, list[Answer]]
"""Golden set name to the answer to each of its rows."""


def gate_limits(config: Config) -> GateLimits:
    """The gate's limits from the configuration."""
    return _limits(dict(config.gate))


def recorded_power(manifest: Manifest, card: Scorecard) -> str | None:
    """What the golden rows of an attempt are able to show under its own limits, in words; None without a comparison."""
    gate: Any = manifest.config.get("gate", {})
    power = power_of(card, _limits(gate))
    return None if power is None else power.text


def _limits(gate: Mapping[str, Any]) -> GateLimits:
    """What the section `gate` says, of this release or an earlier one."""
    return GateLimits(
        **{name: value for name, value in gate.items() if name in GateLimits.__dataclass_fields__}
    )


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
            pairs = [(before[item.name][i], after[item.name][i]) for i in places]
            scores.append(compare_answers(kept, pairs, confidence=confidence))
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
            pairs = [(best[_key(item.rows[i])], after[item.name][i]) for i in places]
            scores.append(compare_answers(kept, pairs, confidence=confidence))
    return scorecard(None, scores, confidence=confidence) if scores else None


def compare_answers(
    golden: GoldenSet, answers: Sequence[tuple[Answer, Answer]], *, confidence: float
) -> GoldenScore:
    """The score of two models' answers, before and after, on each row of a golden set."""
    return score(
        golden,
        [old for (old, _), _ in answers],
        [new for _, (new, _) in answers],
        confidence=confidence,
        probabilities=[(sure_before, sure_after) for (_, sure_before), (_, sure_after) in answers],
    )


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


def _recorded(file: Path, changes: LabelChanges) -> dict[str, dict[_Key, Answer]]:
    """Golden set name to what a model said about each of its rows."""
    said: dict[str, dict[_Key, Answer]] = {}
    for row in read_parquet(file):
        key = str(row["id"]), changes.name_of(str(row["label"]))
        answer = changes.name_of(str(row["after"])), float(str(row["after_confidence"]))
        said.setdefault(str(row["golden"]), {})[key] = answer
    return said


def _reference(golden: GoldenSet, models: Sequence[dict[_Key, Answer]]) -> dict[_Key, Answer]:
    """The answers of the oldest model that has some, or of a later one that was surely better on the same rows."""
    best: dict[_Key, Answer] = {}
    for said in models:
        both = [key for key in map(_key, golden.rows) if key in best and key in said]
        right = [[answers[key][0] == key[1] for key in both] for answers in (best, said)]
        if not best or surely_better(*right):
            best = said
    return best
