"""Proving that a workspace still holds what it recorded: every hash, every binding, every value finite."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ArtifactCorrupt, RetrainError
from pipeline.store import reading
from pipeline.store.fisher_file import check_binding, check_values, read_fisher
from pipeline.store.hashing import FISHER_FILE, checkpoint_files, sha256_file
from pipeline.store.label_history import read_label_history
from pipeline.store.records import Manifest
from pipeline.store.registry import has_lost_weights, link_problem, read_registry, verify_checkpoint
from pipeline.store.remaking import remaking
from pipeline.store.removed import removed_month, removed_months
from pipeline.store.run_directory import STAGES, RunDirectory
from pipeline.store.stage_directory import read_stage, verify_stage
from pipeline.store.workspace import Workspace


@dataclass(frozen=True)
class Verification:
    """What was proven, and what was found wrong."""

    attempts: int
    files: int
    """How many files had the recorded hash."""
    problems: tuple[str, ...]
    """One message for each thing that is wrong; empty when all is well."""


def verify_workspace(workspace: Workspace) -> Verification:
    """Verify the registry, the champion, the label changes and every attempt; goes on after a problem, and writes nothing."""
    problems: list[str] = []
    attempts = files = 0
    try:
        registry = read_registry(workspace)
        for ref in {entry.checkpoint.path: entry.checkpoint for entry in registry.history}.values():
            if not has_lost_weights(workspace, ref):
                verify_checkpoint(workspace, ref)
        wrong_link = link_problem(workspace)
        if wrong_link is not None:
            problems.append(wrong_link)
    except RetrainError as error:
        problems.append(str(error))
    try:
        read_label_history(workspace)
        for month in removed_months(workspace):
            removed_month(workspace, month)
    except RetrainError as error:
        problems.append(str(error))
    try:
        runs = [run for month in workspace.months() for run in workspace.attempts(month)]
    except RetrainError as error:
        return Verification(0, 0, (*problems, str(error)))
    for run in runs:
        if not run.has_manifest() and not run.events_file.exists():
            continue  # killed before it began, while it took over stages that were fresh
        attempts += 1
        try:
            files += verify_attempt(workspace, run)
        except RetrainError as error:
            problems.append(str(error))
    return Verification(attempts, files, tuple(dict.fromkeys(problems)))


def verify_attempt(workspace: Workspace, run: RunDirectory) -> int:
    """Verify an attempt: manifest, files, stages, checkpoint and the Fisher beside it.

    Returns:
        How many files had the recorded hash.

    Raises:
        ArtifactCorrupt: the first thing that is wrong, with what was recorded and what was found.
        NoInput: the attempt has no manifest.
    """
    manifest = run.read_manifest()
    count = 1
    for name, recorded in manifest.files.items():
        _check_file(run, name, recorded)
        count += 1
    for name in STAGES:
        if name in manifest.stages:
            record = verify_stage(run.stage(name))
            if record != manifest.stages[name]:
                raise ArtifactCorrupt(
                    f"{run.stage(name)}: its record differs from the manifest's. {_again(run)}"
                )
            count += len(record.outputs)
        elif manifest.status == "finished" and read_stage(run.stage(name)) is not None:
            raise ArtifactCorrupt(f"{run.stage(name)}: the manifest does not know this stage. {_again(run)}")
    _check_bindings(run, manifest)
    if manifest.candidate is not None and not has_lost_weights(workspace, manifest.candidate):
        verify_checkpoint(workspace, manifest.candidate)
        _check_finite(workspace.resolve(manifest.candidate.path))
    sidecar = run.checkpoint / FISHER_FILE
    if manifest.candidate is not None and reading.kind_of(sidecar) != "nothing":
        diagonal, metadata = read_fisher(sidecar)
        check_binding(
            metadata,
            checkpoint_sha256=manifest.candidate.sha256,
            data_sha256=_training_table(manifest),
            where=str(sidecar),
        )
        check_values(diagonal, {name: tuple(t.shape) for name, t in diagonal.items()}, where=str(sidecar))
        count += 1
    return count


def _check_bindings(run: RunDirectory, manifest: Manifest) -> None:
    """Prove that every stage read what the stages before it wrote, and started from the recorded parent."""
    written = {
        f"{name}/{file}": digest
        for name, record in manifest.stages.items()
        for file, digest in record.outputs.items()
    }
    if manifest.parent is not None:
        written["base checkpoint"] = manifest.parent.sha256
    for name, record in manifest.stages.items():
        for source, read in record.inputs.items():
            if written.get(source, read) != read:
                raise ArtifactCorrupt(
                    f"{run.stage(name)}: was made from {source} {read}, which is now {written[source]}. {_again(run)}"
                )


def _training_table(manifest: Manifest) -> str | None:
    """The hash of the table that an attempt's checkpoint was trained on."""
    ingest = manifest.stages.get("ingest")
    return ingest.outputs.get("train.parquet") if ingest is not None else None


def _check_file(run: RunDirectory, name: str, recorded: str) -> None:
    path = run.folder / name
    if reading.kind_of(path) != "file":
        raise ArtifactCorrupt(f"{path}: is missing; recorded with the hash {recorded}. {_again(run)}")
    found = sha256_file(path)
    if found != recorded:
        raise ArtifactCorrupt(
            f"{path}: damaged: recorded with the hash {recorded}, has {found}. {_again(run)}"
        )


def _check_finite(checkpoint: Path) -> None:
    import safetensors.torch
    from safetensors import SafetensorError

    for name in checkpoint_files(checkpoint):
        if not name.endswith(".safetensors"):
            continue
        path = checkpoint / name
        try:
            tensors = safetensors.torch.load(reading.read_file(path))
        except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
            raise ArtifactCorrupt(f"{path}: cannot be decoded: {str(error)[:200]}") from None
        for key, tensor in tensors.items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise ArtifactCorrupt(f"{path}: {key!r} holds NaN or infinite values")


def _again(run: RunDirectory) -> str:
    return f"Restore it from a backup, or run: {remaking(run.folder.parent)}"
