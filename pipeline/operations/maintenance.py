"""Keep a workspace in order: prove what it holds, and remove what nothing needs any more."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import RetrainError, UsageError
from pipeline.recorded.lineage import ancestors, finished_attempt
from pipeline.recorded.names import FISHER_RECORD_FILE as FISHER_RECORD
from pipeline.recorded.names import OWN_GOLDEN_FILE
from pipeline.recorded.present_labels import require_recorded_changes
from pipeline.store import atomic, reading
from pipeline.store.records import Registry
from pipeline.store.registry import read_registry, succession
from pipeline.store.removed import RemovedMonth, record_removed
from pipeline.store.removed_weights import remove_weights, weights_of
from pipeline.store.run_directory import RunDirectory
from pipeline.store.stage_directory import find_output, require_stage
from pipeline.store.verification import Verification, verify_attempt, verify_workspace
from pipeline.store.workspace import Workspace


@dataclass(frozen=True)
class Kept:
    """Whether an attempt can go.

    Attributes:
        attempt: its id.
        size: bytes of all its files.
        reason: why it stays; None when nothing needs it.
        weights: bytes of weights and Fisher that nothing starts from any more, though the attempt stays.
    """

    attempt: str
    size: int
    reason: str | None
    weights: int = 0


def verify(workspace: Workspace, ref: str | None) -> Verification:
    """Verify one attempt, or the registry and every attempt; writes nothing.

    Args:
        ref: a month, an attempt or `champion`; None for all.

    Raises:
        NoInput, UsageError: the REF names no attempt.
    """
    if ref is None:
        found_all = verify_workspace(workspace)
        if found_all.problems:
            return found_all
        try:
            champion = read_registry(workspace).champion
            if champion is not None:
                require_recorded_changes(workspace, champion)
        except RetrainError as error:
            return replace(found_all, problems=(str(error),))
        return found_all
    found = workspace.find(ref)
    if found.run is None:
        raise UsageError(
            f"{ref}: lies outside of the runs; nothing is recorded that it could be compared with"
        )
    try:
        return Verification(1, verify_attempt(workspace, found.run), ())
    except RetrainError as error:
        return Verification(1, 0, (str(error),))


def removable(workspace: Workspace, keep: int, *, all_weights: bool = False) -> list[Kept]:
    """Every attempt, oldest first, and whether something needs it.

    Needed are: the newest `keep` months; every checkpoint that was ever champion and all that it, or another
    attempt that stays, descends from; the newest attempt of each month since the champion's, which says that
    the month was not passed over; golden sets that ingest set aside. Of those that stay, older ones lose their
    weights: all but the newest `keep` months, the champion, the one before it, and what these started from.

    Args:
        workspace: whose registry and manifests are read; a damaged one is refused.
        keep: months, 1 or more.
        all_weights: whether the penalty holds to each earlier month's own optimum, so that all weights stay.

    Raises:
        UsageError: for fewer than one month. ArtifactCorrupt: a registry or manifest is damaged.
    """
    if keep < 1:
        raise UsageError(f"--keep {keep}: expected 1 or more months")
    runs = [run for month in workspace.months() for run in workspace.attempts(month)]
    reasons: dict[str, str] = {}
    for month in workspace.months()[-keep:]:
        for run in workspace.attempts(month):
            reasons[run.attempt] = f"of the newest {keep} month(s)"
    registry = read_registry(workspace)
    for entry in registry.history:
        reasons.setdefault(entry.checkpoint.attempt, "was champion")
    for month in workspace.months():
        attempts = workspace.attempts(month)
        if registry.champion is None or str(month) >= registry.champion.month:
            finished = [run for run in attempts if _is_finished(run)]
            if finished:
                reasons.setdefault(finished[-1].attempt, "says that the month was run")
        aside = [run for run in attempts if (run.stage("ingest") / OWN_GOLDEN_FILE).is_file()]
        if aside:
            reasons.setdefault(aside[-1].attempt, "holds the month's golden set")
    for run in runs:
        if run.attempt in reasons and run.has_manifest():
            for checkpoint in ancestors(workspace, run.read_manifest().parent):
                reasons.setdefault(checkpoint.attempt, f"{run.attempt} descends from it")
    all_weights = all_weights or _reads_older_months(workspace, registry)
    whole = {run.attempt for run in runs} if all_weights else _whole(workspace, keep, registry)
    return [_kept(run, reasons.get(run.attempt), whole) for run in runs]


def _whole(workspace: Workspace, keep: int, registry: Registry) -> set[str]:
    """The attempts whose weights stay: a next month, a rollback and a diagnosis of a recent month read them."""
    newest = [run for month in workspace.months()[-keep:] for run in workspace.attempts(month)]
    served = [workspace.attempt(ref.attempt) for ref in succession(registry)[-2:]]
    parents = [
        manifest.parent.attempt
        for run in (*newest, *served)
        if run.has_manifest() and (manifest := run.read_manifest()).parent is not None
    ]
    return {run.attempt for run in (*newest, *served)} | set(parents)


def _reads_older_months(workspace: Workspace, registry: Registry) -> bool:
    """Whether the champion was held to each earlier month's own optimum, by an option that no file tells of."""
    if registry.champion is None:
        return False
    stage = workspace.attempt(registry.champion.attempt).stage("fisher")
    if find_output(stage, FISHER_RECORD) is None:
        return False
    content = reading.read_json(stage / FISHER_RECORD)
    return isinstance(content, dict) and bool(content.get("older"))


def _kept(run: RunDirectory, reason: str | None, whole: set[str]) -> Kept:
    loses = reason is not None and run.attempt not in whole and _is_finished(run)
    weights = sum(path.lstat().st_size for path in weights_of(run.folder)) if loses else 0
    return Kept(run.attempt, _size(run.folder), reason, weights)


def remove(workspace: Workspace, attempts: list[Kept]) -> int:
    """Remove the attempts that nothing needs, each one whole, and old weights; with the workspace's lock held.

    Of each month a record of what it was stays, so that a rollback to before it finds that it was run.

    Returns:
        How many bytes they had.

    Raises:
        AccessDenied, CannotWrite: as `atomic.remove_tree`.
    """
    freed = 0
    going = {kept.attempt for kept in attempts if kept.reason is None}
    for month in workspace.months():
        newest = finished_attempt(workspace, month)
        if newest is not None and newest.attempt in going:
            had_candidate = newest.read_manifest().candidate is not None
            record_removed(
                workspace,
                RemovedMonth(month=str(month), attempt=newest.attempt, had_candidate=had_candidate),
            )
    for kept in attempts:
        if kept.weights:
            run = workspace.attempt(kept.attempt)
            remove_weights(run.folder, kept.attempt, require_stage(run.stage("finetune")).outputs)
            freed += kept.weights
        if kept.reason is not None:
            continue
        run = workspace.attempt(kept.attempt)
        folder = run.folder
        # without these two an attempt never began
        atomic.discard_folder(folder, first=(run.manifest_file.name, run.events_file.name))
        if not any(folder.parent.iterdir()):
            atomic.remove_tree(folder.parent)
        freed += kept.size
    return freed


def _is_finished(run: RunDirectory) -> bool:
    return run.has_manifest() and run.read_manifest().status == "finished"


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if reading.kind_of(path) == "folder":
            yield from _files(path)
        else:
            yield path
