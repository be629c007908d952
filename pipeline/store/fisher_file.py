"""The file of a Fisher diagonal: safetensors, with metadata that binds it to its checkpoint and data.

The safetensors format does not notice changed bits inside its tensors, so the metadata carries a SHA-256 over
names, types, shapes, values and the metadata itself. It is one JSON value under one key, because safetensors
writes several keys in an order that differs from process to process. Files hold the raw Fisher, unscaled.

torch and safetensors are imported inside functions only.
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from pipeline.errors import ArtifactCorrupt
from pipeline.store import atomic, reading, strict_json
from pipeline.store.hashing import sha256_json
from pipeline.store.records import MonthText, Record, Sha256

if TYPE_CHECKING:
    from torch import Tensor

METADATA_KEY = "fisher"

_HEADER_LIMIT_BYTES = 64 * 2**20
_AGAIN = "Run: fisher compute CHECKPOINT --force"


class FisherMetadata(Record):
    """How a Fisher diagonal was made, and what it belongs to."""

    version: Literal[1] = 1
    checkpoint_sha256: Sha256
    data_sha256: Sha256
    estimator: str
    """The estimator that ran, never `auto`."""
    requested: int
    """How many examples were asked for; 0 for all."""
    draws: int
    """How many gradients (labels times examples) the mean was taken over."""
    examples: int
    """How many examples were used."""
    months: tuple[MonthText, ...]
    """The months whose data it covers, oldest first."""
    gamma: float
    """The factor by which each merge over months weakened the older part."""
    seed: int
    trace: float
    """The sum of all entries."""
    trace_standard_error: float | None
    """The standard error of the trace over examples, None where one example gives no spread."""
    division: str
    """What the sums were divided by."""
    precision: str = "fp32"
    """Of the pass through the model, `fp32` or `bf16`; the sums are never below fp32."""
    batch_tokens: int = 2048
    """Upper limit on a batch's tokens, padding included: lower where memory did not allow more."""
    settings: dict[str, str | int | float]
    """What was asked for; another answer to it is another Fisher."""
    fingerprint: Sha256
    """SHA-256 over the sorted names, types and shapes of the tensors."""


def fingerprint(diagonal: "Mapping[str, Tensor]") -> str:
    """The SHA-256 over the sorted (name, dtype, shape) of tensors."""
    return sha256_json(
        [[name, str(diagonal[name].dtype), list(diagonal[name].shape)] for name in sorted(diagonal)]
    )


def write_fisher(path: Path, diagonal: "Mapping[str, Tensor]", metadata: FisherMetadata) -> None:
    """Write a Fisher file, read-only, replacing one that is there; equal input gives equal bits.

    Args:
        path: the file, usually CHECKPOINT/fisher.safetensors.
        diagonal: name to fp32 or float64 tensor, raw.
        metadata: how it was made; its fingerprint must be that of the tensors.

    Raises:
        ArtifactCorrupt: a value is not finite, negative, or all are zero; or the fingerprint is another's.
        AccessDenied, CannotWrite: as `atomic.write_file`.
    """
    import safetensors.torch

    check_values(diagonal, {name: tuple(tensor.shape) for name, tensor in diagonal.items()}, where=str(path))
    _check_fingerprint(path, diagonal, metadata)
    content = metadata.model_dump(mode="json")
    sealed = {"metadata": content, "sha256": _seal(content, diagonal)}
    # contiguous copies on the CPU: safetensors refuses views, and tensors that share memory
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in diagonal.items()}
    data = safetensors.torch.save(tensors, {METADATA_KEY: atomic.render_json_line(sealed)})
    atomic.write_file(path, data, read_only=True)


def read_fisher(path: Path) -> tuple[dict[str, "Tensor"], FisherMetadata]:
    """Read a Fisher file and prove that it is what was written.

    Returns:
        The diagonal, name to tensor on the CPU, and its metadata.

    Raises:
        NoInput: there is no such file.
        ArtifactCorrupt: it is damaged, or no Fisher file.
    """
    import safetensors.torch
    from safetensors import SafetensorError

    data = reading.read_file(path)
    sealed = _sealed_metadata(path, data)
    metadata = _metadata(path, sealed)
    try:
        diagonal: dict[str, Tensor] = safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise ArtifactCorrupt(f"{path}: cannot be decoded: {str(error)[:200]}. {_AGAIN}") from None
    _check_fingerprint(path, diagonal, metadata)
    found = _seal(sealed["metadata"], diagonal)
    if found != sealed.get("sha256"):
        raise ArtifactCorrupt(
            f"{path}: damaged: recorded with the hash {sealed.get('sha256')}, has {found}. {_AGAIN}"
        )
    return diagonal, metadata


def read_fisher_metadata(path: Path) -> FisherMetadata:
    """Read only the metadata of a Fisher file, without torch; the values are not looked at.

    Raises:
        NoInput: there is no such file.
        ArtifactCorrupt: it is no Fisher file.
    """
    return _metadata(path, _sealed_metadata(path, reading.read_file(path)))


