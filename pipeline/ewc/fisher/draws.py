"""Random numbers that are a pure function of a seed, an example and a position.

A generator's state would make a draw depend on the batch it fell into. Here every number is a hash
(the splitmix64 finaliser: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
generators") of the seed, the example's key and an index, so batch size, order and process count
change nothing.
"""

import torch
from torch import Tensor

_GAMMA = -7046029254386353131  # 0x9E3779B97F4A7C15, the odd number nearest 2^64 / golden ratio
_FIRST = -4658895280553007687  # 0xBF58476D1CE4E5B9
_SECOND = -7723592293110705685  # 0x94D049BB133111EB
_SIGNS_PER_HASH = 32


def _shift_right(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)  # int64 shifts copy the sign; the mask takes it off


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _FIRST  # int64 products wrap, as the hash wants
    x = (x ^ _shift_right(x, 27)) * _SECOND
    return x ^ _shift_right(x, 31)


def _hashes(seed: int, stream: int, keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Hashes int64 [*keys.shape, *shape]."""
    start = torch.tensor([seed, stream], dtype=torch.int64, device=keys.device)
    state = _mix(_mix(start[0] + _GAMMA) + start[1] * _GAMMA)
    state = _mix(_mix(keys.long() * _GAMMA + state) + _GAMMA)
    for size in shape:
        index = torch.arange(1, size + 1, device=keys.device) * _GAMMA
        state = _mix(state.unsqueeze(-1) + index)
    return state


def uniforms(seed: int, stream: int, keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Independent uniform numbers in [0, 1).

    Args:
        seed, stream: the run's seed, and which of its draws this is.
        keys: the examples' names, int64 [B].
        shape: numbers per example.

    Returns:
        float64 [B, *shape].
    """
    return _shift_right(_hashes(seed, stream, keys, shape), 11).double() * 2.0**-53


def signs(seed: int, stream: int, keys: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Independent signs, -1 or +1 with equal odds, [B, *shape]; arguments as for `uniforms`."""
    *outer, last = shape
    words = _hashes(seed, stream, keys, (*outer, -(-last // _SIGNS_PER_HASH)))
    places = torch.arange(_SIGNS_PER_HASH, device=keys.device) + 16  # the middle bits
    bits = (words.unsqueeze(-1) >> places) & 1
    return bits.flatten(-2)[..., :last].to(dtype).mul_(2).sub_(1)
