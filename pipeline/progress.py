"""How long work tells how far it is, without knowing whether anyone looks."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Report `count` finished units, and optionally a short note such as `loss 0.41`."""

    def __call__(self, count: int = 1, note: str = "") -> None: ...


class Progress(Protocol):
    """Opens a bar (or prints plain lines, or does nothing) for a piece of work of known size."""

    def __call__(self, title: str, total: int, unit: str) -> AbstractContextManager[Advance]: ...


@contextmanager
def silent(title: str, total: int, unit: str) -> Iterator[Advance]:
    """The Progress that shows nothing."""

    def advance(count: int = 1, note: str = "") -> None:
        return None

    yield advance
