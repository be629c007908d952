"""The default month, whatever the machine's clock and time zone say."""

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

LIBRARIES = [
    Path("/usr/lib") / folder / "faketime" / "libfaketime.so.1"
    for folder in ("x86_64-linux-gnu", "aarch64-linux-gnu", "")
]
FAKETIME = next((path for path in LIBRARIES if path.exists()), None)
ZONES = (
    "UTC",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "Asia/Kathmandu",
    "America/New_York",
    "Australia/Lord_Howe",
)
# instants in UTC: month ends, a leap day, the hour that daylight saving drops in New York and doubles in Lord Howe
INSTANTS = {
    "2026-03-01 00:00:00": "2026-02",
    "2026-02-28 23:59:59": "2026-01",
    "2028-02-29 12:00:00": "2028-01",
    "2028-03-01 00:00:01": "2028-02",
    "2026-03-08 07:30:00": "2026-02",
    "2026-04-04 15:30:00": "2026-03",
    "2026-12-31 23:59:59": "2026-11",
    "2027-01-01 00:00:00": "2026-12",
}
PROGRAM = "from cli.options import month_or_previous; print(month_or_previous(None))"


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed (Debian package faketime)")
@pytest.mark.parametrize("zone", ZONES)
def test_the_default_month_is_the_previous_one_in_utc_in_every_zone(zone: str) -> None:
    for instant, expected in list(INSTANTS.items())[:4]:
        at = f"@{datetime.fromisoformat(f'{instant}+00:00').timestamp():.0f}"
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "LD_PRELOAD": str(FAKETIME), "TZ": zone, "FAKETIME": at, "FAKETIME_FMT": "%s"},
        )
        assert done.stdout.strip() == expected, (zone, instant)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(("instant", "expected"), INSTANTS.items())
def test_the_default_month_follows_an_injected_clock(
    zone: str, instant: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same without a library that fakes the time of the whole process."""
    import datetime as library
    import time

    from cli import options

    moment = library.datetime.fromisoformat(f"{instant}+00:00")

    class Standing(library.datetime):
        @classmethod
        def now(cls, tz: library.tzinfo | None = None) -> "Standing":
            return cls.fromtimestamp(moment.timestamp(), tz)

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        monkeypatch.setattr(options, "datetime", Standing)
        assert str(options.month_or_previous(None)) == expected
    finally:
        monkeypatch.undo()
        time.tzset()
