"""The row half of a task: what ingest, golden sets and replay ask of it, shown on one that does not exist."""

from collections.abc import Mapping

from pipeline.evaluation.golden import parse_golden
from pipeline.feedback import check_feedback, check_launch, check_sequences
from pipeline.labels import LabelSet
from pipeline.months import Month
from pipeline.replay import replay_memory
from pipeline.row_task import ONE_LABEL, RowTask
from pipeline.rows import RawRecord, Row
from pipeline.sampling import hold_out

FEBRUARY = Month(2026, 2)


def _problem(fields: Mapping[str, object]) -> str | None:
    return None if isinstance(fields.get("tags"), str) else "tags: expected text, found none"


TAGS = RowTask(
    fields=("words", "tags"),
    problem=_problem,
    read=lambda fields: (str(fields["words"]), str(fields["tags"])),
    labels=lambda answer: tuple(tag for tag in answer.split() if tag != "O"),
)


def record(line: int, kind: str, words: str, tags: object) -> RawRecord:
    return RawRecord("f.jsonl", line, {"kind": kind, "words": words, "tags": tags})


def test_a_row_holds_what_its_task_says_and_brings_every_label_that_its_answer_names() -> None:
    found = check_feedback(
        [
            record(1, "catalog", "fly to Rome", "O O city"),
            record(2, "correction", "from Rome on Monday", "O city O day"),
            record(3, "correction", "to Bern", "O town"),
            record(4, "correction", "hello", None),
        ],
        month=FEBRUARY,
        labels=LabelSet(("day",)),
        golden_texts=(),
        task=TAGS,
    )
    assert [(row.text, row.label) for row in found.rows] == [
        ("fly to Rome", "O O city"),
        ("from Rome on Monday", "O city O day"),
    ]
    assert found.labels.names == ("day", "city")
    assert [rejection.reason for rejection in found.rejected] == [
        "unknown label 'O town': only a catalog row may bring a new label",
        "tags: expected text, found none",
    ]


def test_a_launch_has_the_labels_that_its_answers_name() -> None:
    records = [
        RawRecord("f.jsonl", n, {"words": f"w {n}", "tags": tags})
        for n, tags in enumerate(["O city", "day O", "O"])
    ]
    found = check_launch(records, month=FEBRUARY, golden_texts=(), task=TAGS)
    assert found.labels.names == ("city", "day")
    assert len(found.rows) == 3


def test_golden_rows_and_rows_by_hand_are_read_by_the_task() -> None:
    golden = parse_golden([{"words": "to Rome", "tags": "O city"}], name="g", where="g", task=TAGS)
    assert (golden.rows[0].text, golden.rows[0].label) == ("to Rome", "O city")
    by_hand = check_sequences([RawRecord("f", 1, {"words": "to Rome", "tags": "O city"})], task=TAGS)
    assert by_hand.rows[0].label == "O city"


def rows(*answers: str) -> list[Row]:
    return [Row(str(n), "2026-02-01T00:00:00Z", "launch", f"t {n}", tags) for n, tags in enumerate(answers)]


def test_a_memory_holds_some_of_each_group_and_rare_ones_first() -> None:
    table = rows(*["O city"] * 20, *["day O"] * 2)
    kept = replay_memory([table], launch_rows=4, month_rows=0, seed=0, task=TAGS)
    assert sorted(row.label for row in kept) == ["O city", "O city", "day O", "day O"]


def test_free_answers_are_one_group_however_unlike_they_are() -> None:
    free = RowTask(ONE_LABEL.fields, ONE_LABEL.problem, ONE_LABEL.read, labels=lambda answer: ())
    table = rows(*[f"answer {n:03}" for n in range(100)])
    kept = replay_memory([table], launch_rows=10, month_rows=0, seed=0, task=free)
    assert sorted(row.label for row in kept) != sorted(row.label for row in table)[:10]
    by_label = replay_memory([table], launch_rows=10, month_rows=0, seed=0)
    assert sorted(row.label for row in by_label) == sorted(row.label for row in table)[:10]


def test_every_new_label_that_an_answer_names_keeps_a_row() -> None:
    table = rows("O city", "day O", "O", "O", "O")
    for seed in range(20):
        kept, _ = hold_out(table, 0.6, seed=seed, purpose="x", learned=("city", "day"), task=TAGS)
        assert {"O city", "day O"} <= {row.label for row in kept}
