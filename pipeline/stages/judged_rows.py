"""All rows of a month's files, and of those that are learned with it, judged by the rules."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import BadData
from pipeline.evaluation.golden import GoldenSet
from pipeline.feedback import check_feedback, check_launch, texts_of
from pipeline.floods import Flood
from pipeline.labels import NO_LABELS, LabelSet
from pipeline.masking import Masking
from pipeline.months import Month
from pipeline.near import NearTexts
from pipeline.normal_text import normalise
from pipeline.recorded.checkpoint_labels import checkpoint_labels
from pipeline.recorded.lineage import why_not_learned
from pipeline.recorded.names import FEEDBACK_INPUT
from pipeline.row_policies import Spelling
from pipeline.rows import CheckedRows, RawRecord, Rejection, Row
from pipeline.sources.table import dialect_of
from pipeline.stages.as_tokens import ModelsEye
from pipeline.stages.feedback_files import read_records
from pipeline.stages.flood_watch import user_cap
from pipeline.stages.months_learned import joined, labels_in_use, tell_taken_names
from pipeline.stages.reviewed_rows import recorded_decisions, tell_decisions
from pipeline.stages.stage import RunContext
from pipeline.store.tables import changed_input

logger = logging.getLogger("retrain")


def input_name(context: RunContext, month: Month, file: Path) -> str:
    """What a file of feedback is called among the stage's recorded inputs.

    Raises:
        BadData: its name is no text.
    """
    try:
        file.name.encode("utf-8")
    except UnicodeEncodeError:
        raise BadData(f"{file}: its name is no UTF-8 text, and records hold text alone. Rename it") from None
    return f"{FEEDBACK_INPUT}{month} {file.name if context.launch is not None else context.workspace.name_of(file)}"


def _records(
    context: RunContext, month: Month, files: Mapping[Path, bool], labels: LabelSet
) -> list[RawRecord]:
    """The raw rows of a month's files, which are those that the stage recorded.

    Raises:
        BadData: a file came, went or changed since.
    """
    recorded = {name for name in context.inputs if name.startswith(f"{FEEDBACK_INPUT}{month} ")}
    names = {input_name(context, month, file): file for file in files}
    if recorded != names.keys():
        other = min(recorded ^ names.keys())
        raise changed_input(names.get(other) or context.workspace.root / other.split(" ", 2)[2])
    records = []
    dialect = replace(dialect_of(context.config), label_names=labels.names)
    for name, file in names.items():
        shown = name.removeprefix(f"{FEEDBACK_INPUT}{month} ")
        records += read_records(
            file,
            name=shown,
            of_one_month=files[file],
            sha256=context.inputs[name],
            dialect=dialect,
            required=context.task.fields if context.launch is not None else (*context.task.fields, "kind"),
            tell=True,
        )
    return records


def judged_rows(
    context: RunContext,
    files: Mapping[Month, Mapping[Path, bool]],
    golden: Mapping[Month, GoldenSet],
    set_aside: Mapping[Month, set[str]],
    model: ModelsEye,
    masking: Masking,
) -> tuple[CheckedRows, int]:
    """What became of all rows of all files, and how many were read.

    Args:
        files: by month, each with whether it is that month's alone.
        golden: the golden sets that no row may be of.
        set_aside: of earlier months, the normalised texts of rows that they made golden themselves.
        model: reads texts as the month's model does.
        masking: takes personal data out, and counts it; out of reasons and of users' names, too.

    Raises:
        BadData: a file came, went or changed since its hash was recorded, or cannot be read.
    """
    # without personal data from the start: a text that lost it would not be known again
    kept = Masking(masking.kinds)
    tested = [kept(row.text) for each in golden.values() for row in each.rows]
    golden_texts = {normalise(text) for text in tested}
    settings = context.config.ingest
    policies: Any = {
        "conflicts": settings.conflicts,
        "duplicates": settings.duplicates,
        "near_duplicates": settings.near_duplicates,
        "kept": masking,
    }
    if context.launch is not None:
        adopted = context.launch.checkpoint
        labels = checkpoint_labels(adopted) if adopted is not None else None
        records = _records(context, context.month, files[context.month], labels or NO_LABELS)
        checked = check_launch(
            records,
            month=context.month,
            golden_texts=golden_texts,
            golden_alike=model.same(map(kept, texts_of(records)), tested),
            labels=labels,
            task=context.task,
            **policies,
        )
        return _told(checked, kept), len(records)
    assert context.base is not None
    changes = context.label_changes
    labels = changes.renamed(checkpoint_labels(context.workspace.root / context.base.path))
    known = len(labels)
    by_month: dict[Month, Sequence[Row]] = {}
    rejected: list[Rejection] = []
    spelled: list[Spelling] = []
    floods: list[Flood] = []
    near = NearTexts(tested) if tested else None
    passed_over = repeated = near_golden = near_duplicates = corrected = count = 0
    for month, of_month in files.items():
        records = _records(context, month, of_month, labels)
        checked = check_feedback(
            records,
            month=month,
            labels=labels,
            golden_texts=golden_texts,
            golden_alike=model.same(map(kept, texts_of(records)), tested),
            set_aside=set_aside.get(month, ()),
            changes=changes,
            task=context.task,
            cap=user_cap(context),
            near=near,
            refuse_near=settings.near_golden == "refuse",
            decisions=recorded_decisions(context, month),
            **policies,
        )
        labels = checked.labels
        by_month[month] = checked.rows
        tell_taken_names(month, records, changes)
        tell_decisions(context, month, checked)
        if month != context.month:
            logger.info(
                "ingest: %s %s: its %d rows are learned with %s",
                month,
                why_not_learned(context.workspace, month),
                len(checked.rows),
                context.month,
            )
        rejected.extend(checked.rejected)
        spelled.extend(checked.spellings)
        floods.extend(checked.floods)
        repeated += checked.repeated
        near_golden += checked.near_golden
        near_duplicates += checked.near_duplicates
        corrected += checked.corrected
        passed_over += checked.passed_over
        count += len(records)
    rows = tuple(joined(by_month, settings.conflicts))
    labels = labels_in_use(labels, rows, known=known, task=context.task)
    found = CheckedRows(
        rows=rows,
        labels=labels,
        rejected=tuple(rejected),
        spellings=tuple(spelled),
        repeated=repeated,
        passed_over=passed_over,
        near_golden=near_golden,
        floods=tuple(floods),
        near_duplicates=near_duplicates,
        corrected=corrected,
    )
    return _told(found, kept), count


def _told(checked: CheckedRows, kept: Callable[[str], str]) -> CheckedRows:
    """The same, with nothing in what is told of rows that is not kept of them."""
    rejected = tuple(replace(each, reason=kept(each.reason)) for each in checked.rejected)
    floods = tuple(replace(each, name=kept(each.name)) for each in checked.floods)
    return replace(checked, rejected=rejected, floods=floods)
