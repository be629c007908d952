"""Frozen lower layers: what they say about a row never changes, so it is computed once and looked up.

Dropout is off in what is looked up, as frozen layers have nothing to regularise.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.modeling.batches import Encoded, padded_batches
from pipeline.modeling.task import Learner
from pipeline.modeling.trained import Trained

MOST_BYTES = 2 * 1024**3
"""Above it nothing is kept, and the frozen layers run in every pass."""


class _Reached(Exception):
    """Ends a forward pass after the last frozen layer."""


@dataclass(frozen=True)
class FrozenLayers:
    """The frozen layers at the bottom of a model, and their last output for each row.

    Attributes:
        layers: bottom first; not empty.
        outputs: token ids of a row to [T, H].
    """

    layers: tuple[nn.Module, ...]
    outputs: dict[tuple[int, ...], Tensor]

    @contextmanager
    def looked_up(self, model: nn.Module) -> Iterator[None]:
        """While open, batches of known rows skip the frozen layers; others pass through them as ever."""
        found: list[Tensor | None] = [None]

        def look_up(_module: nn.Module, _args: Any, inputs: dict[str, Any]) -> None:
            found[0] = self._batch(inputs)

        def bypassing(layer: nn.Module) -> Any:
            original, last = layer.forward, layer is self.layers[-1]

            def forward(hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
                if found[0] is None:
                    return original(hidden, *args, **kwargs)
                return found[0] if last else hidden

            return forward

        handle = model.register_forward_pre_hook(look_up, with_kwargs=True)
        for layer in self.layers:
            layer.forward = bypassing(layer)
        try:
            yield
        finally:
            handle.remove()
            for layer in self.layers:
                del layer.forward

    def _batch(self, inputs: dict[str, Any]) -> Tensor | None:
        """The outputs of a batch, [B, T, H] with zeros at padding on the right; None if any row is unknown."""
        ids, mask = inputs.get("input_ids"), inputs.get("attention_mask")
        if ids is None or mask is None:
            return None
        lengths = mask.sum(dim=1).tolist()
        rows = [self.outputs.get(tuple(row[:n])) for row, n in zip(ids.tolist(), lengths, strict=True)]
        known = [row for row in rows if row is not None]
        if len(known) < len(rows):
            return None
        batch = known[0].new_zeros((*ids.shape, known[0].shape[1]))
        for index, row in enumerate(known):
            batch[index, : len(row)] = row
        return batch


@torch.no_grad()
def remember_frozen_layers(
    classifier: Learner, rows: Sequence[Encoded], trained: Trained, *, autocast: torch.dtype | None = None
) -> FrozenLayers | None:
    """One pass over the rows through the layers that a training leaves as they are, dropout off.

    Args:
        rows: that will be trained on or measured; any other row still gets its right answer.
        trained: what the training moves.
        autocast: torch.bfloat16 or None, as in training.

    Returns:
        None where no layer is frozen, where the outputs would take more than MOST_BYTES, or where the
        model's layers are of a kind whose output is not one tensor [B, T, H].
    """
    model: Any = classifier.model
    frozen = trained.frozen_below(model)
    unique = {tuple(row): row for row in rows}
    width = getattr(model.config, "hidden_size", 0)
    tokens = sum(len(row) for row in unique)
    if not frozen or not unique or tokens * width * model.dtype.itemsize > MOST_BYTES:
        return None
    caught: list[Any] = []
    outputs: dict[tuple[int, ...], Tensor] = {}

    def catch(_module: nn.Module, _args: Any, output: Any) -> None:
        caught.append(output)
        if outputs:  # the first batch goes all the way, which shows that the layer runs once a pass
            raise _Reached

    handle = frozen[-1].register_forward_hook(catch)
    was_training = model.training
    model.eval()
    encoded = list(unique.values())
    try:
        for positions, batch in padded_batches(classifier.tokenizer, encoded):
            caught.clear()
            with (
                suppress(_Reached),
                torch.autocast(model.device.type, dtype=autocast, enabled=autocast is not None),
            ):
                model(**{name: tensor.to(model.device) for name, tensor in batch.items()})
            if len(caught) != 1 or not isinstance(caught[0], Tensor) or caught[0].dim() != 3:
                return None
            for index, position in enumerate(positions):
                row = encoded[position]
                outputs[tuple(row)] = caught[0][index, : len(row)].clone()
    finally:
        handle.remove()
        model.train(was_training)
    return FrozenLayers(tuple(frozen), outputs)
