"""Gather what an attempt recorded and write its report.html."""

from __future__ import annotations

import logging
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StoppedBySignal, UsageError
from pipeline.evaluation.accuracy_matrix import AccuracyMatrix, accuracy_matrix
from pipeline.evaluation.scorecard import Scorecard
from pipeline.inspection.diagnosis import recorded_movements
from pipeline.inspection.drift_lines import recorded_drift
from pipeline.inspection.history import outcome_of
from pipeline.months import Month
from pipeline.recorded.gate_evidence import recorded_power
from pipeline.recorded.golden_sets import golden_file, read_golden
from pipeline.recorded.lineage import ancestors
from pipeline.recorded.month_contents import cut_texts
from pipeline.recorded.names import DELTAS_FILE, METRICS_FILE, REJECTED_FILE, SCORECARD_FILE, SUMMARY_FILE
from pipeline.recorded.scorecards import earlier_scorecards, recorded_scorecard, recorded_verdict
from pipeline.recorded.tune_record import recorded_frontier
from pipeline.sources.table import recorded_dialect
from pipeline.store import atomic, reading
from pipeline.store.output_places import require_place_for_a_page
from pipeline.store.records import CheckpointRef, Manifest
from pipeline.store.run_directory import RunDirectory
from pipeline.store.stage_directory import find_output
from pipeline.store.tables import read_jsonl
from pipeline.store.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.report.contents import GroupCell, RefusedRows, ReportContents

logger = logging.getLogger("retrain")
PLACES_SHOWN = 5


def write_report(
    workspace: Workspace, ref: str, *, include_text: bool = False, output: Path | None = None
) -> Path:
    """Write the report of the attempt that a REF names, beside its manifest or to `output`.

    Raises:
        NoInput, UsageError: when the REF names no attempt.
    """
    from pipeline.report.page import render_page

    found = workspace.find(ref)
    if found.run is None:
        raise UsageError(f"{ref}: is a checkpoint outside of the runs; there is no attempt to report on")
    target = output if output is not None else found.run.report_file
    if output is not None:
        require_place_for_a_page(workspace, output)
    page = render_page(report_contents(workspace, found.run, include_text=include_text))
    atomic.write_file(target, page.encode("utf-8"))
    return target


def try_report(workspace: Workspace, attempt: RunDirectory) -> None:
    """Write an attempt's report; one that fails is logged, and never fails the run that it is about."""
    try:
        write_report(workspace, attempt.attempt)
    except StoppedBySignal:
        raise
    except Exception as error:
        logger.warning(
            "%s: the report could not be written: %s: %s. Run: retrain report %s",
            attempt.month,
            type(error).__name__,
            error,
            attempt.attempt,
        )


def report_contents(workspace: Workspace, attempt: RunDirectory, *, include_text: bool) -> ReportContents:
    """What an attempt's page shows; customer text only when asked for."""
    from pipeline.report.contents import Ancestor, ReportContents

    manifest = attempt.read_manifest()
    evaluated = _is_evaluated(attempt)
    card = recorded_scorecard(attempt.stage("eval")) if evaluated else None
    summary: Any = _read_json(attempt.stage("ingest"), SUMMARY_FILE) or {}
    deltas: Any = _read_json(attempt.stage("finetune"), DELTAS_FILE) or []
    line = ancestors(workspace, manifest.candidate or manifest.parent)
    return ReportContents(
        month=manifest.month,
        attempt=manifest.attempt,
        kind=manifest.kind,
        arm=manifest.arm,
        outcome=outcome_of(manifest),
        card=card,
        verdict=recorded_verdict(attempt.stage("eval")) if evaluated else None,
        power=recorded_power(manifest, card) if card else None,
        matrix=_matrix(workspace, attempt),
        metrics=tuple(_read_lines(attempt.stage("finetune"), METRICS_FILE)),
        deltas=tuple(deltas),
        cells=_cells(workspace, manifest),
        frontier=recorded_frontier(attempt),
        counts=_counts(summary),
        refused=_refused(attempt, include_text=include_text),
        lineage=tuple(
            Ancestor(ref.month, ref.attempt, ref.sha256, _label_changes(workspace, ref)) for ref in line
        ),
        texts=_texts(workspace, manifest, card) if include_text and card else {},
        command=_command(manifest),
        facts=_facts(manifest),
        hashes=_hashes(manifest),
        drift=recorded_drift(summary, include_text=include_text),
    )


def _is_evaluated(attempt: RunDirectory) -> bool:
    return (attempt.stage("eval") / SCORECARD_FILE).exists()


def _matrix(workspace: Workspace, attempt: RunDirectory) -> AccuracyMatrix:
    """Each earlier month's newest evaluated attempt, and this one."""
    cards = earlier_scorecards(workspace, attempt.month)
    if _is_evaluated(attempt):
        cards[str(attempt.month)] = recorded_scorecard(attempt.stage("eval"))
    return accuracy_matrix(cards)


