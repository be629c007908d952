"""Ingest: raw feedback rows to training and validation tables, a label set and refused rows with reasons."""

import logging
from collections import Counter
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pipeline.errors import BadData, NoInput
from pipeline.feedback import (
    CheckedRows,
    Record,
    Rejection,
    Row,
    check_feedback,
    check_launch,
    hold_out,
    normalise,
)
from pipeline.labels import LabelSet
from pipeline.months import Month
from pipeline.stages.golden_sets import OWN_GOLDEN_FILE, golden_files, golden_hashes, read_golden
from pipeline.stages.lineage import ancestors, refused_months
from pipeline.stages.month_contents import SUMMARY_FILE
from pipeline.stages.stage import RunContext, Stage
from pipeline.store import atomic
from pipeline.store.hashing import sha256_file
from pipeline.store.records import CheckpointRef
from pipeline.store.run_directory import Workspace
from pipeline.store.tables import SUFFIXES, ColumnType, read_parquet, read_table, write_jsonl, write_parquet

ROW_COLUMNS: dict[str, ColumnType] = {field.name: "string" for field in fields(Row)}
TRAIN_FILE, VALIDATION_FILE = "train.parquet", "validation.parquet"
REJECTED_FILE, LABELS_FILE = "rejected.jsonl", "labels.json"
logger = logging.getLogger("retrain")


def feedback_files(workspace: Workspace, patterns: list[str], month: Month) -> list[Path]:
    """The files of a month's feedback, sorted: each pattern names a file, a folder or a glob.

    Raises:
        NoInput: when there is no file at all; names the patterns that were tried.
    """
    files: list[Path] = []
    tried = [pattern.replace("{month}", str(month)) for pattern in patterns]
    for pattern in tried:
        path = workspace.root / pattern
        if path.is_dir():
            files.extend(sorted(f for f in path.iterdir() if f.suffix.lower() in SUFFIXES))
        elif path.is_file():
            files.append(path)
        elif Path(pattern).is_absolute():
            anchor = Path(pattern).anchor
            files.extend(
                sorted(f for f in Path(anchor).glob(str(Path(pattern).relative_to(anchor))) if f.is_file())
            )
        else:
            files.extend(sorted(f for f in workspace.root.glob(pattern) if f.is_file()))
    if not files:
        raise NoInput(
            f"{month}: no feedback: looked for {', '.join(tried)} in {workspace.root}. "
            "Put the file there, or record a month without feedback with --allow-empty"
        )
    return list(dict.fromkeys(files))


def read_records(file: Path) -> list[Record]:
    """The raw rows of one file, with the reason for each that could not be read."""
    return [
        Record(str(file), row.line, None, row.value)
        if isinstance(row.value, str)
        else Record(str(file), row.line, row.value)
        for row in read_table(file)
    ]


def _months(context: RunContext) -> list[Month]:
    """The months whose feedback is learned: refused earlier ones first, then the month itself."""
    if context.base is None or not context.config.ingest.carry_refused:
        return [context.month]
    return [*refused_months(context.workspace, context.base, context.month), context.month]


def _files(context: RunContext) -> dict[Month, list[Path]]:
    if context.launch is not None:
        return {context.month: [context.launch.data]}
    patterns = [source.path for source in context.config.ingest.sources]
    return {month: feedback_files(context.workspace, patterns, month) for month in _months(context)}


def _golden(context: RunContext) -> dict[Month, Path]:
    line = ancestors(context.workspace, context.base)
    first = Month.parse(line[0].month) if line else context.month
    own = context.workspace.root / context.config.golden.path.replace("{month}", str(context.month))
    files = golden_files(context.workspace, context.config.golden.path, first=first, last=context.month)
    if not own.is_file():
        files.pop(context.month, None)  # what this month set aside itself is an output, not an input
    return files


def _inputs(context: RunContext) -> dict[str, str]:
    inputs = golden_hashes(context.workspace, _golden(context))
    for month, files in _files(context).items():
        inputs |= {f"feedback {month} {file.name}": sha256_file(file) for file in files}
    if context.base is not None:
        inputs["base checkpoint"] = context.base.sha256
    return inputs


def _settings(context: RunContext) -> dict[str, Any]:
    resolved = context.config.resolved()
    return {
        "ingest": resolved["ingest"],
        "golden": resolved["golden"],
        "months": [str(m) for m in _months(context)],
    }


def base_labels(workspace: Workspace, base: CheckpointRef) -> LabelSet:
    """The label set of a checkpoint, from its config.json."""
    file = workspace.root / base.path / "config.json"
    content = atomic.read_json(file)
    label2id = content.get("label2id", {}) if isinstance(content, dict) else {}
    return LabelSet.from_label2id(label2id, where=str(file))


