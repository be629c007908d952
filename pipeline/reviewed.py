"""What a person decided about a row of feedback: another label for it, or that it is not learned."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pipeline.rows import Row


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision about one row.

    Attributes:
        id: of the row.
        row: `fingerprint` of the row as its file has it: a decision about another row of that id is none.
        label: the right one; None where it stays.
        keep: False where the row is not to be learned.
    """

    id: str
    row: str
    label: str | None
    keep: bool


Decisions = Mapping[str, Decision]
"""By the id of their row."""
NO_DECISIONS: Decisions = MappingProxyType({})


def fingerprint(row: Row) -> str:
    """16 hexadecimal digits of the SHA-256 over a row's text and label, as its file has them."""
    return hashlib.sha256(f"{row.text}\0{row.label}".encode()).hexdigest()[:16]


def decision_on(row: Row | None, decisions: Decisions) -> Decision | None:
    """What was decided about a row as its file has it; None where nothing was, or about a row that has changed since."""
    decision = decisions.get(row.id) if row is not None else None
    return decision if decision is not None and row is not None and decision.row == fingerprint(row) else None
