"""Months have one written form, a total order, and contain the moments of their half-open interval in UTC."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.months import Month

months = st.builds(Month, st.integers(1000, 3000), st.integers(1, 12))


@given(months)
def test_the_written_form_is_read_back(month: Month) -> None:
    assert Month.parse(str(month)) == month


@given(months, months)
def test_months_are_ordered_as_their_written_forms(one: Month, other: Month) -> None:
    assert (one < other) == (str(one) < str(other))
    assert (one < other) + (one == other) + (one > other) == 1


@given(months, st.integers(-500, 500))
def test_shifting_there_and_back_changes_nothing(month: Month, count: int) -> None:
    assert month.shifted(count).shifted(-count) == month
    assert (month.shifted(count) > month) == (count > 0)


@pytest.mark.parametrize(
    "text",
    [
        "2026", "2026-1", "2026-00", "2026-13", "26-01", "2026-01-01", " 2026-01", "2026-01\n", "2026/01",
        "0000-01", "٢٠٢٦-01", "", "champion",
    ],
)  # fmt: skip
def test_any_other_form_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="expected YYYY-MM, such as 2026-10"):
        Month.parse(text)


def test_the_year_turns_after_december_and_before_january() -> None:
    assert Month(2026, 12).next == Month(2027, 1)
    assert Month(2026, 1).previous == Month(2025, 12)


def test_a_range_of_months_holds_both_ends_across_the_year() -> None:
    assert list(map(str, Month(2026, 11).until(Month(2027, 2)))) == [
        "2026-11",
        "2026-12",
        "2027-01",
        "2027-02",
    ]
    assert Month(2026, 11).until(Month(2026, 11)) == [Month(2026, 11)]
    assert Month(2026, 11).until(Month(2026, 10)) == []


def test_a_month_contains_its_first_instant_and_not_that_of_the_next() -> None:
    month = Month(2026, 2)
    assert month.start in month
    assert month.next.start not in month
    assert month.next.start - timedelta(microseconds=1) in month


def test_a_moment_belongs_to_its_month_in_utc() -> None:
    late_in_new_york = datetime(2026, 1, 31, 22, tzinfo=timezone(timedelta(hours=-5)))
    assert Month.of(late_in_new_york) == Month(2026, 2)
    assert Month.of(datetime(2026, 1, 31, 22, tzinfo=UTC)) == Month(2026, 1)


def test_a_moment_without_a_zone_is_taken_as_utc() -> None:
    assert Month.of(datetime(2026, 1, 31, 23, 59)) == Month(2026, 1)
