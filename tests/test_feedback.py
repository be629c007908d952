"""Feedback rows are checked one by one; what is refused says why."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.feedback import check_feedback, check_launch, check_sequences
from pipeline.labels import LabelSet
from pipeline.months import Month
from pipeline.normal_text import normalise
from pipeline.rows import CheckedRows, RawRecord, Row
from pipeline.sampling import hold_out, seeded_sample, set_aside

MONTH = Month(2026, 2)
LABELS = LabelSet(("billing", "login"))


def fields(**given: object) -> dict[str, object]:
    row = {
        "text": "my invoice",
        "label": "billing",
        "kind": "correction",
        "created_at": "2026-02-03T10:00:00Z",
    }
    return {**row, **given}


def check(
    *rows: dict[str, object] | None, golden: Sequence[str] = (), of_one_month: bool = True
) -> CheckedRows:
    records = [
        RawRecord("feedback.jsonl", line, row, "" if row is not None else "not JSON", of_one_month)
        for line, row in enumerate(rows, start=1)
    ]
    return check_feedback(
        records, month=MONTH, labels=LABELS, golden_texts={normalise(text) for text in golden}
    )


def reason(row: dict[str, object] | None, **options: object) -> str:
    checked = check(row, **options)  # type: ignore[arg-type]
    assert not checked.rows
    return checked.rejected[0].reason


def rows(count: int) -> list[Row]:
    return [
        Row(f"id-{i}", "2026-02-01T00:00:00Z", "correction", f"text {i}", "billing") for i in range(count)
    ]


def test_a_sound_row_is_taken_over_field_by_field() -> None:
    checked = check(fields(id="r1"))
    assert checked.rows == (Row("r1", "2026-02-03T10:00:00Z", "correction", "my invoice", "billing"),)
    assert checked.rejected == ()
    assert checked.labels == LABELS


def test_unknown_fields_are_ignored() -> None:
    assert len(check(fields(predicted="nonsense", user="u1")).rows) == 1


@pytest.mark.parametrize("kind", ["correction", "escalation"])
def test_a_correction_or_escalation_with_an_unknown_label_is_refused(kind: str) -> None:
    assert reason(fields(kind=kind, label="roaming")) == (
        "unknown label 'roaming': only a catalog row may bring a new label"
    )


def test_a_catalog_row_brings_its_label_and_old_ids_stay() -> None:
    checked = check(fields(kind="catalog", label="roaming"))
    assert checked.labels.names == ("billing", "login", "roaming")
    assert [row.label for row in checked.rows] == ["roaming"]


def test_a_correction_may_carry_a_label_that_a_later_catalog_row_brings() -> None:
    checked = check(fields(text="a", label="roaming"), fields(text="b", label="roaming", kind="catalog"))
    assert [row.text for row in checked.rows] == ["a", "b"]


def test_a_refused_catalog_row_brings_no_label() -> None:
    checked = check(
        fields(text="golden", label="roaming", kind="catalog"), fields(label="roaming"), golden=["Golden!"]
    )
    assert checked.rows == ()
    assert checked.labels == LABELS
    assert [r.line for r in checked.rejected] == [1, 2]


@pytest.mark.parametrize("text", ["My invoice?", "  my   INVOICE ", "my-invoice", "ｍｙ invoice"])
def test_a_row_that_matches_a_golden_row_is_refused_however_it_is_written(text: str) -> None:
    assert "golden row" in reason(fields(text=text), golden=["my invoice"])


@pytest.mark.parametrize("name", ["text", "label"])
@pytest.mark.parametrize("value", [None, "", "   ", 7, ["a"]])
def test_text_and_label_are_required_and_must_be_text(name: str, value: object) -> None:
    assert reason(fields(**{name: value})).startswith(f"{name}: expected text that is not empty, found ")


def test_a_text_that_is_far_too_long_is_refused_with_both_lengths() -> None:
    assert reason(fields(text="x" * 20_001)) == "text: 20001 characters, at most 20000"


@pytest.mark.parametrize("label", ["bil\x1bling", "bil\nling", "bil\tling"])
def test_a_label_with_a_control_character_is_refused(label: str) -> None:
    assert reason(fields(label=label, kind="catalog")) == "label: holds a control character"


@pytest.mark.parametrize("kind", [None, "launch", "Correction", 3])
def test_feedback_must_say_which_kind_it_is(kind: object) -> None:
    assert reason(fields(kind=kind)).startswith(
        "kind: expected one of correction, escalation, catalog, found "
    )


def test_a_row_that_could_not_be_read_is_refused_with_the_readers_reason() -> None:
    assert reason(None) == "not JSON"


def test_refused_rows_name_their_file_and_line_in_order() -> None:
    checked = check(fields(label="roaming"), fields(), fields(text=""), None)
    assert [(r.file, r.line) for r in checked.rejected] == [("feedback.jsonl", n) for n in (1, 3, 4)]


def test_a_row_of_another_month_is_refused_where_the_source_names_the_month() -> None:
    assert (
        reason(fields(created_at="2026-03-01T00:00:00Z"))
        == "created_at 2026-03-01T00:00:00Z is outside 2026-02 (UTC)"
    )


def test_a_row_of_another_month_is_passed_over_where_the_source_holds_many_months() -> None:
    checked = check(fields(created_at="2026-03-01T00:00:00Z"), fields(), of_one_month=False)
    assert len(checked.rows) == 1
    assert checked.rejected == ()


def test_without_a_time_a_row_is_refused_where_the_source_holds_many_months() -> None:
    assert reason(fields(created_at=None), of_one_month=False) == (
        "created_at is absent, and the source's path does not name the month"
    )


def test_without_a_time_a_row_gets_the_months_first_instant() -> None:
    assert check(fields(created_at="")).rows[0].created_at == "2026-02-01T00:00:00Z"


@pytest.mark.parametrize(
    "moment",
    [
        "2026-02-28T23:30:00-00:30",
        "2026-03-01T01:00:00+01:00",
        datetime(2026, 3, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        datetime(2026, 3, 1, tzinfo=UTC),
    ],
)
def test_the_zone_of_a_time_decides_its_month(moment: object) -> None:
    assert "is outside 2026-02 (UTC)" in reason(fields(created_at=moment))


@pytest.mark.parametrize("moment", ["yesterday", "2026-02-30", 20260203, ["2026-02-03"]])
def test_a_time_that_is_no_iso_8601_is_refused(moment: object) -> None:
    assert reason(fields(created_at=moment)).startswith("created_at: expected ISO 8601")


def test_a_time_at_the_end_of_all_time_is_refused_and_does_not_crash() -> None:
    assert "out of range in UTC" in reason(fields(created_at="9999-12-31T23:59:59-05:00"))


def test_of_rows_with_one_id_the_newest_is_kept_whatever_their_order() -> None:
    old = fields(id="r1", text="a", created_at="2026-02-03T10:00:00Z")
    new = fields(id="r1", text="b", created_at="2026-02-04T10:00:00Z")
    as_new = fields(id="r1", text="c", created_at="2026-02-04T10:00:00Z")
    for order in permutations([old, new, as_new]):
        checked = check(*order)
        assert [row.text for row in checked.rows] == ["b"]
        line = order.index(new) + 1
        assert {r.reason for r in checked.rejected} == {f"id 'r1' repeats feedback.jsonl line {line}"}
        assert [r.code for r in checked.rejected] == ["repeated_id"] * 2


def test_of_rows_with_one_text_and_label_the_newest_is_kept_whatever_their_order() -> None:
    given = [
        fields(id="old", created_at="2026-02-01T00:00:00Z"),
        fields(id="b", text="My invoice!", kind="escalation"),
        fields(id="c"),
        fields(id="a"),
    ]
    for order in permutations(given):
        records = [RawRecord("f.jsonl", line, row) for line, row in enumerate(order, start=1)]
        checked = check_feedback(records, month=MONTH, labels=LABELS, golden_texts=(), duplicates="refuse")
        assert [row.id for row in checked.rows] == ["a"]
        kept = next(record.line for record in records if record.fields == given[3])
        reasons = {f"the same text and label as f.jsonl line {kept}"}
        assert {rejection.reason for rejection in checked.rejected} == reasons
        assert {rejection.code for rejection in checked.rejected} == {"duplicate"}


def test_an_absent_id_is_made_from_the_row_and_the_same_every_time() -> None:
    one, other = check(fields()).rows[0], check(fields(id="")).rows[0]
    assert one.id == other.id
    assert one.id != check(fields(text="another")).rows[0].id


def test_a_whole_number_is_taken_as_an_id_and_other_values_are_refused() -> None:
    assert check(fields(id=17)).rows[0].id == "17"
    assert reason(fields(id=[1])) == "id: expected text, found [1]"


def launch_records(*rows: dict[str, object]) -> list[RawRecord]:
    return [RawRecord("launch.jsonl", line, row) for line, row in enumerate(rows, start=1)]


def test_launch_rows_define_the_labels_sorted_by_name() -> None:
    records = launch_records(
        {"text": "a", "label": "z"}, {"text": "b", "label": "b"}, {"text": "c", "label": "z"}
    )
    checked = check_launch(records, month=MONTH, golden_texts=())
    assert checked.labels.names == ("b", "z")
    assert {row.kind for row in checked.rows} == {"launch"}


def test_launch_rows_of_an_adopted_checkpoint_must_carry_its_labels() -> None:
    records = launch_records({"text": "a", "label": "login"}, {"text": "b", "label": "roaming"})
    checked = check_launch(records, month=MONTH, golden_texts=(), labels=LABELS)
    assert checked.labels == LABELS
    assert [r.reason for r in checked.rejected] == [
        "unknown label 'roaming': the checkpoint's label2id does not have it"
    ]


def test_labels_that_nobody_named_are_told_as_such() -> None:
    unnamed = LabelSet(("LABEL_0", "LABEL_1", "LABEL_2"))
    records = launch_records({"text": "a", "label": "login"}, {"text": "b", "label": "LABEL_1"})
    checked = check_launch(records, month=MONTH, golden_texts=(), labels=unnamed)
    assert [row.label for row in checked.rows] == ["LABEL_1"]
    reason = checked.rejected[0].reason
    assert reason.startswith("unknown label 'login': the checkpoint calls its labels LABEL_0 to LABEL_2. ")
    assert "id2label" in reason
    assert "launch without --checkpoint" in reason


def test_launch_rows_that_match_a_golden_row_are_refused() -> None:
    checked = check_launch(launch_records({"text": "A!", "label": "x"}), month=MONTH, golden_texts={"a"})
    assert "golden row" in checked.rejected[0].reason


@given(st.integers(1, 60), st.floats(0, 0.99), st.randoms(use_true_random=False))
def test_holding_out_does_not_depend_on_the_order_of_the_rows(
    count: int, fraction: float, random: Random
) -> None:
    shuffled = rows(count)
    random.shuffle(shuffled)
    _, held = hold_out(rows(count), fraction, seed=3, purpose="validation")
    _, held_of_shuffled = hold_out(shuffled, fraction, seed=3, purpose="validation")
    assert {row.id for row in held} == {row.id for row in held_of_shuffled}


@given(st.integers(1, 60), st.floats(0, 0.99))
def test_holding_out_splits_without_loss_and_keeps_at_least_one_row(count: int, fraction: float) -> None:
    kept, held = hold_out(rows(count), fraction, seed=0, purpose="golden")
    assert sorted(row.id for row in kept + held) == sorted(row.id for row in rows(count))
    assert kept
    assert len(held) == min(round(count * fraction), count - 1)


def test_seed_and_purpose_decide_what_is_held_out() -> None:
    choices = {
        tuple(row.id for row in hold_out(rows(40), 0.25, seed=seed, purpose=purpose)[1])
        for seed in (0, 1)
        for purpose in ("golden", "validation")
    }
    assert len(choices) == 4


def test_the_last_row_of_a_label_that_is_learned_is_never_held_out() -> None:
    few = [*rows(20), Row("only", "2026-02-01T00:00:00Z", "catalog", "abroad", "roaming")]
    for seed in range(30):
        kept, _ = hold_out(few, 0.5, seed=seed, purpose="validation", learned=("roaming",))
        assert "only" in {row.id for row in kept}
        kept, _ = set_aside(few, 0.5, seed=seed, learned=("roaming",))
        assert "only" in {row.id for row in kept}


@given(st.integers(1, 60), st.integers(1, 20), st.floats(0, 0.99))
def test_no_text_is_both_golden_and_learned(count: int, texts: int, fraction: float) -> None:
    repeated = [
        Row(f"id-{i}", "", "launch", f"{'Text' if i % 2 else 'text'} {i % texts}!", "billing")
        for i in range(count)
    ]
    kept, golden = set_aside(repeated, fraction, seed=1)
    assert {normalise(row.text) for row in kept}.isdisjoint(normalise(row.text) for row in golden)
    assert sorted(row.id for row in kept + golden) == sorted(row.id for row in repeated)
    assert kept
    assert len(golden) <= round(count * fraction)
    if count <= texts:
        assert len(golden) == min(round(count * fraction), count - 1)


def test_a_row_without_an_id_that_repeats_is_told_as_such() -> None:
    assert check(fields(), fields()).rejected[0].reason == (
        "the same row without an id repeats feedback.jsonl line 1"
    )


def test_a_sample_keeps_the_order_and_the_limit() -> None:
    sample = seeded_sample(rows(40), 10, seed=0, purpose="fisher")
    assert len(sample) == 10
    assert sample == [row for row in rows(40) if row in sample]
    assert seeded_sample(rows(5), 10, seed=0, purpose="fisher") == rows(5)


def test_a_language_models_rows_need_no_label_and_may_be_long() -> None:
    records = [
        RawRecord("texts.jsonl", 1, {"text": " word " * 10_000, "id": 7}),
        RawRecord("texts.jsonl", 2, {"text": "a text"}),
        RawRecord("texts.jsonl", 3, {"text": "a text"}),
        RawRecord("texts.jsonl", 4, {"label": "billing"}),
        RawRecord("texts.jsonl", 5, None, "not JSON"),
    ]
    checked = check_sequences(records)
    assert checked.rows[0].id == "7"
    assert [row.label for row in checked.rows] == ["", ""]
    assert [rejection.line for rejection in checked.rejected] == [3, 4, 5]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("refund my order", "re\u200bfund my order"),
        ("refund my order", "re\u00adfund my\u2060 order"),
        ("refund my order", "\u202erefund my order\u202c"),
        ("refund my order", "Refund,  my ORDER!"),
        ("thanks \u2764", "thanks \u2764\ufe0f"),
        ("caf\u00e9", "cafe\u0301"),
        ("caf\u00e9", "cafe\u200b\u0301"),
        ("check-in", "check in"),
    ],
)
def test_texts_that_read_alike_are_the_same(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("it is -5 degrees", "It is \N{EN DASH}5 degrees!"),
        ("it is -5 degrees", "it is \N{MINUS SIGN}5 degrees"),
        ("it costs 3.5 euros.", "it costs 3,5 euros"),
        ("3\N{ZERO WIDTH SPACE}.5", "3.\N{SOFT HYPHEN}5"),
        ("i paid 5. 3 came", "i paid 5 3 came"),
        ("i paid 5.", "i paid 5"),
        ("on 2026-03-05 at 10:30", "on 2026.03.05 at 10 30"),
        ("1,000,000 rows", "1.000.000 rows"),
        ("pages 5-7", "pages 5 7"),
        ("form A-5", "form A 5"),
        ("- 5 items", "5 items"),
        ("1.2.3 crashes", "1 2 3 crashes"),
        ("version 2.0, then 3", "version 2.0 then 3"),
    ],
)
def test_numbers_that_are_punctuated_otherwise_are_the_same(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("what is 5 + 3", "what is 5 - 3"),
        ("it costs $5", "it costs €5"),
        ("5% off", "5 off"),
        ("i use C#", "i use C"),
        ("कि", "की"),
        ("thanks 👍", "thanks 👎"),
        ("?!", "..."),
        ("it is -5 degrees", "it is 5 degrees"),
        ("version 3.5", "version 3 5"),
        ("version 3.5", "version 35"),
        ("-3.5", "3.5"),
        (".5 litres", "5 litres"),
        ("between (-5) and 5", "between (5) and 5"),
    ],
)
def test_texts_that_say_different_things_are_not(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@given(
    st.text(min_size=1)
    | st.text(st.characters(max_codepoint=127), min_size=1)
    | st.text("-.,5a ", min_size=1),
    st.integers(min_value=0),
    st.sampled_from("\u200b\u200d\u00ad\u2066\u202e\ufeff\ufe0f"),
)
def test_a_hidden_character_anywhere_changes_nothing(text: str, place: int, hidden: str) -> None:
    at = place % (len(text) + 1)
    assert normalise(f"a {text[:at]}{hidden}{text[at:]}") == normalise(f"a {text}")


@given(st.text())
def test_normalising_twice_is_normalising_once(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)
