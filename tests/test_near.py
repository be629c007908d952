"""Texts that are nearly the same, whatever their order."""

import json
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.feedback import check_feedback
from pipeline.labels import LabelSet
from pipeline.months import Month
from pipeline.near import LEAST_ALIKE, NearTexts
from pipeline.rows import RawRecord
from tests import toy
from tests.conftest import call

LONG = "please tell me when the parcel that i ordered last week from your shop will be delivered to my house"
WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h"]), min_size=1, max_size=9).map(
    " ".join
)


def test_a_long_text_with_one_other_word_is_nearly_the_same() -> None:
    near = NearTexts(["something else", LONG])
    assert near.nearest(LONG.replace("house", "office")) == LONG
    assert near.nearest(LONG.upper() + "!") == LONG
    assert (
        near.nearest(LONG.replace("parcel", "letter").replace("week", "month").replace("shop", "store"))
        is None
    )


def test_short_texts_that_differ_in_a_word_are_not() -> None:
    assert NearTexts(["what is my card limit"]).nearest("what is my card pin") is None


@given(st.lists(WORDS, max_size=8), WORDS)
def test_it_finds_what_comparing_with_each_finds(texts: list[str], text: str) -> None:
    def parts(one: str) -> set[str]:
        words = one.split()
        return {*words, *map(" ".join, pairwise(words))}

    def alike(other: str) -> float:
        return len(parts(text) & parts(other)) / len(parts(text) | parts(other))

    pairs = [other for other in dict.fromkeys(texts) if {p for p in parts(text) & parts(other) if " " in p}]
    best = max(pairs, key=alike, default=None)
    expected = best if best is not None and alike(best) >= LEAST_ALIKE else None
    assert NearTexts(texts).nearest(text) == expected


def test_rows_that_are_nearly_golden_are_counted_or_refused(launched: Path) -> None:
    golden = launched / "golden/2026-01.jsonl"
    toy.write_jsonl(golden, [*toy.read_jsonl(golden), {"text": LONG, "label": "parcel"}])
    file = launched / "feedback/2026-02.jsonl"
    rows = toy.read_jsonl(file)
    toy.write_jsonl(file, [*rows, {**rows[0], "id": "near", "text": LONG.replace("house", "office")}])
    words = ("ingest", "--month", "2026-02", "-w", launched)
    done = call(*words)
    assert done.code == 0, done.err
    assert "1 row(s) are nearly a golden row" in done.err
    done = call(*words, "-o", "ingest.near_golden=refuse")
    assert done.code == 0, done.err
    attempt = sorted((launched / "runs/2026-02").glob("*/ingest"))[-1]
    summary = json.loads((attempt / "summary.json").read_text())
    assert (summary["near_golden"], summary["rejected_by_rule"]) == (0, {"near_golden": 1})


def test_a_nearly_golden_row_that_another_rule_refuses_is_not_counted() -> None:
    row = {"kind": "correction", "label": "unheard of", "text": LONG.replace("house", "office")}
    found = check_feedback(
        [RawRecord("f", 1, row)],
        month=Month(2026, 2),
        labels=LabelSet(("a",)),
        golden_texts=(),
        near=NearTexts([LONG]),
    )
    assert (found.near_golden, found.rows) == (0, ())
