"""What becomes of rows that disagree, whatever their order."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.labels import LabelSet
from pipeline.row_policies import Policy, losers, spellings

Given = tuple[str, str, str]
"""Text, label, moment."""


def lost(rows: list[Given], policy: Policy) -> set[Given]:
    found = losers(rows, text=lambda r: r[0], label=lambda r: r[1], moment=lambda r: r[2], policy=policy)
    return {rows[place] for place in found}


def test_a_label_is_read_as_the_known_one_that_differs_in_case_space_or_form() -> None:
    known = LabelSet(("refund", "r\N{LATIN SMALL LETTER E WITH ACUTE}clamation"))
    written = ["Refund", "re fund", "re\N{COMBINING ACUTE ACCENT}clamation", "refund", "delivery"]
    assert spellings(written, known) == {
        "Refund": "refund",
        "re fund": "refund",
        "re\N{COMBINING ACUTE ACCENT}clamation": "r\N{LATIN SMALL LETTER E WITH ACUTE}clamation",
    }


def test_known_labels_that_differ_by_case_alone_stay_two() -> None:
    assert spellings(["Refund", "refund"], LabelSet(("Refund", "refund"))) == {}


@given(st.permutations(["New label", "new label", "new label", "NEW LABEL"]))
def test_of_new_spellings_the_one_of_most_rows_counts(written: list[str]) -> None:
    assert spellings(written, LabelSet(())) == {"New label": "new label", "NEW LABEL": "new label"}


ROWS: list[Given] = [("t", "a", "01"), ("t", "b", "02"), ("t", "a", "01"), ("u", "a", "01")]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("newest", {("t", "a", "01")}),
        ("majority", {("t", "b", "02")}),
        ("refuse", {("t", "a", "01"), ("t", "b", "02")}),
    ],
)
def test_a_text_with_two_labels_is_decided_alike_in_every_order(policy: Policy, expected: set[Given]) -> None:
    for rows in permutations(ROWS):
        assert lost(list(rows), policy) == expected


@pytest.mark.parametrize("policy", ["newest", "majority"])
def test_where_it_is_a_tie_no_row_is_kept(policy: Policy) -> None:
    rows: list[Given] = [("t", "a", "02"), ("t", "b", "02")]
    assert lost(rows, policy) == set(rows)


def test_a_text_that_occurs_again_with_its_label_loses_nothing() -> None:
    assert lost([("t", "a", "01"), ("t", "a", "02")], "refuse") == set()
