"""Rows of a month that are nearly the same, whatever their order."""

import json
from itertools import combinations, permutations
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.feedback import check_feedback
from pipeline.labels import LabelSet
from pipeline.months import Month
from pipeline.near import LEAST_ALIKE, parts_of, similarity
from pipeline.near_duplicates import NearPolicy, near_groups
from pipeline.rows import CheckedRows, RawRecord
from tests import toy
from tests.conftest import call

LONG = "please tell me when the parcel that i ordered last week from your shop will be delivered to my {}"
TOKENS = tuple("abcdefghijklmnopqrst")
WORDS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=12).map(" ".join)


def checked(rows: list[tuple[str, str, int]], policy: NearPolicy) -> CheckedRows:
    records = [
        RawRecord(
            "f.jsonl",
            line,
            {
                "kind": "correction",
                "text": text,
                "label": label,
                "created_at": f"2026-02-{day:02d}T10:00:00Z",
            },
        )
        for line, (text, label, day) in enumerate(rows, start=1)
    ]
    return check_feedback(
        records,
        month=Month.parse("2026-02"),
        labels=LabelSet(("parcel", "refund")),
        golden_texts=(),
        near_duplicates=policy,
    )


@st.composite
def texts_and_edits(draw: st.DrawFn) -> list[str]:
    """Texts of different words, each beside copies with words added, dropped or replaced."""
    texts = []
    for _ in range(draw(st.integers(1, 3))):
        words = draw(st.permutations(TOKENS))[: draw(st.integers(4, 16))]
        texts.append(" ".join(words))
        for _ in range(draw(st.integers(1, 4))):
            start, end = draw(st.integers(0, len(words))), draw(st.integers(0, 2))
            put = draw(st.lists(st.sampled_from([*TOKENS, "x", "y", "z"]), max_size=2))
            texts.append(" ".join([*words[:start], *put, *words[start + end :]]) or "x")
    return texts


@example(["a b c d e", "a b c d e f"])  # of the longer one's rarest parts the other has but the last
@given(st.lists(WORDS, max_size=12) | texts_and_edits())
def test_groups_are_those_that_comparing_all_pairs_gives(texts: list[str]) -> None:
    linked = {text: {text} for text in texts}
    for one, other in combinations(sorted(set(texts)), 2):
        if similarity(parts_of(one), parts_of(other)) >= LEAST_ALIKE:
            together = linked[one] | linked[other]
            linked |= dict.fromkeys(together, together)
    expected = {tuple(sorted(group)) for group in linked.values() if len(group) > 1}
    assert {tuple(group) for group in near_groups(texts)} == expected


def test_many_texts_of_one_pattern_are_one_group() -> None:
    texts = [LONG.format(f"office{n}") for n in range(500)]
    assert near_groups(texts) == [sorted(texts)]


def test_rows_that_are_nearly_another_one_are_counted_and_stay() -> None:
    rows = [
        (LONG.format("house"), "parcel", 1),
        (LONG.format("office"), "parcel", 2),
        ("a refund", "refund", 3),
    ]
    found = checked(rows, "report")
    assert (len(found.rows), found.near_duplicates, found.rejected) == (3, 1, ())
    assert checked(rows, "ignore").near_duplicates == 0


def test_the_one_given_last_is_kept_whatever_the_order() -> None:
    rows = [
        (LONG.format("house"), "parcel", 1),
        (LONG.format("office"), "parcel", 3),
        (LONG.format("shed"), "parcel", 3),
        (LONG.format("door"), "refund", 2),
    ]
    for order in permutations(rows):
        found = checked(list(order), "refuse")
        assert {row.text for row in found.rows} == {LONG.format("office"), LONG.format("door")}
        assert [rejection.code for rejection in found.rejected] == ["near_duplicate"] * 2
        assert all(rejection.on_purpose for rejection in found.rejected)


def test_a_month_tells_how_many_there_are_and_leaves_them_out_where_asked(launched: Path) -> None:
    file = launched / "feedback/2026-02.jsonl"
    rows = toy.read_jsonl(file)
    more = [{**rows[0], "id": f"near-{n}", "text": LONG.format(f"room{n}")} for n in range(3)]
    toy.write_jsonl(file, [*rows, *more])
    words = ("ingest", "--month", "2026-02", "-w", launched)
    done = call(*words)
    assert (
        "are nearly another one of their label (ingest.near_duplicates: refuse leaves them out)" in done.err
    )
    told = json.loads((launched / "runs/2026-02/001/ingest/summary.json").read_text())
    done = call(*words, "-o", "ingest.near_duplicates=refuse")
    assert done.code == 0, done.err
    refused = json.loads((launched / "runs/2026-02/002/ingest/summary.json").read_text())
    assert told["near_duplicates"] >= 2
    assert refused["rejected_by_rule"]["near_duplicate"] == told["near_duplicates"]
    assert refused["rows"] + refused["rejected"] == refused["read"] == told["rows"]
