"""Months: `YYYY-MM`, totally ordered, half-open in UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.errors import UsageError

_FORM = re.compile(r"\A([0-9]{4})-(0[1-9]|1[0-2])\Z", re.ASCII)


@dataclass(frozen=True, order=True, slots=True)
class Month:
    """One calendar month in UTC; `str(month)` is its only written form, `YYYY-MM`."""

    year: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """Read `YYYY-MM`.

        Raises:
            UsageError: when the text has any other form.
        """
        match = _FORM.match(text)
        if match is None or match[1] == "0000":
            raise UsageError(f"month {text!r}: expected YYYY-MM, such as 2026-10")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of(cls, moment: datetime) -> Month:
        """The month in UTC that contains a moment; a naive moment is taken as UTC."""
        utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return cls(utc.year, utc.month)

    def shifted(self, months: int) -> Month:
        """The month that lies `months` later (earlier when negative)."""
        count = self.year * 12 + self.number - 1 + months
        return Month(count // 12, count % 12 + 1)

    @property
    def next(self) -> Month:
        return self.shifted(1)

    @property
    def previous(self) -> Month:
        return self.shifted(-1)

    def until(self, last: Month) -> list[Month]:
        """This month and those after it, `last` among them; empty where `last` is earlier."""
        return [
            self.shifted(later)
            for later in range((last.year - self.year) * 12 + last.number - self.number + 1)
        ]

    @property
    def start(self) -> datetime:
        """The first instant of the month, in UTC; the month ends before `next.start`."""
        return datetime(self.year, self.number, 1, tzinfo=UTC)

    def __contains__(self, moment: datetime) -> bool:
        return Month.of(moment) == self

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.number:02d}"
