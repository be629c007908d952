"""What moved in a month, whether it went to protected weights, what flipped, and which rows pushed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Config
from pipeline.errors import UsageError
from pipeline.evaluation.scorecard import Flip
from pipeline.progress import Progress, silent
from pipeline.recorded.names import SCORECARD_FILE, TRAIN_FILE
from pipeline.recorded.present_labels import require_present_labels
from pipeline.recorded.rows import rows_of
from pipeline.recorded.scorecards import losing_refusals, recorded_scorecard
from pipeline.stages.fisher import ensure_fisher
from pipeline.stages.fisher_pass import FisherSettings
from pipeline.stages.stage import RunContext
from pipeline.stages.trial import Trial, evenly, months_summed, prepare_trial, with_a_penalty
from pipeline.store import reading
from pipeline.store.fisher_file import read_fisher
from pipeline.store.hashing import FISHER_FILE, checkpoint_files
from pipeline.store.records import Manifest
from pipeline.store.registry import verify_checkpoint
from pipeline.store.run_directory import RunDirectory
from pipeline.store.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.ewc.movement import Movement


@dataclass(frozen=True)
class LabelPair:
    """Golden rows of one label that were right before and get one wrong answer now."""

    label: str
    answer: str
    count: int
    ids: tuple[str, ...]


@dataclass(frozen=True)
class PushingRow:
    """A training row whose gradient goes against the Fisher; see `pipeline.modeling.row_gradients`."""

    id: str
    label: str
    text: str | None
    loss: float
    push: float
    concentration: float


@dataclass(frozen=True)
class Diagnosis:
    """What happened to an attempt's weights.

    Attributes:
        predicted_rise: 1/2 sum F d^2, in nats of the old months' mean loss.
        slope, curvature: first order and 1/2 d^T F d with the whole Fisher, of the old months' validation
            loss along the change, in nats; None where no rows were asked for, or none were held out.
        movements: by group and kind, the most harmful group first.
        plain: the same for the month's plain attempt; empty where there is none.
        plain_attempt: which one that is.
        flips: right-to-wrong on the golden sets, the most frequent label pair first.
        rows: the hardest pushing rows first.
    """

    attempt: str
    arm: str
    predicted_rise: float
    slope: float | None
    curvature: float | None
    movements: tuple[Movement, ...]
    plain_attempt: str | None
    plain: tuple[Movement, ...]
    flips: tuple[LabelPair, ...]
    rows: tuple[PushingRow, ...]


def diagnose(
    workspace: Workspace,
    ref: str,
    *,
    rows: int,
    shown: int,
    include_text: bool,
    device: str,
    progress: Progress = silent,
) -> Diagnosis:
    """Weigh an attempt's change against the Fisher of what it started from, computed where it is missing.

    Args:
        ref: a REF of an attempt.
        rows: at most so many training rows, evenly spaced, get their gradient taken; 0 for none.
        shown: how many of them are returned.
        include_text: return what customers wrote, too.

    Raises:
        UsageError: for a launch, which has nothing before it, a checkpoint outside of the runs, or an attempt whose labels
            were renamed, merged or retired otherwise than they are now (not where `rows` is 0).
    """
    found = workspace.find(ref)
    if found.run is None:
        raise UsageError(f"{ref}: is a checkpoint outside of the runs; its month is not known")
    manifest = found.run.read_manifest()
    if manifest.parent is None or manifest.candidate is None:
        raise UsageError(f"{manifest.attempt}: started from no other checkpoint; name a later month")
    if rows:  # they are read under present names, which the candidate must have
        require_present_labels(workspace, found.run)
    context = with_a_penalty(_context(workspace, found.run, manifest, device, progress))
    file = ensure_fisher(
        workspace, manifest.parent, FisherSettings.of(context.config), device=device, progress=progress
    )
    months = months_summed(context, manifest.parent, file)
    moved = recorded_movements(workspace, manifest)
    plain = _plain_attempt(workspace, found.run, manifest)
    trial = prepare_trial(context) if rows else None
    slope, curvature = _along(trial, found.checkpoint) if trial is not None else (None, None)
    return Diagnosis(
        attempt=manifest.attempt,
        arm=manifest.arm,
        predicted_rise=0.5 * sum(m.weighted_change for m in moved if m.kind == "all") / months,
        slope=slope,
        curvature=curvature,
        movements=tuple(moved),
        plain_attempt=plain.attempt if plain is not None else None,
        plain=tuple(recorded_movements(workspace, plain)) if plain is not None else (),
        flips=lost_pairs(_flips(found.run)),
        rows=_pushing(trial, rows, shown, include_text) if trial is not None else (),
    )


def recorded_movements(workspace: Workspace, manifest: Manifest) -> list[Movement]:
    """An attempt's movements by the Fisher that lies beside its parent; none where one of the three is missing.

    Reads safetensors only: no model is built.

    Raises:
        ArtifactCorrupt: the weights of the parent or the candidate are not those that were recorded.
    """
    import torch

    from pipeline.ewc.closed_rows import closed_in
    from pipeline.ewc.movement import movements

    if manifest.parent is None or manifest.candidate is None:
        return []
    base = workspace.resolve(manifest.parent.path)
    if not (base / FISHER_FILE).exists():
        return []
    for checkpoint in (manifest.parent, manifest.candidate):
        verify_checkpoint(workspace, checkpoint)
    fisher, _ = read_fisher(base / FISHER_FILE)
    anchor, parameters = _tensors(base), _tensors(workspace.resolve(manifest.candidate.path))
    # a merged or retired label's row was taken away, not moved
    for name, ids in closed_in(parameters).items():
        for tensors in (anchor, parameters):
            tensors[name] = tensors[name].index_fill(0, torch.tensor(ids), 0.0)
    known = {name: tensor for name, tensor in fisher.items() if name in anchor and name in parameters}
    return movements(parameters, anchor, known)


def lost_pairs(flips: tuple[Flip, ...]) -> tuple[LabelPair, ...]:
    """Right-to-wrong flips grouped by label and wrong answer, the most frequent first."""
    members: dict[tuple[str, str], list[str]] = {}
    for flip in flips:
        if flip.is_loss:
            members.setdefault((flip.label, flip.after), []).append(flip.id)
    counts = Counter({pair: len(ids) for pair, ids in members.items()})
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(LabelPair(*pair, count, tuple(members[pair])) for pair, count in ordered)


def _flips(attempt: RunDirectory) -> tuple[Flip, ...]:
    folder = attempt.stage("eval")
    return recorded_scorecard(folder).flips if (folder / SCORECARD_FILE).exists() else ()


def _context(
    workspace: Workspace, attempt: RunDirectory, manifest: Manifest, device: str, progress: Progress
) -> RunContext:
    return RunContext(
        workspace=workspace,
        config=Config.model_validate(manifest.config),
        month=attempt.month,
        attempt=attempt,
        base=manifest.parent,
        launch=None,
        device=device,
        progress=progress,
        refusals=losing_refusals(workspace, manifest.parent, attempt.month) if manifest.parent else 0,
    )


def _plain_attempt(workspace: Workspace, attempt: RunDirectory, manifest: Manifest) -> Manifest | None:
    """The month's newest other attempt without protection that started from the same checkpoint."""
    for other in reversed(workspace.attempts(attempt.month)):
        if other.attempt == attempt.attempt or not other.has_manifest():
            continue
        found = other.read_manifest()
        if found.arm == "plain" and found.candidate is not None and found.parent == manifest.parent:
            return found
    return None


