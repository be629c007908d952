"""Times as exports write them."""

from datetime import UTC, datetime

import pytest

from pipeline.moments import moment_of

MOMENT = datetime(2026, 2, 1, 10, 0, tzinfo=UTC)
SECONDS = int(MOMENT.timestamp())


@pytest.mark.parametrize(
    "written",
    [
        "2026-02-01T10:00:00Z",
        "2026-02-01 10:00:00",
        "2026-02-01 10:00:00 UTC",
        "2026-02-01T10:00:00 GMT",
        "2026-02-01T05:00:00 EST",
        "2026-02-01T11:00:00+01:00",
        "Sun, 01 Feb 2026 10:00:00 GMT",
        SECONDS,
        float(SECONDS),
        str(SECONDS),
        SECONDS * 10**3,
        str(SECONDS * 10**3),
        f"{SECONDS}.0",
        SECONDS * 10**6,
        SECONDS * 10**9,
        MOMENT,
        MOMENT.replace(tzinfo=None),
    ],
)
def test_a_moment_is_read_in_every_form(written: object) -> None:
    assert moment_of(written) == MOMENT


@pytest.mark.parametrize(
    "written",
    ["yesterday", "", "2026-02-30", "01/02/2026", 1770, "1770", 10**30, -5, True, None, ["2026"], "x UTC"],
)
def test_what_is_no_moment_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"expected ISO 8601"):
        moment_of(written)


def test_a_moment_beyond_all_time_is_refused() -> None:
    with pytest.raises(ValueError, match="out of range in UTC"):
        moment_of("0001-01-01T00:00:00+14:00")
