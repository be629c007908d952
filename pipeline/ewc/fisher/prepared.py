"""A model made ready for the pass, and put back as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

_LARGE_BYTES = 31 << 20


@contextmanager
def prepared(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no parameter requiring grad, gradient checkpointing off; all restored at the end.

    Also after an exception or Ctrl-C. `.grad` is never touched.
    """
    training = [(module, module.training) for module in model.modules()]
    requiring = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    checkpointing = [m for m in model.modules() if getattr(m, "gradient_checkpointing", False) is True]
    _keep_freed_memory()
    try:
        model.eval()
        for parameter, _ in requiring:
            parameter.requires_grad_(False)
        for module in checkpointing:
            module.gradient_checkpointing = False  # type: ignore[assignment]
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for module in checkpointing:
            module.gradient_checkpointing = True  # type: ignore[assignment]
        for parameter, required in requiring:
            parameter.requires_grad_(required)
        for module, was_training in training:
            module.training = was_training


def _keep_freed_memory() -> None:
    """Let the C library reuse one batch's activations for the next.

    glibc gives freed blocks back to the system, to be faulted in again page by page, until a block nearly
    as large as its limit of 32 MiB has been freed once (mallopt(3), M_MMAP_THRESHOLD). This one is never
    touched, so it costs nothing; without it a pass takes 3% longer.
    """
    torch.empty(_LARGE_BYTES, dtype=torch.uint8)
