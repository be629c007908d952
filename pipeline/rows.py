"""Rows of feedback and launch data, as they were read, as they can be used, and as they are refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.floods import Flood
from pipeline.labels import LabelSet
from pipeline.row_policies import Spelling

Kind = Literal["correction", "escalation", "catalog", "launch"]


@dataclass(frozen=True, slots=True)
class Row:
    """A text and the answer to it, a label. `created_at` is ISO 8601 in UTC; `kind` is `launch` for launch data."""

    id: str
    created_at: str
    kind: Kind
    text: str
    label: str

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same row in another month: id and text; exports may number each month from 1."""
        return self.id, self.text

    def as_record(self) -> dict[str, object]:
        """Its fields by name, as tables hold them."""
        return {
            "id": self.id,
            "created_at": self.created_at,
            "kind": self.kind,
            "text": self.text,
            "label": self.label,
        }


class Unanswered(str):
    """Why a row has no label: in the tool that exported it nobody gave one, or took it back."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One raw row as it was read.

    Attributes:
        file: as messages name it.
        fields: None where it could not be read; `problem` says why.
        of_one_month: whether its file is one month's alone. Where it is not, rows of other months are passed
            over instead of refused, and a row without a time is refused.
    """

    file: str
    line: int
    fields: Mapping[str, object] | None
    problem: str = ""
    of_one_month: bool = True

    @property
    def code(self) -> str:
        """The rule that refuses a row that could not be read."""
        return "unanswered" if isinstance(self.problem, Unanswered) else "unreadable"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A refused row: where it stands and why.

    Attributes:
        code: of the rule that refuses it.
    """

    file: str
    line: int
    reason: str
    fields: Mapping[str, object] | None = None
    code: str = "fields"

    @property
    def on_purpose(self) -> bool:
        """Whether the row is sound, and the team's own rules leave it out: it says nothing bad about the rest."""
        return self.code in (
            "retired_label",
            "conflict",
            "duplicate",
            "near_duplicate",
            "flood",
            "reviewed_out",
            "unanswered",
        )


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """The rows that can be used, the label set with what they bring, and the refused ones."""

    rows: tuple[Row, ...]
    labels: LabelSet
    rejected: tuple[Rejection, ...]
    spellings: tuple[Spelling, ...] = ()
    repeated: int = 0
    """Rows among them with the text and label of another one."""
    passed_over: int = 0
    """Rows of other months in a file of several, and rows that the month itself set aside as golden."""
    near_golden: int = 0
    """Rows among them that are nearly golden ones."""
    floods: tuple[Flood, ...] = ()
    """Users who gave more of them than is expected."""
    near_duplicates: int = 0
    """Rows among them that are nearly another one of their label."""
    corrected: int = 0
    """Rows that a person's review gave another label."""


@dataclass(frozen=True, slots=True)
class UserCap:
    """What one user may give of a month.

    Attributes:
        share: of the month's rows, at most.
        refuses: whether rows beyond it are refused; which ones is drawn by `seed`.
    """

    share: float
    refuses: bool
    seed: int
