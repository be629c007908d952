"""What a user's table is once it is read, and what its owner may say of it where it does not show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.config import Config
from pipeline.masking import Masked, mask

FILE_LIMIT_BYTES = 512 * 2**20
"""The largest file that is read, and the most that one may decode to."""
ROW_LIMIT = 2_000_000
LINE_LIMIT_BYTES = 2**20
"""The longest line or cell; a longer one is refused alone."""

NEEDED = ("id", "created_at", "kind", "text", "label", "slice", "user")
"""The fields that are ever asked for; other columns are left where they are."""


class TableRow(NamedTuple):
    """One row of a user's file: the line (or, where there are none, the row) it begins at, from 1, and its record.

    `value` is the record, or the reason for which there is none.
    """

    line: int
    value: dict[str, object] | str


@dataclass(frozen=True)
class Table:
    """A table that was read.

    Attributes:
        rows: in file order.
        told: what was found out about the file, such as its delimiter, in words; empty where all is as it ought to be.
        label_names: the names that whole-number labels stand for, where the file says so.
    """

    rows: list[TableRow]
    told: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dialect:
    """What a team says of its files where they do not show it themselves.

    Attributes:
        columns: field to the column or key that holds it.
        kind: of rows that have none; None where they must have one.
        encoding: of text files; None finds out UTF-8 and UTF-16.
        delimiter: of a CSV file; None finds it out.
        label_names: what whole-number labels are ids of, where the file itself does not say.
        masked: personal data that no message may quote.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    kind: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    label_names: tuple[str, ...] = ()
    masked: tuple[Masked, ...] = ()

    def quoted(self, text: str) -> str:
        """What a message may quote of a file: where a header is missing, its columns are named by a row."""
        return mask(text, self.masked)[0]

    @property
    def needed(self) -> frozenset[str]:
        """The names of columns that may be asked for."""
        return frozenset(NEEDED) | frozenset(self.columns.values())


AS_FOUND = Dialect()


def dialect_of(config: Config) -> Dialect:
    """What the configuration says of the team's files."""
    return recorded_dialect(config.resolved())


def recorded_dialect(resolved: Mapping[str, Any]) -> Dialect:
    """What a resolved configuration says of them, of this release or an earlier one, as manifests keep it."""
    ingest: Mapping[str, Any] = resolved.get("ingest", {})
    return Dialect(
        dict(ingest.get("columns") or {}),
        ingest.get("kind"),
        ingest.get("encoding"),
        ingest.get("delimiter"),
        masked=tuple(ingest.get("mask") or ()),
    )