def _tensors(checkpoint: Path) -> dict[str, Tensor]:
    import safetensors.torch

    found: dict[str, Tensor] = {}
    for name in checkpoint_files(checkpoint):
        if name.endswith(".safetensors"):
            found |= safetensors.torch.load(reading.read_file(checkpoint / name))
    return found


def _along(trial: Trial, candidate: Path) -> tuple[float | None, float | None]:
    """Slope and curvature of the old months' validation loss from the anchor towards the candidate."""
    if not len(trial.prior_rows):
        return None, None
    found = _tensors(candidate)
    return trial.directional(
        {
            name: found[name].to(trial.anchor[name]) - trial.anchor[name]
            for name in trial.fisher
            if name in found
        }
    )


def _pushing(trial: Trial, count: int, shown: int, include_text: bool) -> tuple[PushingRow, ...]:
    from pipeline.modeling.row_gradients import pushes

    context = trial.context
    examples = evenly(trial.train, count)
    trial.put(trial.anchor)
    with context.progress("row gradients", len(examples), "row") as advance:
        found = pushes(trial.classifier, examples, trial.weights, advance=advance)
    table = {row.id: row for row in rows_of(context.output("ingest"), TRAIN_FILE)}
    return tuple(
        PushingRow(
            id=push.id,
            label=table[push.id].label,
            text=table[push.id].text if include_text else None,
            loss=push.loss,
            push=push.push,
            concentration=push.concentration,
        )
        for push in found[:shown]
    )
