"""When a row was made, in the forms that exports write it."""

import re
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

_EARLIEST, _LATEST = 946_684_800, 4_102_444_800
"""Seconds of 2000 and 2100: a whole number between them, in seconds or finer units, is taken for a time."""
_UNITS = (1, 10**3, 10**6, 10**9)
_ZONES = {"UTC": 0, "UT": 0, "GMT": 0, "Z": 0} | {
    f"{zone}{kind}T": hours + (kind == "D")
    for zone, hours in {"E": -5, "C": -6, "M": -7, "P": -8}.items()
    for kind in "SD"
}
"""Hours from UTC of the zones that RFC 2822, section 4.3, names."""
_ZONED = re.compile(r"\A(.*\d)\s*([A-Za-z]{1,3})\Z", re.DOTALL)
_DIGITS = re.compile(r"\A\d{9,20}(\.\d+)?\Z")


def moment_of(value: object) -> datetime:
    """A moment in UTC: ISO 8601 (a space for the T, a zone by name), RFC 2822, or the time since 1970 in s, ms, us or ns.

    A moment without a zone is taken as UTC.

    Raises:
        ValueError: it is none of these; with what was expected.
    """
    moment = value if isinstance(value, datetime) else _parsed(value)
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range in UTC") from None


def _parsed(value: object) -> datetime:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("expected ISO 8601")
    if not isinstance(value, str):
        return _since_1970(float(value))
    text = value.strip()
    if _DIGITS.match(text):
        return _since_1970(float(text))
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    zoned = _ZONED.match(text)
    if zoned is not None and zoned[2].upper() in _ZONES:
        try:
            moment = datetime.fromisoformat(zoned[1].strip())
            if moment.tzinfo is None:
                return moment.replace(tzinfo=timezone(timedelta(hours=_ZONES[zoned[2].upper()])))
        except ValueError:
            pass
    try:
        return parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        raise ValueError("expected ISO 8601") from None


def _since_1970(number: float) -> datetime:
    for unit in _UNITS:
        if _EARLIEST <= number / unit < _LATEST:
            return datetime.fromtimestamp(number / unit, UTC).replace(microsecond=0)
    raise ValueError("expected ISO 8601, or a time since 1970 that lies in 2000 to 2099")
