"""Alignment of older tensors to a head that has grown: old rows keep their ids, new rows are zero."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.errors import ArtifactCorrupt


def aligned_rows(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], *, where: str
) -> dict[str, Tensor]:
    """Pad each tensor with zero rows at the end of its first dimension up to the wanted shape.

    A zero row of a Fisher protects nothing: a label that did not exist has nothing to forget.

    Args:
        tensors: name to tensor.
        shapes: name to wanted shape; the result has exactly these names.
        where: named in errors, such as the Fisher file's path.

    Raises:
        ArtifactCorrupt: when a name is missing or surplus, or a shape differs by more than added rows.
    """
    missing, surplus = sorted(shapes.keys() - tensors.keys()), sorted(tensors.keys() - shapes.keys())
    if missing or surplus:
        raise ArtifactCorrupt(
            f"{where}: parameters differ from the model's: missing {_few(missing)}, surplus {_few(surplus)}. "
            "Run: fisher compute CHECKPOINT --force"
        )
    aligned = {}
    for name, shape in shapes.items():
        tensor = tensors[name]
        found = tuple(tensor.shape)
        if found == shape:
            aligned[name] = tensor
            continue
        if not found or len(found) != len(shape) or found[1:] != shape[1:] or found[0] > shape[0]:
            raise ArtifactCorrupt(
                f"{where}: {name!r} is {found}, the model has {shape}. Run: fisher compute CHECKPOINT --force"
            )
        grown = torch.zeros(shape, dtype=tensor.dtype, device=tensor.device)
        grown[: found[0]] = tensor
        aligned[name] = grown
    return aligned


def _few(names: list[str]) -> str:
    return (
        ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"
    )