def _check(context: RunContext, golden_texts: set[str]) -> tuple[CheckedRows, int]:
    """All rows of all files, and how many raw rows there were."""
    if context.launch is not None:
        records = read_records(context.launch.data)
        labels = None
        if context.launch.checkpoint is not None:
            content = atomic.read_json(context.launch.checkpoint / "config.json")
            label2id = content.get("label2id", {}) if isinstance(content, dict) else {}
            labels = LabelSet.from_label2id(label2id, where=str(context.launch.checkpoint / "config.json"))
        return (
            check_launch(records, month=context.month, golden_texts=golden_texts, labels=labels),
            len(records),
        )
    assert context.base is not None
    labels = base_labels(context.workspace, context.base)
    rows: list[Row] = []
    rejected: list[Rejection] = []
    count = 0
    named = all("{month}" in source.path for source in context.config.ingest.sources)
    for month, files in _files(context).items():
        records = [record for file in files for record in read_records(file)]
        checked = check_feedback(
            records, month=month, labels=labels, golden_texts=golden_texts, only_this_month=named
        )
        labels = checked.labels
        learned = {row.id for row in checked.rows}
        rows = [row for row in rows if row.id not in learned] + list(checked.rows)
        rejected.extend(checked.rejected)
        count += len(checked.rows) + len(checked.rejected)
    return CheckedRows(tuple(rows), labels, tuple(rejected)), count


def _body(context: RunContext, folder: Path) -> None:
    golden_texts = {
        normalise(row.text)
        for month, file in _golden(context).items()
        for row in read_golden(file, name=str(month)).rows
    }
    checked, count = _check(context, golden_texts)
    _write_rejected(folder, checked)
    limit = context.config.ingest.max_rejected
    where = ", ".join(_shown(context.workspace, file) for files in _files(context).values() for file in files)
    if not checked.rows:
        raise BadData(f"{where}: none of {count} rows can be used. {_reasons(checked, folder)}")
    if len(checked.rejected) > limit * count:
        raise BadData(
            f"{where}: {len(checked.rejected)} of {count} rows are refused, at most {100 * limit:g}% may be "
            f"(ingest.max_rejected). {_reasons(checked, folder)}"
        )
    rows, aside = list(checked.rows), list[Row]()
    if context.config.ingest.golden_fraction and context.month not in _golden(context):
        rows, aside = hold_out(
            rows, context.config.ingest.golden_fraction, seed=context.config.seed, purpose="golden"
        )
    train, validation = hold_out(
        rows, context.config.ingest.validation, seed=context.config.seed, purpose="validation"
    )
    write_parquet(folder / TRAIN_FILE, [asdict(row) for row in train], ROW_COLUMNS)
    write_parquet(folder / VALIDATION_FILE, [asdict(row) for row in validation], ROW_COLUMNS)
    if aside:
        lines = [{"id": row.id, "text": row.text, "label": row.label} for row in aside]
        write_jsonl(folder / OWN_GOLDEN_FILE, lines)
    atomic.write_json(folder / LABELS_FILE, list(checked.labels.names))
    known = len(base_labels(context.workspace, context.base)) if context.base else 0
    learned = _learned_golden_rows(context)
    if learned:
        logger.warning(
            "ingest: %d row(s) of %s were trained on in earlier months: its accuracy is flattered. Replace them",
            learned,
            _shown(context.workspace, _golden(context)[context.month]),
        )
    atomic.write_json(
        folder / SUMMARY_FILE,
        {
            "months": [str(month) for month in _months(context)],
            "rows": len(checked.rows),
            "train": len(train),
            "validation": len(validation),
            "golden": len(aside),
            "golden_learned_before": learned,
            "rejected": len(checked.rejected),
            "kinds": dict(sorted(Counter(row.kind for row in checked.rows).items())),
            "labels": len(checked.labels),
            "new_labels": list(checked.labels.names[known:]) if context.base else [],
        },
    )


def _learned_golden_rows(context: RunContext) -> int:
    """How many rows of the month's own golden set earlier months were trained on, before the set was there."""
    file = _golden(context).get(context.month)
    if file is None:
        return 0
    learned = {
        normalise(str(row["text"]))
        for checkpoint in ancestors(context.workspace, context.base)
        for row in read_parquet(context.workspace.attempt(checkpoint.attempt).stage("ingest") / TRAIN_FILE)
    }
    return sum(normalise(row.text) in learned for row in read_golden(file, name=str(context.month)).rows)


def _write_rejected(folder: Path, checked: CheckedRows) -> None:
    lines = [
        {"file": Path(r.file).name, "line": r.line, "reason": r.reason, "row": _plain(r.fields)}
        for r in checked.rejected
    ]
    write_jsonl(folder / REJECTED_FILE, lines)


def _plain(record: Any) -> Any:
    if record is None:
        return None
    return {str(k): v if isinstance(v, str | int | bool | None) else str(v) for k, v in record.items()}


def _reasons(checked: CheckedRows, folder: Path) -> str:
    shown = "; ".join(f"{Path(r.file).name} line {r.line}: {r.reason}" for r in checked.rejected[:3])
    return f"First: {shown}. All are in {folder / REJECTED_FILE}" if shown else "The files hold no rows"


def _shown(workspace: Workspace, file: Path) -> str:
    return str(file.relative_to(workspace.root)) if file.is_relative_to(workspace.root) else str(file)


INGEST = Stage(
    name="ingest",
    reads="the month's feedback (and that of refused months before it), golden sets, the base checkpoint's labels",
    writes="train.parquet, validation.parquet, rejected.jsonl, labels.json, summary.json",
    inputs=_inputs,
    settings=_settings,
    body=_body,
)