def check_binding(
    metadata: FisherMetadata,
    *,
    checkpoint_sha256: str,
    data_sha256: str | None = None,
    where: str = "fisher.safetensors",
) -> None:
    """Refuse a Fisher that was computed for another checkpoint or from other data.

    Raises:
        ArtifactCorrupt: with both hashes.
    """
    expected = {"checkpoint": checkpoint_sha256, "data": data_sha256}
    recorded = {"checkpoint": metadata.checkpoint_sha256, "data": metadata.data_sha256}
    for name, value in expected.items():
        if value is not None and recorded[name] != value:
            raise ArtifactCorrupt(
                f"{where}: was computed for the {name} {recorded[name]}, the {name} here is {value}. {_AGAIN}"
            )


def check_values(
    diagonal: "Mapping[str, Tensor]",
    shapes: Mapping[str, tuple[int, ...]],
    *,
    where: str = "fisher.safetensors",
) -> None:
    """Refuse a Fisher that does not fit a model, or is no Fisher at all.

    Args:
        diagonal: name to tensor.
        shapes: the model's parameters that it must cover, name to shape.
        where: the file, for the message.

    Raises:
        ArtifactCorrupt: a name is missing or unknown, a shape or type differs, a value is not finite or
            negative, or all values are zero.
    """
    import torch

    for name in sorted(shapes.keys() - diagonal.keys()):
        raise ArtifactCorrupt(f"{where}: {name!r} is missing, the model has it. {_AGAIN}")
    for name in sorted(diagonal.keys() - shapes.keys()):
        raise ArtifactCorrupt(f"{where}: holds {name!r}, which the model does not have. {_AGAIN}")
    largest = 0.0
    for name, tensor in sorted(diagonal.items()):
        if tuple(tensor.shape) != tuple(shapes[name]):
            raise ArtifactCorrupt(
                f"{where}: {name!r} is {tuple(tensor.shape)}, the model has {tuple(shapes[name])}. {_AGAIN}"
            )
        if tensor.dtype not in (torch.float32, torch.float64):
            raise ArtifactCorrupt(
                f"{where}: {name!r} is {tensor.dtype}, expected torch.float32 or torch.float64. {_AGAIN}"
            )
        if tensor.numel() == 0:
            continue
        low, high = (float(bound) for bound in torch.aminmax(tensor.detach()))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ArtifactCorrupt(f"{where}: {name!r} holds NaN or infinite values. {_AGAIN}")
        if low < 0:
            raise ArtifactCorrupt(f"{where}: {name!r} holds {low}, a Fisher is never negative. {_AGAIN}")
        largest = max(largest, high)
    if largest == 0:
        raise ArtifactCorrupt(f"{where}: every value is zero, so nothing would be protected. {_AGAIN}")


def _check_fingerprint(path: Path, diagonal: "Mapping[str, Tensor]", metadata: FisherMetadata) -> None:
    found = fingerprint(diagonal)
    if found != metadata.fingerprint:
        raise ArtifactCorrupt(
            f"{path}: names, types or shapes differ: recorded with the fingerprint {metadata.fingerprint}, "
            f"has {found}. {_AGAIN}"
        )


def _seal(content: object, diagonal: "Mapping[str, Tensor]") -> str:
    digest = hashlib.sha256(sha256_json(content).encode("ascii"))
    for name in sorted(diagonal):
        tensor = diagonal[name].detach().cpu().contiguous()
        digest.update(sha256_json([name, str(tensor.dtype), list(tensor.shape)]).encode("ascii"))
        digest.update(tensor.reshape(-1).numpy().data)
    return digest.hexdigest()


def _metadata(path: Path, sealed: Mapping[str, object]) -> FisherMetadata:
    try:
        return FisherMetadata.model_validate(sealed.get("metadata"))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole"
        raise ArtifactCorrupt(
            f"{path}: metadata is damaged or of another version: {key}: {first['msg']}. {_AGAIN}"
        ) from None


def _sealed_metadata(path: Path, data: bytes) -> dict[str, object]:
    """The JSON value under the one metadata key of a safetensors header."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_HEADER_LIMIT_BYTES, len(data) - 8):
        raise ArtifactCorrupt(f"{path}: is cut off or no safetensors file. {_AGAIN}")
    try:
        header = strict_json.parse(data[8 : 8 + length])
        texts = header.get("__metadata__") if isinstance(header, dict) else None
        text = texts.get(METADATA_KEY) if isinstance(texts, dict) else None
        if not isinstance(text, str):
            raise ArtifactCorrupt(f"{path}: has no metadata of a Fisher. {_AGAIN}")
        sealed = strict_json.parse(text)
    except ValueError as error:
        raise ArtifactCorrupt(f"{path}: its header is damaged: {error}. {_AGAIN}") from None
    if not isinstance(sealed, dict):
        raise ArtifactCorrupt(f"{path}: has no metadata of a Fisher. {_AGAIN}")
    return sealed
