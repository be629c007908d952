"""Labels that were renamed, merged or retired count as such however feedback spells them."""

import pytest

from pipeline.feedback import check_feedback
from pipeline.label_changes import ChangeKind, LabelChange, LabelChanges
from pipeline.labels import LabelSet
from pipeline.months import Month
from pipeline.rows import CheckedRows, RawRecord

MONTH = Month(2026, 2)
WRITTEN = LabelSet(("billing", "repair", "refund", "stock"))


def checked(
    label: str, *changes: tuple[ChangeKind, str, str | None], labels: LabelSet = WRITTEN
) -> CheckedRows:
    made = LabelChanges(tuple(LabelChange(*change, MONTH) for change in changes))
    record = RawRecord("f.jsonl", 1, {"text": "a text", "label": label, "kind": "catalog"})
    return check_feedback([record], month=MONTH, labels=made.renamed(labels), golden_texts=(), changes=made)


@pytest.mark.parametrize("written", ["stock", "Stock", " STOCK "])
def test_a_retired_label_is_refused_however_it_is_spelled(written: str) -> None:
    found = checked(written, ("retire", "stock", None))
    assert [rejection.code for rejection in found.rejected] == ["retired_label"]


@pytest.mark.parametrize("written", ["repair", "Repair"])
def test_a_merged_label_counts_for_the_other_however_it_is_spelled(written: str) -> None:
    assert [row.label for row in checked(written, ("merge", "repair", "refund")).rows] == ["refund"]


@pytest.mark.parametrize("written", ["billing", "Billing", "Invoices"])
def test_a_renamed_label_has_its_new_name_however_it_is_spelled(written: str) -> None:
    found = checked(written, ("rename", "billing", "invoices"))
    assert [row.label for row in found.rows] == ["invoices"]
    assert found.labels.names[0] == "invoices"


def test_what_is_read_as_a_former_label_is_told() -> None:
    (spelling,) = checked("Billing", ("rename", "billing", "invoices")).spellings
    assert str(spelling) == "1 row(s) have the label 'Billing', which is read as 'billing'"


def test_a_label_in_use_goes_before_a_former_one_that_is_spelled_alike() -> None:
    both = LabelSet(("stock", "Stock", "billing"))
    assert [row.label for row in checked("STOCK", ("retire", "stock", None), labels=both).rows] == ["Stock"]
    renamed = checked("BILLING", ("rename", "billing", "Billing"))
    assert [row.label for row in renamed.rows] == ["Billing"]
