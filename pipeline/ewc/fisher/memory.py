"""What a batch costs in memory, measured."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from pipeline.ewc.fisher.capture import Capture
from pipeline.ewc.fisher.estimate import Batch, wanted_parameters
from pipeline.ewc.fisher.examples import named_examples
from pipeline.ewc.fisher.fallback import forward_hooked
from pipeline.ewc.fisher.prepared import prepared

_LOGITS_IN_DOUBLE = 4
"""float64 copies of the logits that drawing a label takes at once: logits, softmax, cumulative sum, column."""


def activation_bytes(
    model: nn.Module,
    batch: Batch,
    *,
    parameters: Collection[str] | None = None,
    autocast_dtype: torch.dtype | None = None,
) -> int:
    """Bytes that a forward keeps until the backward, and what drawing labels from its logits takes.

    Kept are autograd's saved tensors and the layers' inputs.

    Attention may keep T x T weights, so measure on texts as long as the longest.

    Args:
        model: as for `fisher_diagonal`.
        batch: examples to try; not empty.
        parameters, autocast_dtype: as for `fisher_diagonal`.

    Returns:
        Bytes of distinct storages, without the parameters' own.
    """
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    capture = Capture(model, wanted_parameters(model, parameters), set())
    with prepared(model), capture.hooked():
        ready = next(named_examples([batch], model))
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            logits = forward_hooked(model, capture, ready, autocast_dtype)
        for tensor in (logits, *capture.kept_inputs()):
            note(tensor)
    return sum(kept.values()) + _LOGITS_IN_DOUBLE * 8 * logits.numel()
