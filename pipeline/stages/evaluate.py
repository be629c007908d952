"""Evaluate: candidate and base on every golden set up to the month, and the gate's verdict."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.evaluation.gate import Check, Verdict, judge, named
from pipeline.evaluation.golden import GoldenSet
from pipeline.evaluation.quality import Quality, calibration_error, macro_f1
from pipeline.evaluation.scorecard import Scorecard, score, scorecard
from pipeline.label_changes import LabelChanges
from pipeline.labels import LabelSet
from pipeline.months import Month
from pipeline.progress import Progress
from pipeline.recorded.checkpoint_labels import checkpoint_labels
from pipeline.recorded.gate_evidence import (
    Answers,
    compare_answers,
    gate_limits,
    held_rows,
    predictions_file,
    present_names,
    worn_rows,
)
from pipeline.recorded.golden_sets import (
    golden_files,
    golden_hashes,
    present_golden_sets,
    recorded_golden_sets,
    tested_months,
)
from pipeline.recorded.names import (
    CHECKPOINT_FOLDER,
    GATE_FILE,
    PREDICTIONS_FILE,
    SCORECARD_FILE,
    is_golden_input,
)
from pipeline.recorded.rows import labels_of
from pipeline.sources.table import dialect_of
from pipeline.stages.earlier_answers import earlier_answers
from pipeline.stages.finetune import candidate_of
from pipeline.stages.stage import RunContext, Stage
from pipeline.store import atomic
from pipeline.store.hashing import sha256_file
from pipeline.store.records import CheckpointRef
from pipeline.store.stage_directory import require_stage
from pipeline.store.tables import ColumnType, changed_input, write_parquet

if TYPE_CHECKING:
    pass

logger = logging.getLogger("retrain")
PREDICTION_COLUMNS: dict[str, ColumnType] = {
    "golden": "string",
    "id": "string",
    "slice": "string",
    "label": "string",
    "before": "string",
    "before_confidence": "float",
    "after": "string",
    "after_confidence": "float",
}


def answers(
    checkpoint: Path, golden: list[GoldenSet], *, max_length: int, device: str, progress: Progress
) -> Answers:
    """What a checkpoint says about every golden row."""
    from pipeline.modeling.device import choose_device
    from pipeline.modeling.tasks import load_learner

    learner = load_learner(checkpoint)
    learner.model.to(choose_device(device))
    answer = learner.month().answer
    said: Answers = {}
    with progress("evaluate", sum(len(item.rows) for item in golden), "row") as advance:
        for item in golden:
            said[item.name] = answer(learner, [row.text for row in item.rows], max_length)
            advance(len(item.rows))
    return said


def present_answers(said: Answers, changes: LabelChanges) -> Answers:
    """A model's answers under the labels' present names, so that what was renamed or merged since is no mistake."""
    return {
        name: [(changes.name_of(label), confidence) for label, confidence in rows]
        for name, rows in said.items()
    }


def compare(
    golden: list[GoldenSet], before: Answers | None, after: Answers, *, own: str | None, confidence: float
) -> Scorecard:
    """Two models' answers on golden sets, the set named `own` apart from the prior ones."""
    scores = [
        score(item, None, [label for label, _ in after[item.name]], confidence=confidence)
        if before is None
        else compare_answers(
            item, list(zip(before[item.name], after[item.name], strict=True)), confidence=confidence
        )
        for item in golden
    ]
    return scorecard(
        next((s for s in scores if s.name == own), None),
        [s for s in scores if s.name != own],
        confidence=confidence,
        quality=_quality([item for item in golden if item.name != own], before, after),
    )


def _quality(golden: list[GoldenSet], before: Answers | None, after: Answers) -> Quality | None:
    """Macro-F1 and calibration over all these rows; None of none."""
    labels = [row.label for item in golden for row in item.rows]
    if not labels:
        return None
    figures: list[float | None] = []
    for said in (before, after):
        if said is None:
            figures += [None, None]
            continue
        answers, probabilities = zip(*(pair for item in golden for pair in said[item.name]), strict=True)
        right = [label == answer for label, answer in zip(labels, answers, strict=True)]
        figures += [macro_f1(labels, answers), calibration_error(right, probabilities)]
    f1_before, error_before, f1_after, error_after = figures
    assert f1_after is not None
    assert error_after is not None
    return Quality(f1_before, f1_after, error_before, error_after)


def unknown_labels(golden: list[GoldenSet], known: LabelSet) -> dict[str, list[str]]:
    """Golden set name to the labels of its rows that are not known; warns of each set that has some."""
    unknown: dict[str, list[str]] = {}
    for item in golden:
        lacking = [row.label for row in item.rows if row.label not in known]
        if lacking:
            unknown[item.name] = lacking
            logger.warning(
                "eval: golden set %s: %d of %d rows have a label that the candidate does not know and so cannot "
                "give: %s",
                item.name,
                len(lacking),
                len(item.rows),
                named(lacking),
            )
    return unknown


