"""Golden sets are read strictly, and every problem is told at once."""

import pytest

from pipeline.errors import BadData
from pipeline.evaluation.golden import GoldenRow, parse_golden


def parse(*records: dict[str, object]) -> tuple[GoldenRow, ...]:
    return parse_golden(records, name="2026-02", where="golden/2026-02.jsonl").rows


def test_rows_keep_order_and_fields() -> None:
    rows = parse(
        {"id": "a", "text": "reset it", "label": "password", "slice": "new", "user": "u1"},
        {"id": "b", "text": "no wifi", "label": "wifi", "slice": None},
    )
    assert rows == (GoldenRow("a", "reset it", "password", "new"), GoldenRow("b", "no wifi", "wifi", ""))


def test_white_space_around_text_and_label_is_dropped() -> None:
    assert parse({"id": "a", "text": " no wifi\n", "label": "wifi "}) == (
        GoldenRow("a", "no wifi", "wifi", ""),
    )


def test_the_name_is_kept() -> None:
    golden = parse_golden([], name="2026-02", where="x")
    assert (golden.name, golden.rows) == ("2026-02", ())


def test_absent_ids_are_made_from_text_and_label_the_same_each_time() -> None:
    first, second = parse({"text": "no wifi", "label": "wifi"}, {"text": "no wifi", "label": "vpn"})
    again = parse({"text": "no wifi", "label": "vpn"})[0]
    assert first.id != second.id
    assert again.id == second.id == "363e5fd523550a92"


def test_an_empty_id_is_made_and_a_number_is_taken_as_text() -> None:
    made, numbered = parse(
        {"id": "", "text": "no wifi", "label": "vpn"}, {"id": 7, "text": "x", "label": "l"}
    )
    assert (made.id, numbered.id) == ("363e5fd523550a92", "7")


def test_the_same_id_twice_is_refused_with_both_rows() -> None:
    with pytest.raises(BadData, match=r"row 3: the same id 'a' as row 1"):
        parse(
            {"id": "a", "text": "x", "label": "l"},
            {"id": "b", "text": "x", "label": "l"},
            {"id": "a", "text": "y", "label": "l"},
        )


def test_the_same_row_twice_without_ids_is_refused() -> None:
    with pytest.raises(BadData, match=r"row 2: the same text and label as row 1"):
        parse({"text": "x", "label": "l"}, {"text": "x", "label": "l"})


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"label": "l"}, "row 1: 'text' is missing"),
        ({"text": None, "label": "l"}, "row 1: 'text' is missing"),
        ({"text": "x"}, "row 1: 'label' is missing"),
        ({"text": "x", "label": 4}, "row 1: 'label' is int, expected text"),
        ({"text": " \n", "label": "l"}, "row 1: 'text' is empty"),
        ({"id": True, "text": "x", "label": "l"}, "row 1: 'id' is bool, expected text"),
        ({"id": 7.5, "text": "x", "label": "l"}, "row 1: 'id' is float, expected text"),
        ({"text": "x", "label": "l", "slice": ["new"]}, "row 1: 'slice' is list, expected text"),
        ({"text": "broken \ud83d", "label": "l"}, "row 1: 'text' holds half of a surrogate pair"),
    ],
)
def test_each_bad_field_is_named(record: dict[str, object], problem: str) -> None:
    with pytest.raises(BadData) as caught:
        parse(record)
    assert "golden/2026-02.jsonl" in str(caught.value)
    assert problem in str(caught.value)


def test_all_problems_are_told_at_once_up_to_twenty() -> None:
    unlabelled: dict[str, object] = {"text": "x"}
    with pytest.raises(BadData) as caught:
        parse({"text": "fine", "label": "l"}, *[unlabelled] * 25)
    text = str(caught.value)
    assert text.count("'label' is missing") == 20
    assert "row 2: " in text
    assert "and 5 more" in text
