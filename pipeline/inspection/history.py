"""What happened in a workspace: attempts with their outcomes, and the accuracy matrix."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.errors import UsageError
from pipeline.evaluation.accuracy_matrix import AccuracyMatrix, accuracy_matrix
from pipeline.evaluation.gate import Verdict
from pipeline.evaluation.scorecard import Scorecard
from pipeline.months import Month
from pipeline.recorded.lineage import ancestors, label_changes
from pipeline.recorded.month_contents import cut_texts
from pipeline.recorded.names import DELTAS_FILE, SCORECARD_FILE, SUMMARY_FILE
from pipeline.recorded.scorecards import recorded_scorecard, recorded_verdict
from pipeline.store import reading
from pipeline.store.records import Manifest
from pipeline.store.registry import has_lost_weights, read_registry, succession
from pipeline.store.run_directory import RunDirectory
from pipeline.store.stage_directory import find_output
from pipeline.store.workspace import Workspace


@dataclass(frozen=True)
class AttemptSummary:
    attempt: str
    kind: str
    arm: str
    outcome: str
    is_champion: bool
    weights_removed: bool = False
    """Whether gc took the weights, so that nothing can start from it."""
    rolled_back: bool = False
    """Whether it was champion and did not lead to the present one."""


@dataclass(frozen=True)
class History:
    """A workspace at a glance.

    Attributes:
        champion: the registry's, as plain values; None before the launch.
        label_changes: in words, those that come into force later among them.
        matrix: of each month's newest evaluated attempt.
    """

    champion: dict[str, Any] | None
    label_changes: tuple[str, ...]
    attempts: tuple[AttemptSummary, ...]
    matrix: AccuracyMatrix


@dataclass(frozen=True)
class AttemptDetails:
    """One attempt: facts for people, `record` for programs."""

    facts: dict[str, str]
    record: dict[str, Any]
    card: Scorecard | None
    verdict: Verdict | None
    deltas: list[dict[str, Any]]


def outcome_of(manifest: Manifest) -> str:
    """A manifest's outcome in a word or two."""
    if manifest.status != "finished":
        return "unfinished"
    if manifest.verdict is None:
        return "no feedback"
    words = {"kept": "passed, not promoted"}
    forced = " (forced)" if manifest.verdict.promoted and manifest.verdict.forced else ""
    return words.get(manifest.verdict.status, manifest.verdict.status) + forced


def workspace_history(workspace: Workspace) -> History:
    """All attempts, month by month, and how accurate their models are."""
    registry = read_registry(workspace)
    champion = registry.champion
    led_here = {ref.attempt for ref in succession(registry)}
    rolled_back = {entry.checkpoint.attempt for entry in registry.history} - led_here
    attempts = []
    cards: dict[str, Scorecard] = {}
    for month in workspace.months():
        for attempt in workspace.attempts(month):
            if not attempt.has_manifest():
                continue
            manifest = attempt.read_manifest()
            is_champion = champion is not None and champion.attempt == attempt.attempt
            attempts.append(
                AttemptSummary(
                    attempt.attempt,
                    manifest.kind,
                    manifest.arm,
                    outcome_of(manifest),
                    is_champion,
                    manifest.candidate is not None and has_lost_weights(workspace, manifest.candidate),
                    attempt.attempt in rolled_back,
                )
            )
            if (attempt.stage("eval") / SCORECARD_FILE).exists():
                cards[str(month)] = recorded_scorecard(attempt.stage("eval"))
    return History(
        champion=champion.model_dump(mode="json") if champion is not None else None,
        label_changes=tuple(map(str, label_changes(workspace, ancestors(workspace, champion)).changes)),
        attempts=tuple(attempts),
        matrix=accuracy_matrix(cards),
    )


def attempt_details(workspace: Workspace, ref: str) -> AttemptDetails:
    """What one attempt did; a month stands for its newest attempt even while unfinished.

    Raises:
        NoInput, UsageError: when the REF names no attempt.
    """
    attempt = _attempt(workspace, ref)
    manifest = attempt.read_manifest()
    evaluated = (attempt.stage("eval") / SCORECARD_FILE).exists()
    card = recorded_scorecard(attempt.stage("eval")) if evaluated else None
    verdict = recorded_verdict(attempt.stage("eval")) if evaluated else None
    deltas: Any = _read(attempt, "finetune", DELTAS_FILE) or []
    summary: Any = _read(attempt, "ingest", SUMMARY_FILE) or {}
    facts = {
        "attempt": manifest.attempt,
        "kind": manifest.kind,
        "arm": manifest.arm,
        "outcome": outcome_of(manifest),
        "started from": manifest.parent.attempt if manifest.parent else "the base model",
        "candidate": manifest.candidate.path if manifest.candidate else "-",
        "hash": manifest.candidate.sha256 if manifest.candidate else "-",
        "rows": ", ".join(
            f"{k} {summary[k]}" for k in ("train", "validation", "golden", "rejected") if k in summary
        ),
        **cut_texts(summary),
        "new labels": ", ".join(summary.get("new_labels", [])) or "none",
        **({"label changes": "; ".join(changes)} if (changes := summary.get("new_label_changes")) else {}),
        "penalty": ", ".join(f"{k} {_short(v)}" for k, v in (manifest.penalty or {"kind": "none"}).items()),
        **({"failed": failure} if (failure := _last_failure(attempt)) else {}),
        "folder": str(attempt.folder),
    }
    record = {
        "manifest": manifest.model_dump(mode="json"),
        "summary": summary,
        "scorecard": asdict(card) if card else None,
        "verdict": asdict(verdict) if verdict else None,
        "deltas": deltas,
    }
    return AttemptDetails(facts, record, card, verdict, deltas)


def _last_failure(attempt: RunDirectory) -> str | None:
    """Why the attempt's last command failed; None where a later one did not."""
    events = attempt.read_events()
    last = events[-1] if events else {}
    return f"{last['stage']}: {last['error']}" if last.get("event") == "failed" else None


def _short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _attempt(workspace: Workspace, ref: str) -> RunDirectory:
    with suppress(UsageError):  # neither a month nor an id, but the name of a checkpoint
        attempt = workspace.attempt(ref) if "/" in ref else workspace.latest_attempt(Month.parse(ref))
        if attempt is not None and attempt.has_manifest():
            return attempt
    found = workspace.find(ref)
    if found.run is None:
        raise UsageError(f"{ref}: is a checkpoint outside of the runs; there is no attempt to show")
    return found.run


def _read(attempt: RunDirectory, stage: str, name: str) -> object:
    file = find_output(attempt.stage(stage), name)
    return reading.read_json(file) if file is not None else None
