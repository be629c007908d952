"""Which examples go through the model together."""

import random
from collections.abc import Sequence


def batches_by_length(
    lengths: Sequence[int],
    *,
    max_tokens: int,
    max_examples: int = 64,
    seed: int | None = None,
    equal: bool = False,
) -> list[list[int]]:
    """Group examples of like length, so that little is padded.

    Args:
        lengths: tokens of each example.
        max_tokens: limit on a batch's examples times its longest length; an example that is longer
            stands alone.
        max_examples: limit on a batch's examples.
        seed: shuffles the order of the batches, so that a pass may stop early without having seen only
            short texts; None leaves the longest first, so that memory runs out at once or never.
        equal: whether a batch holds examples of one length alone, so that nothing is padded.

    Returns:
        Batches of positions in `lengths`, each position once.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        current = batches[-1] if batches else None
        if (
            current is None
            or len(current) == max_examples
            or (equal and lengths[current[0]] != lengths[index])
            or lengths[current[0]] * (len(current) + 1) > max_tokens
        ):
            batches.append([index])
        else:
            current.append(index)
    if seed is not None:
        random.Random(seed).shuffle(batches)
    return batches


def tokens_that_fit(memory_bytes: int, *, bytes_per_token: int) -> int:
    """The largest `max_tokens` whose activations fit, at least 1."""
    return max(1, memory_bytes // max(1, bytes_per_token))