def _golden(context: RunContext) -> dict[Month, Path]:
    files = golden_files(context.workspace, context.config.golden.path, context.line, context.month)
    own = files.get(context.month)
    if (
        own is not None
        and own.is_relative_to(context.workspace.runs)
        and not own.is_relative_to(context.output("ingest"))
    ):
        del files[context.month]  # set aside by another attempt; this one has learned these rows
    return files


def missing_golden(context: RunContext) -> list[str]:
    """The months of the line of descent, and the month itself, that have no golden set."""
    there = _golden(context)
    return [str(month) for month in tested_months(context.line, context.month) if month not in there]


def _inputs(context: RunContext) -> dict[str, str]:
    inputs = golden_hashes(context.workspace, _golden(context))
    inputs["candidate"] = candidate_of(context).sha256
    if context.base is not None:
        inputs["base checkpoint"] = context.base.sha256
    for ref in context.line:
        file = predictions_file(context.workspace, ref)
        inputs[context.workspace.name_of(file)] = sha256_file(file)
    return inputs


def _settings(context: RunContext) -> dict[str, Any]:
    resolved = context.config.resolved()
    return {
        "gate": {key: value for key, value in resolved["gate"].items() if key != "patience"},
        "golden": resolved["golden"],
        "max_length": resolved["model"]["max_length"],
        "missing": missing_golden(context),
    }


def _require_the_ingested(context: RunContext, files: dict[Month, Path]) -> None:
    """Refuse golden sets that are not those which the month's feedback was held against: a row of them may be learned.

    Raises:
        BadData: one came, went or changed since ingest.
    """
    space, ingested = context.workspace, context.output("ingest")
    names = {space.name_of(file): file for file in files.values() if not file.is_relative_to(ingested)}
    recorded = require_stage(ingested).inputs
    for name in sorted(names.keys() | {name for name in recorded if is_golden_input(name)}):
        if context.inputs.get(name) != recorded.get(name):
            raise changed_input(names.get(name, space.root / name))


def _body(context: RunContext, folder: Path) -> None:
    files, changes = _golden(context), context.label_changes
    _require_the_ingested(context, files)
    written = recorded_golden_sets(
        context.workspace, files, context.inputs, task=context.task, dialect=dialect_of(context.config)
    )
    golden, retired = present_golden_sets(written.values(), changes)
    options: dict[str, Any] = {
        "max_length": context.config.model.max_length,
        "device": context.device,
        "progress": context.progress,
    }
    after = answers(context.output("finetune") / CHECKPOINT_FOLDER, golden, **options)
    before = None
    if context.base is not None:
        before = present_answers(_champions_answers(context, context.base, files, golden, options), changes)
    unknown = unknown_labels(golden, labels_of(context.attempt))
    limits = gate_limits(context.config)
    card = compare(golden, before, after, own=str(context.month), confidence=limits.confidence)
    if context.base is None or before is None:
        verdict = Verdict(True, (Check("launch", True, "the first champion has nothing to forget"),))
    else:
        prior = [item for item in golden if item.name != str(context.month)]
        known = present_names(checkpoint_labels(context.workspace.root / context.base.path), changes)
        line = context.line
        verdict = judge(
            card,
            limits,
            held=held_rows(
                prior, before, after, known=known, last=context.base.month, confidence=limits.confidence
            ),
            worn=worn_rows(
                context.workspace, line, prior, after, changes=changes, confidence=limits.confidence
            ),
            missing=missing_golden(context),
            unknown=unknown,
            retired=retired,
        )
    write_parquet(folder / PREDICTIONS_FILE, _prediction_rows(golden, before, after), PREDICTION_COLUMNS)
    atomic.write_json(folder / SCORECARD_FILE, asdict(card))
    atomic.write_json(folder / GATE_FILE, asdict(verdict))


def _champions_answers(
    context: RunContext,
    base: CheckpointRef,
    files: dict[Month, Path],
    golden: list[GoldenSet],
    options: dict[str, Any],
) -> Answers:
    """What the base says about golden sets: as it was recorded, and asked anew about the others."""
    names = {month: context.workspace.name_of(file) for month, file in files.items()}
    said = earlier_answers(
        context.workspace,
        base,
        {Month.parse(item.name): item for item in golden},
        {month: (name, context.inputs[name]) for month, name in names.items()},
        max_length=context.config.model.max_length,
    )
    others = [item for item in golden if item.name not in said]
    return said | (answers(context.workspace.root / base.path, others, **options) if others else {})


def _prediction_rows(golden: list[GoldenSet], before: Answers | None, after: Answers) -> list[dict[str, Any]]:
    rows = []
    for item in golden:
        for index, row in enumerate(item.rows):
            old = before[item.name][index] if before is not None else (None, None)
            new = after[item.name][index]
            rows.append(
                {
                    "golden": item.name,
                    "id": row.id,
                    "slice": row.slice,
                    "label": row.label,
                    "before": old[0],
                    "before_confidence": old[1],
                    "after": new[0],
                    "after_confidence": new[1],
                }
            )
    return rows


EVALUATE = Stage(
    name="eval",
    reads="the candidate, the base checkpoint, the golden sets of every month up to this one, earlier champions' answers",
    writes="scorecard.json, predictions.parquet, gate.json",
    inputs=_inputs,
    settings=_settings,
    body=_body,
)
