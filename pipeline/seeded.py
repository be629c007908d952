"""An order that depends on a seed and a name alone."""

import hashlib


def rank(name: str, *, seed: int, purpose: str) -> bytes:
    """Where a name stands in the order of a seed and a purpose."""
    return hashlib.sha256(f"{seed}\0{purpose}\0{name}".encode()).digest()
