"""Ingest: raw feedback rows to training and validation tables, a label set and refused rows with reasons."""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.errors import BadData
from pipeline.evaluation.golden import GoldenSet
from pipeline.masking import Masking
from pipeline.months import Month
from pipeline.normal_text import normalise
from pipeline.recorded.checkpoint_labels import checkpoint_labels
from pipeline.recorded.golden_sets import golden_files, golden_hashes, recorded_golden_sets
from pipeline.recorded.names import (
    ADOPTED_INPUT,
    BASE_INPUT,
    CHANGES_INPUT,
    LABELS_FILE,
    OWN_GOLDEN_FILE,
    SUMMARY_FILE,
    TRAIN_FILE,
    VALIDATION_FILE,
)
from pipeline.recorded.rows import ROW_COLUMNS
from pipeline.rows import Row
from pipeline.sampling import hold_out, set_aside, stratified
from pipeline.sources.read import table_hash
from pipeline.sources.table import dialect_of
from pipeline.stages.as_tokens import ModelsEye, models_eye, tell_lengths, tell_markers
from pipeline.stages.feedback_files import feedback_files, patterns_of, tell_beside
from pipeline.stages.flood_watch import watch_floods
from pipeline.stages.golden_labels import tell_misspelled, watch_golden_conflicts
from pipeline.stages.judged_rows import input_name, judged_rows
from pipeline.stages.label_weight import weigh_labels
from pipeline.stages.links import shown_path, tell_links
from pipeline.stages.month_drift import month_drift
from pipeline.stages.months_learned import (
    learned_golden_rows,
    months_learned,
    tell_left_out,
)
from pipeline.stages.refused_rows import (
    reason,
    reasons,
    tell_cap,
    tell_masked,
    tell_policies,
    write_rejected,
)
from pipeline.stages.reviewed_rows import decision_hashes
from pipeline.stages.stage import RunContext, Stage
from pipeline.store import atomic
from pipeline.store.checkpoints import adopted_hash
from pipeline.store.hashing import sha256_json
from pipeline.store.tables import (
    write_jsonl,
    write_parquet,
)

logger = logging.getLogger("retrain")


def _files(context: RunContext) -> dict[Month, dict[Path, bool]]:
    """Month to its files, each with whether it is that month's alone."""
    if context.launch is not None:
        return {context.month: {context.launch.data: True}}
    patterns = patterns_of(context.config)
    *carried, own = months_learned(context)
    files = {
        month: feedback_files(
            context.workspace,
            patterns,
            month,
            advice=f"It is learned with {context.month}, as it was not before. Put it back, or leave such months out "
            f"with -o ingest.leave_out=[{month}]",
        )
        for month in carried
    }
    return files | {own: feedback_files(context.workspace, patterns, own)}


def golden_of(context: RunContext) -> dict[Month, Path]:
    """The golden sets, by month, that no row of a month may be of."""
    files = golden_files(context.workspace, context.config.golden.path, context.line, context.month)
    if context.month in files and files[context.month].is_relative_to(context.workspace.runs):
        del files[context.month]  # what this month set aside itself is an output, not an input
    return files


def _inputs(context: RunContext) -> dict[str, str]:
    inputs = golden_hashes(context.workspace, golden_of(context))
    files_by_month = _files(context)
    for month, files in files_by_month.items():
        for file in files:
            inputs[input_name(context, month, file)] = table_hash(file)
    inputs |= decision_hashes(context, files_by_month)
    if context.base is not None:
        inputs[BASE_INPUT] = context.base.sha256
    elif context.launch is not None and context.launch.checkpoint is not None:
        inputs[ADOPTED_INPUT] = adopted_hash(context.launch.checkpoint)
    if context.label_changes.changes:
        inputs[CHANGES_INPUT] = sha256_json(context.label_changes.as_records())
    return inputs


