"""Fisher: the diagonal Fisher information of the base checkpoint on what it was trained on, beside it."""

import logging
from dataclasses import asdict, dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from pipeline.errors import ArtifactCorrupt
from pipeline.progress import Progress
from pipeline.recorded.lineage import ancestors
from pipeline.recorded.names import FISHER_RECORD_FILE
from pipeline.recorded.rows import training_hash, training_rows
from pipeline.stages.fisher_pass import FisherPass, FisherSettings, estimate_fisher
from pipeline.stages.stage import RunContext, Stage
from pipeline.store import atomic, reading
from pipeline.store.fisher_file import FisherMetadata, check_binding, fingerprint, read_fisher, write_fisher
from pipeline.store.hashing import FISHER_FILE, sha256_file
from pipeline.store.records import CheckpointRef
from pipeline.store.registry import has_lost_weights, verify_checkpoint
from pipeline.store.removed_weights import removed_weights
from pipeline.store.stage_directory import require_output
from pipeline.store.workspace import Workspace

logger = logging.getLogger("retrain")


@dataclass(frozen=True)
class FisherRecord:
    """What fisher.json holds: where the file lies, its hash, and how it was made.

    `older` are path and hash of the earlier months' files, where each is held around its own optimum.
    """

    path: str
    sha256: str
    metadata: dict[str, Any]
    older: dict[str, str] = field(default_factory=dict)

    def files(self) -> dict[str, str]:
        """Path and hash of every file that the penalty reads."""
        return {**self.older, self.path: self.sha256}


def ensure_fisher(
    workspace: Workspace,
    checkpoint: CheckpointRef,
    settings: FisherSettings,
    *,
    device: str,
    progress: Progress,
    force: bool = False,
) -> Path:
    """The Fisher file beside a checkpoint of the workspace, computed where it is not there yet.

    With `months: online` it is gamma times the parent's Fisher plus the checkpoint's own, which is
    computed on the table that the checkpoint was trained on; the parent's is computed first where it is
    missing. With `months: separate` it is the checkpoint's own, and every ancestor has one, too. A file that
    answers other settings is computed anew.

    Raises:
        ArtifactCorrupt: when the file that is there belongs to another checkpoint or other data, or is
            damaged.
    """
    from pipeline.ewc.merge import merge_online

    if settings.months == "separate":
        settings = replace(settings, months="latest")
        for ancestor in ancestors(workspace, checkpoint)[:-1]:
            ensure_fisher(workspace, ancestor, settings, device=device, progress=progress)
    file = workspace.resolve(checkpoint.path) / FISHER_FILE
    if file.exists() and not force and _answers(file, workspace, checkpoint, settings):
        return file
    verify_checkpoint(workspace, checkpoint)
    attempt = workspace.attempt(checkpoint.attempt)
    manifest = attempt.read_manifest()
    done = estimate_fisher(
        workspace.resolve(checkpoint.path), training_rows(attempt), settings, device=device, progress=progress
    )
    diagonal = {name: tensor.cpu() for name, tensor in done.estimate.diagonal.items()}
    months: tuple[str, ...] = (checkpoint.month,)
    if (
        settings.months == "online"
        and manifest.parent is not None
        and _can_merge(workspace, manifest.parent, settings)
    ):
        older = ensure_fisher(workspace, manifest.parent, settings, device=device, progress=progress)
        merged, described = read_fisher(older)
        diagonal = merge_online(merged, diagonal, settings.gamma, where=str(older))
        months = (*described.months, checkpoint.month)
    metadata = metadata_of(
        done,
        diagonal,
        settings,
        checkpoint_sha256=checkpoint.sha256,
        data_sha256=training_hash(attempt),
        months=months,
    )
    write_fisher(file, diagonal, metadata)
    return file


def _can_merge(workspace: Workspace, parent: CheckpointRef, settings: FisherSettings) -> bool:
    """Whether the months up to a parent have a Fisher of these settings, or can be given one.

    The weights of old months may have been removed: under changed settings the Fisher then begins after them.
    """
    file = workspace.resolve(parent.path) / FISHER_FILE
    if not has_lost_weights(workspace, parent) or (
        file.exists() and _answers(file, workspace, parent, settings)
    ):
        return True
    logger.warning(
        "the weights of %s were removed by retrain gc: the Fisher of these settings covers the months after it",
        parent.attempt,
    )
    return False


