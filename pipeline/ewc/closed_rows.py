"""Head rows of merged and retired labels, as the weights show them."""

from collections.abc import Mapping

from torch import Tensor

CLOSED_BIAS = -1e4
"""Of a closed row. Softmax makes exactly 0 of it in fp32, and it is finite in fp16, too."""


def closed_in(tensors: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """Parameter name to the ids of its closed rows, from the weights alone: a bias of exactly CLOSED_BIAS."""
    found: dict[str, list[int]] = {}
    for name, tensor in tensors.items():
        if name.endswith(".bias") and tensor.dim() == 1 and bool((tensor == CLOSED_BIAS).any()):
            ids = (tensor == CLOSED_BIAS).nonzero().flatten().tolist()
            found |= {name: ids, name.removesuffix("bias") + "weight": ids}
    return found