def _cells(workspace: Workspace, manifest: Manifest) -> tuple[GroupCell, ...]:
    from pipeline.ewc.layers import natural
    from pipeline.ewc.movement import ALL, KINDS
    from pipeline.report.contents import GroupCell

    moved = [m for m in recorded_movements(workspace, manifest) if m.kind != ALL]
    in_order = sorted(moved, key=lambda m: (natural(m.group), KINDS.index(m.kind)))
    return tuple(GroupCell(m.group, m.kind, m.relative, m.weighted_share) for m in in_order)


def _label_changes(workspace: Workspace, ref: CheckpointRef) -> tuple[str, ...]:
    """What became of labels with a checkpoint, as its ingest recorded it."""
    summary: Any = _read_json(workspace.attempt(ref.attempt).stage("ingest"), SUMMARY_FILE) or {}
    return tuple(summary.get("new_label_changes", ()))


def _counts(summary: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    names = {
        "rows": "rows",
        "train": "trained on",
        "validation": "held out to watch the loss",
        "golden": "set aside as golden set",
        "golden_learned_before": "golden rows trained on in earlier months",
        "rejected": "refused",
        "labels": "labels",
    }
    counts = [(title, f"{summary[key]:,}") for key, title in names.items() if key in summary]
    counts += [(title, text) for title, text in cut_texts(summary).items()]
    if summary.get("kinds"):
        counts.append(("kinds", ", ".join(f"{count} {kind}" for kind, count in summary["kinds"].items())))
    if summary.get("months"):
        counts.append(("feedback of", ", ".join(summary["months"])))
    counts.append(("new labels", ", ".join(summary.get("new_labels", [])) or "none"))
    if summary.get("new_label_changes"):
        counts.append(("label changes", "; ".join(summary["new_label_changes"])))
    if summary.get("rejected_retired"):
        counts.append(("refused because their label is retired", f"{summary['rejected_retired']:,}"))
    return tuple(counts)


def _refused(attempt: RunDirectory, *, include_text: bool) -> tuple[RefusedRows, ...]:
    from pipeline.report.contents import RefusedRows

    places: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    for row in _read_lines(attempt.stage("ingest"), REJECTED_FILE):
        reason = str(row["reason"]) if include_text else without_values(str(row["reason"]))
        counts[reason] += 1
        if counts[reason] <= PLACES_SHOWN:
            places.setdefault(reason, []).append(f"{row['file']} line {row['line']}")
    return tuple(RefusedRows(reason, tuple(places[reason]), count) for reason, count in counts.most_common())


def without_values(reason: str) -> str:
    """A reason without the values that it quotes, which are what somebody wrote."""
    return re.sub(r"'[^']*'|\"[^\"]*\"", "…", re.sub(r", found .*", ", found something else", reason))


def _texts(workspace: Workspace, manifest: Manifest, card: Scorecard) -> dict[tuple[str, str], str]:
    golden: Any = manifest.config["golden"]
    dialect = recorded_dialect(manifest.config)
    texts = {}
    for item in card.scores:
        if not item.flips:
            continue
        file = golden_file(workspace, golden["path"], Month.parse(item.name))
        wanted = {flip.id for flip in item.flips}
        for row in read_golden(file, name=item.name, dialect=dialect).rows if file is not None else ():
            if row.id in wanted:
                texts[item.name, row.id] = row.text
    return texts


def _command(manifest: Manifest) -> str:
    """What makes the attempt again; a launch's data is known to the command line alone."""
    if manifest.kind == "launch":
        return shlex.join(
            manifest.command or ("retrain", "launch", "--data", "FILE", "--month", manifest.month)
        )
    environment = manifest.environment
    words = [
        *("retrain", "run", "--workspace", ".", "--config", f"runs/{manifest.attempt}/config.yaml"),
        *("--month", manifest.month, "--device", environment.device, "--threads", str(environment.threads)),
        "--force",
    ]
    return shlex.join(words)


def _facts(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    environment = manifest.environment
    commit = environment.git_commit or "unknown"
    return (
        ("seed", str(manifest.seed)),
        ("device", environment.accelerator or f"{environment.device} ({environment.cpu_capability})"),
        ("precision", environment.precision),
        ("threads", str(environment.threads)),
        ("python", environment.python),
        (
            "packages",
            ", ".join(f"{name} {version}" for name, version in sorted(environment.packages.items())),
        ),
        ("git commit", f"{commit} (with local changes)" if environment.git_dirty else commit),
        ("as it was called", shlex.join(manifest.command) or "from Python"),
    )


def _hashes(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    found = []
    for stage in manifest.stages.values():
        found += [(f"{stage.stage} reads {name}", digest) for name, digest in stage.inputs.items()]
        found += [(f"{stage.stage} writes {name}", digest) for name, digest in stage.outputs.items()]
    return tuple(found)


def _read_json(stage: Path, name: str) -> object:
    file = find_output(stage, name)
    return reading.read_json(file) if file is not None else None


def _read_lines(stage: Path, name: str) -> list[dict[str, Any]]:
    file = find_output(stage, name)
    return list(read_jsonl(file)) if file is not None else []