def _settings(context: RunContext) -> dict[str, Any]:
    resolved = context.config.resolved()
    resolved["ingest"].pop("leave_out")  # it is in `months` what becomes of it
    resolved["ingest"].pop("reviewed")  # what lies there is an input
    resolved["ingest"].pop("sql")  # what it gave is a file among the inputs
    return {
        "ingest": resolved["ingest"],
        "golden": resolved["golden"],
        "months": [str(m) for m in months_learned(context)],
        "max_length": resolved["model"]["max_length"],
    } | ({"base": resolved["model"]["base"]} if _trains_the_pretrained(context) else {})


def _trains_the_pretrained(context: RunContext) -> bool:
    if context.launch is not None:
        return context.launch.checkpoint is None
    return context.recipe.from_scratch


def _set_aside(context: RunContext, golden: Mapping[Month, GoldenSet]) -> dict[Month, set[str]]:
    """The normalised texts that earlier months made their golden sets before training."""
    return {
        month: {normalise(row.text) for row in golden[month].rows}
        for month, file in golden_of(context).items()
        if month != context.month and file.is_relative_to(context.workspace.runs)
    }


def _body(context: RunContext, folder: Path) -> None:
    files = _files(context)
    tell_left_out(context)
    golden_by_month = golden_of(context)
    read = [file for of_month in files.values() for file in of_month]
    tell_links(context.workspace, "ingest", [context.workspace.runs, *read, *golden_by_month.values()])
    golden = recorded_golden_sets(
        context.workspace,
        golden_by_month,
        context.inputs,
        task=context.task,
        dialect=dialect_of(context.config),
    )
    golden_conflicts = watch_golden_conflicts(context, golden, golden_by_month)
    model = models_eye(context)
    masking = Masking(context.config.ingest.mask)
    checked, read_rows = judged_rows(context, files, golden, _set_aside(context, golden), model, masking)
    misspelled = tell_misspelled(context, golden, golden_by_month, checked.labels)
    tell_masked(masking)
    tell_beside(context, read)
    tell_policies(checked)
    count = read_rows - checked.passed_over
    write_rejected(folder, checked, context.config.ingest.mask)
    limit = context.config.ingest.max_rejected
    where = ", ".join(shown_path(context.workspace, file) for file in read)
    if not checked.rows:
        raise BadData(f"{where}: none of {count} rows can be used. {reasons(checked, folder)}")
    refused = Counter(rejection.code for rejection in checked.rejected)
    retired = refused["retired_label"]
    meant = sum(rejection.on_purpose for rejection in checked.rejected)
    bad = len(checked.rejected) - meant
    if bad > limit * (count - meant):
        raise BadData(
            f"{where}: {bad} of {count - meant} rows are refused, at most {100 * limit:g}% may be "
            f"(ingest.max_rejected). {reasons(checked, folder)}"
        )
    if context.launch is not None and len(checked.labels) < 2:
        raise BadData(
            f"{where}: every row has the label {checked.labels.names[0]!r}, expected two labels or more: there would be "
            "nothing to tell apart. Add rows of other labels"
        )
    known = checkpoint_labels(context.workspace.root / context.base.path).names if context.base else ()
    new = checked.labels.names[len(known) :]
    weigh_labels(context, checked.rows, known, new, where)
    floods = watch_floods(context, checked, where) if context.base is not None else []
    if checked.rejected:
        logger.info(
            "ingest: %d of %d rows are refused%s; rejected.jsonl says why. First: %s",
            len(checked.rejected),
            count,
            f", {retired} of them because their label is retired" if retired else "",
            reason(checked.rejected[0]),
        )
    seed, settings = context.config.seed, context.config.ingest
    rows, aside = list(checked.rows), list[Row]()
    if settings.max_rows:
        rows = stratified(rows, settings.max_rows, seed=seed, learned=new, task=context.task)
        tell_cap(len(checked.rows), len(rows))
    if settings.golden_fraction and context.month not in golden:
        rows, aside = _apart(
            model, *set_aside(rows, settings.golden_fraction, seed=seed, learned=new, task=context.task)
        )
    train, validation = hold_out(
        rows, settings.validation, seed=seed, purpose="validation", learned=new, task=context.task
    )
    write_parquet(folder / TRAIN_FILE, [row.as_record() for row in train], ROW_COLUMNS)
    write_parquet(folder / VALIDATION_FILE, [row.as_record() for row in validation], ROW_COLUMNS)
    if aside:
        lines = [{"id": row.id, "text": row.text, "label": row.label} for row in aside]
        write_jsonl(folder / OWN_GOLDEN_FILE, lines)
    atomic.write_json(folder / LABELS_FILE, list(checked.labels.names))
    if context.launch is not None and context.month not in golden and not aside:
        logger.warning(
            "ingest: %s has no golden set, and the gate refuses every later month without it. Put one at %s",
            context.month,
            context.config.golden.path.replace("{month}", str(context.month)),
        )
    lengths = model.lengths([row.text for row in checked.rows])
    golden_rows = [row.text for each in golden.values() for row in each.rows]
    golden_lengths = model.lengths(golden_rows)
    tell_lengths("the feedback" if context.base else "the launch rows", lengths, model.max_length)
    tell_lengths("the golden sets", golden_lengths, model.max_length)
    tell_markers(model.holding_markers([*(row.text for row in checked.rows), *golden_rows]))
    learned = learned_golden_rows(context, golden, Masking(masking.kinds))
    for month, count in learned.items():
        logger.warning(
            "ingest: %d row(s) of %s were trained on in earlier months: its accuracy is flattered. Replace them",
            count,
            shown_path(context.workspace, golden_of(context)[month]),
        )
    atomic.write_json(
        folder / SUMMARY_FILE,
        {
            "months": [str(month) for month in months_learned(context)],
            "read": read_rows,
            "rows": len(checked.rows),
            "train": len(train),
            "validation": len(validation),
            "golden": len(aside),
            "golden_conflicts": golden_conflicts,
            "golden_misspelled": misspelled,
            "golden_learned_before": sum(learned.values()),
            "rejected": len(checked.rejected),
            "rejected_by_rule": dict(sorted(refused.items())),
            "passed_over": checked.passed_over,
            "given_again": count - len(checked.rejected) - len(checked.rows),
            "floods": floods,
            "drift": month_drift(context, train),
            "beyond_max_rows": len(checked.rows) - len(rows) - len(aside),
            "masked": dict(sorted(masking.found.items())),
            "repeated": checked.repeated,
            "near_duplicates": checked.near_duplicates,
            "near_golden": checked.near_golden,
            "corrected": checked.corrected,
            "respelled": sum(spelling.rows for spelling in checked.spellings),
            "lengths": asdict(lengths),
            "golden_lengths": asdict(golden_lengths),
            "kinds": dict(sorted(Counter(row.kind for row in checked.rows).items())),
            "labels": len(checked.labels) - len(context.label_changes.closed_ids(checked.labels)),
            "new_labels": list(new) if context.base else [],
            "new_label_rows": sum(row.label in new for row in train) if context.base else 0,
            **_changed_labels(context, retired),
        },
    )


def _apart(model: ModelsEye, rows: list[Row], aside: list[Row]) -> tuple[list[Row], list[Row]]:
    """(kept, golden) again, with golden rows that a kept row is to the model put back: it would be tested on them."""
    back = model.same((row.text for row in aside), (row.text for row in rows))
    return rows + [row for row in aside if row.text in back], [row for row in aside if row.text not in back]


def _changed_labels(context: RunContext, retired: int) -> dict[str, Any]:
    """What the summary says of label changes, in workspaces that have some."""
    changes = context.label_changes
    if not changes.changes:
        return {}
    new = [str(change) for change in context.new_label_changes.changes]
    return {"label_changes": changes.as_records(), "new_label_changes": new, "rejected_retired": retired}


INGEST = Stage(
    name="ingest",
    reads="the month's feedback (and that of refused months before it), golden sets, the base checkpoint's labels",
    writes="train.parquet, validation.parquet, rejected.jsonl, labels.json, summary.json",
    inputs=_inputs,
    settings=_settings,
    body=_body,
)
