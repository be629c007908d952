"""Compare any two checkpoints on golden sets, by hand."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config
from pipeline.errors import NoInput
from pipeline.evaluation.gate import Verdict, judge
from pipeline.evaluation.scorecard import Scorecard
from pipeline.labels import LabelSet
from pipeline.months import Month
from pipeline.progress import Progress
from pipeline.recorded.checkpoint_labels import checkpoint_labels
from pipeline.recorded.gate_evidence import gate_limits, held_rows, present_names, worn_rows
from pipeline.recorded.golden_sets import golden_files, present_golden_sets, read_golden, tested_months
from pipeline.recorded.lineage import ancestors, label_changes, require_sound
from pipeline.recorded.rows import labels_of
from pipeline.sources.table import dialect_of
from pipeline.stages.evaluate import answers, compare, present_answers, unknown_labels
from pipeline.store.records import Manifest
from pipeline.store.workspace import Found, Workspace

PRIOR_MONTHS = "prior-months"


@dataclass(frozen=True)
class ComparisonResult:
    candidate: str
    baseline: str
    card: Scorecard
    verdict: Verdict


def compare_checkpoints(
    workspace: Workspace,
    config: Config,
    *,
    golden: str,
    candidate: str | None,
    baseline: str | None,
    device: str,
    progress: Progress,
) -> ComparisonResult:
    """Score a candidate beside a baseline and ask the gate.

    Args:
        golden: `prior-months`: the golden sets of all months of the line of descent before the
            candidate's, and its own month's; else one golden file.
        candidate: a REF; None for the newest finished attempt.
        baseline: a REF; None for the checkpoint that the candidate started from.

    Raises:
        NoInput: when a checkpoint, or the golden file that is named, is absent.
    """
    found = workspace.find(candidate) if candidate is not None else newest_candidate(workspace)
    manifest = found.run.read_manifest() if found.run is not None else None
    if baseline is not None:
        base = workspace.find(baseline)
    elif manifest is not None and manifest.parent is not None:
        base = workspace.find(manifest.parent.attempt)
    else:
        raise NoInput(f"{found.checkpoint}: started from no other checkpoint. Name one with --baseline REF")
    require_sound(workspace, found)
    require_sound(workspace, base)
    own: str | None = None
    missing: list[str] = []
    if golden == PRIOR_MONTHS:
        files, own, missing = _prior_files(workspace, config, found, base, manifest)
    else:
        path = _existing(workspace, golden)
        files = {path.stem: path}
    line = ancestors(workspace, base.ref)
    # of two models of the workspace, the later one says what labels are called
    months = [ref.month for ref in (found.ref, base.ref) if ref is not None]
    last = Month.parse(max(months, default="9999-12"))
    changes = label_changes(workspace, line or ancestors(workspace, found.ref), last)
    written = [read_golden(file, name=name, dialect=dialect_of(config)) for name, file in files.items()]
    sets, retired = present_golden_sets(written, changes)
    length = config.model.max_length
    after, before = (
        present_answers(
            answers(checkpoint, sets, max_length=length, device=device, progress=progress), changes
        )
        for checkpoint in (found.checkpoint, base.checkpoint)
    )
    limits = gate_limits(config)
    card = compare(sets, before, after, own=own, confidence=limits.confidence)
    known = labels_of(found.run) if found.run is not None else checkpoint_labels(found.checkpoint)
    known = LabelSet(tuple(dict.fromkeys(map(changes.name_of, known.names))))
    prior = [item for item in sets if item.name != own]
    verdict = judge(
        card,
        limits,
        held=held_rows(
            prior,
            before,
            after,
            known=present_names(checkpoint_labels(base.checkpoint), changes),
            last=base.ref.month if base.ref is not None and golden == PRIOR_MONTHS else None,
            confidence=limits.confidence,
        ),
        worn=worn_rows(workspace, line, prior, after, changes=changes, confidence=limits.confidence),
        missing=missing,
        unknown=unknown_labels(sets, known),
        retired=retired,
        own_required=golden == PRIOR_MONTHS,
    )
    return ComparisonResult(_shown(workspace, found), _shown(workspace, base), card, verdict)


def newest_candidate(workspace: Workspace) -> Found:
    """The candidate of the newest month that has a finished attempt with one.

    Raises:
        NoInput: when there is none.
    """
    for month in reversed(workspace.months()):
        for attempt in reversed(workspace.attempts(month)):
            if attempt.has_manifest() and attempt.read_manifest().candidate is not None:
                return workspace.find(attempt.attempt)
    raise NoInput(f"{workspace.root}: there is no candidate yet. Run: retrain run --month YYYY-MM")


def _prior_files(
    workspace: Workspace, config: Config, candidate: Found, base: Found, manifest: Manifest | None
) -> tuple[dict[str, Path], str | None, list[str]]:
    """Golden files by month, the candidate's own month, and the months that lack one."""
    line = ancestors(workspace, base.ref)
    own = Month.parse(manifest.month) if manifest is not None else None
    months = tested_months(line, own)
    if not months:
        raise NoInput(
            f"{candidate.checkpoint}: no month is known for it, so no month is prior. Name a golden file with --golden PATH"
        )
    files = golden_files(workspace, config.golden.path, line, own)
    missing = [str(month) for month in sorted(months) if month not in files]
    named = {str(month): file for month, file in files.items()}
    return named, str(own) if own is not None else None, missing


def _existing(workspace: Workspace, golden: str) -> Path:
    for path in (Path(golden), workspace.root / golden):
        if path.is_file():
            return path
    raise NoInput(f"golden set {golden}: no such file. Give a path, or --golden {PRIOR_MONTHS}")


def _shown(workspace: Workspace, found: Found) -> str:
    return found.ref.path if found.ref is not None else str(found.checkpoint)
