"""Cells that no spreadsheet computes or changes, and that come back as they were."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.spreadsheet_cells import as_cell, as_csv, from_cell


@given(st.text())
def test_a_text_comes_back_from_its_cell_as_it_was(text: str) -> None:
    assert from_cell(as_cell(text)) == text


@given(st.sampled_from("=+-@\t\r\n＝＋－＠"), st.text())
def test_no_cell_begins_as_a_formula_does(sign: str, text: str) -> None:
    assert as_cell(sign + text) == "'" + sign + text


@pytest.mark.parametrize(
    "text", ["007", "1e5", "2026-02", "1/2", "12:30", ".5", "1,000", "'quoted'", "=HYPERLINK(1)"]
)
def test_what_a_spreadsheet_would_change_is_marked(text: str) -> None:
    assert as_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "billing", "2 invoices came", "a=b", "refund-late", "é"])
def test_what_it_leaves_alone_is_not_marked(text: str) -> None:
    assert as_cell(text) == text


def test_a_table_is_csv_that_says_it_is_utf8_and_marks_all_but_numbers() -> None:
    rows = [{"text": 'é "quoted",\nin two lines', "share": "0.5"}, {"text": "=1+1", "share": "-0.5"}]
    data = as_csv(("text", "share"), rows, numbers=("share",))
    assert data.startswith(b"\xef\xbb\xbf")
    read = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert read == [["text", "share"], ['é "quoted",\nin two lines', "0.5"], ["'=1+1", "-0.5"]]
