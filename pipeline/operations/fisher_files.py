"""Fisher files by hand: prove one, and merge two."""

from pathlib import Path

from pipeline.errors import ArtifactCorrupt, UsageError
from pipeline.store.fisher_file import (
    FisherMetadata,
    check_binding,
    check_values,
    fingerprint,
    read_fisher,
    write_fisher,
)
from pipeline.store.hashing import FISHER_FILE, checkpoint_hash
from pipeline.store.output_places import require_place_for_a_fisher


def fisher_path(path: Path) -> Path:
    """A Fisher file, or the one beside a checkpoint whose folder is named."""
    return path / FISHER_FILE if path.is_dir() else path


def verify_fisher(file: Path, checkpoint: Path) -> FisherMetadata:
    """Prove that a Fisher belongs to a checkpoint and is one: binding, names, shapes, finite, not negative.

    Raises:
        NoInput: when a file is absent. ArtifactCorrupt: with what differs.
    """
    from pipeline.modeling.tasks import task_of

    diagonal, metadata = read_fisher(fisher_path(file))
    found = checkpoint_hash(checkpoint, follow_links=True)
    check_binding(metadata, checkpoint_sha256=found, where=str(file))
    model = task_of(checkpoint).load(checkpoint).model
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    unknown = sorted(diagonal.keys() - shapes.keys())
    if unknown:
        raise ArtifactCorrupt(f"{file}: holds {unknown[0]!r}, which the model does not have")
    check_values(diagonal, {name: shapes[name] for name in diagonal}, where=str(file))
    return metadata


def merge_fishers(older: Path, latest: Path, gamma: float, output: Path, *, force: bool) -> FisherMetadata:
    """Write gamma * F_older + F_latest, bound to the latest one's checkpoint.

    Raises:
        UsageError: gamma is not in (0, 1], or the output exists and `force` is not given.
        ArtifactCorrupt: when the two cannot be aligned.
    """
    from pipeline.ewc.merge import merge_online

    if not 0.0 < gamma <= 1.0:
        raise UsageError(f"--gamma {gamma:g}: expected more than 0 and at most 1")
    require_place_for_a_fisher(output, force=force)
    old, old_metadata = read_fisher(fisher_path(older))
    new, metadata = read_fisher(fisher_path(latest))
    merged = merge_online(old, new, gamma, where=str(older))
    months = tuple(dict.fromkeys([*old_metadata.months, *metadata.months]))
    result = metadata.model_copy(
        update={
            "months": months,
            "gamma": gamma,
            "examples": old_metadata.examples + metadata.examples,
            "trace": sum(float(tensor.double().sum()) for tensor in merged.values()),
            "settings": {**metadata.settings, "months": "online", "gamma": gamma},
            "fingerprint": fingerprint(merged),
        }
    )
    write_fisher(output, merged, result)
    return result