def metadata_of(
    done: FisherPass,
    diagonal: dict[str, Any],
    settings: FisherSettings,
    *,
    checkpoint_sha256: str,
    data_sha256: str,
    months: tuple[str, ...],
) -> FisherMetadata:
    """The metadata that binds a diagonal to its checkpoint and data."""
    estimate = done.estimate
    return FisherMetadata(
        checkpoint_sha256=checkpoint_sha256,
        data_sha256=data_sha256,
        estimator=estimate.estimator,
        requested=settings.samples,
        draws=estimate.draws,
        examples=estimate.examples,
        months=months,
        gamma=settings.gamma,
        seed=settings.seed,
        trace=sum(float(tensor.double().sum()) for tensor in diagonal.values()),
        trace_standard_error=None if estimate.examples < 2 else estimate.trace_standard_error,
        division=done.division,
        precision=done.precision,
        batch_tokens=done.batch_tokens,
        settings=asdict(settings),
        fingerprint=fingerprint(diagonal),
    )


def _answers(file: Path, workspace: Workspace, checkpoint: CheckpointRef, settings: FisherSettings) -> bool:
    """Whether a file is the Fisher that is asked for; refuses one of another checkpoint or other data."""
    metadata = read_fisher(file)[1]
    check_binding(
        metadata,
        checkpoint_sha256=checkpoint.sha256,
        data_sha256=training_hash(workspace.attempt(checkpoint.attempt)),
        where=str(file),
    )
    if metadata.settings != asdict(settings):
        return False
    if settings.months == "latest":
        return metadata.months == (checkpoint.month,)
    # the file may be older than the removal of weights that it still stands for
    line = ancestors(workspace, checkpoint)
    whole = takewhile(lambda ref: not has_lost_weights(workspace, ref), reversed(line))
    covered = metadata.months
    return len(list(whole)) <= len(covered) and covered == tuple(ref.month for ref in line)[-len(covered) :]


def recorded_fisher(context: RunContext) -> FisherRecord:
    """What the attempt's fisher stage recorded."""
    file = require_output(context.output("fisher"), FISHER_RECORD_FILE)
    content = reading.read_json(file)
    if not isinstance(content, dict) or not {"path", "sha256", "metadata"} <= content.keys():
        raise ArtifactCorrupt(
            f"{file}: names no Fisher file. Run: retrain run --month {context.month} --from fisher"
        )
    return FisherRecord(content["path"], content["sha256"], content["metadata"], content.get("older", {}))


def _inputs(context: RunContext) -> dict[str, str]:
    if context.base is None or not context.uses_fisher:
        return {}
    line = context.line
    learned = line[-1:] if context.config.ewc.months == "latest" else line
    inputs = {
        f"training table {ref.month}": training_hash(context.workspace.attempt(ref.attempt))
        for ref in learned
    }
    return {**inputs, "base checkpoint": context.base.sha256}


def _settings(context: RunContext) -> dict[str, Any]:
    return asdict(FisherSettings.of(context.config)) if context.uses_fisher else {"arm": context.config.arm}


def _body(context: RunContext, folder: Path) -> None:
    if context.base is None or not context.uses_fisher:
        atomic.write_json(
            folder / FISHER_RECORD_FILE, {"skipped": f"arm {context.config.arm} uses no Fisher"}
        )
        return
    file = ensure_fisher(
        context.workspace,
        context.base,
        FisherSettings.of(context.config),
        device=context.device,
        progress=context.progress,
    )
    record = FisherRecord(
        path=context.workspace.relative(file),
        sha256=sha256_file(file),
        metadata=read_fisher(file)[1].model_dump(mode="json"),
        older=_older_files(context, context.base),
    )
    content = asdict(record)
    if not record.older:
        del content["older"]
    atomic.write_json(folder / FISHER_RECORD_FILE, content)


def _older_files(context: RunContext, base: CheckpointRef) -> dict[str, str]:
    if context.config.ewc.months != "separate":
        return {}
    older = [f"{ancestor.path}/{FISHER_FILE}" for ancestor in ancestors(context.workspace, base)[:-1]]
    return {path: sha256_file(context.workspace.resolve(path)) for path in older}


def _check(context: RunContext) -> None:
    if not context.uses_fisher:
        return
    for path, recorded in recorded_fisher(context).files().items():
        file = context.workspace.resolve(path)
        if path.removeprefix("runs/") in _removed_fishers(context):
            continue
        found = sha256_file(file) if file.exists() else "no file"
        if found != recorded:
            raise ArtifactCorrupt(
                f"{file}: damaged: recorded with the hash {recorded}, found {found}. "
                f"Run: fisher compute {file.parent} --force"
            )


def _removed_fishers(context: RunContext) -> set[str]:
    """The Fisher files of the line of descent that were removed with their weights, seen from `runs`."""
    return {
        f"{ref.attempt}/{name}"
        for ref in context.line
        for name in removed_weights(context.workspace.runs / ref.attempt)
        if name.endswith(FISHER_FILE)
    }


FISHER = Stage(
    name="fisher",
    reads="the base checkpoint, the table that it was trained on, its parent's Fisher",
    writes="fisher.json, and fisher.safetensors beside the base checkpoint",
    inputs=_inputs,
    settings=_settings,
    body=_body,
    check=_check,
)
