"""The help desk's stream is the same everywhere, leaks no golden row and changes every month."""

import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from datetime import datetime

import pytest

from pipeline.evaluation.golden import parse_golden
from pipeline.feedback import check_feedback, check_launch
from pipeline.helpdesk.stream import HelpdeskStream, Sizes, helpdesk_stream
from pipeline.labels import LabelSet
from pipeline.months import Month
from pipeline.normal_text import normalise
from pipeline.rows import RawRecord

_DIGEST = """
from hashlib import sha256
from pipeline.helpdesk.stream import helpdesk_stream
print(sha256(repr(helpdesk_stream(3)).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def stream() -> HelpdeskStream:
    return helpdesk_stream()


def launch_labels(stream: HelpdeskStream) -> set[str]:
    return {row.label for row in stream.launch}


def test_equal_seeds_give_equal_streams_and_another_seed_another_stream(stream: HelpdeskStream) -> None:
    assert helpdesk_stream(0) == stream
    assert helpdesk_stream(1).launch != stream.launch


def test_processes_with_different_hash_seeds_make_the_same_stream() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64


def test_the_months_are_launch_and_three_months_of_feedback(stream: HelpdeskStream) -> None:
    assert str(stream.launch_month) == "2026-01"
    assert [str(month) for month in stream.feedback] == ["2026-02", "2026-03", "2026-04"]
    assert list(stream.golden) == [stream.launch_month, *stream.feedback]


def test_launch_has_at_least_25_intents_in_equal_parts(stream: HelpdeskStream) -> None:
    counts = Counter(row.label for row in stream.launch)
    assert len(counts) >= 25
    assert set(counts.values()) == {16}
    assert 500 <= len(stream.launch) <= 600


def test_feedback_and_golden_sets_have_the_size_of_a_small_help_desk(stream: HelpdeskStream) -> None:
    assert all(140 <= len(rows) <= 200 for rows in stream.feedback.values())
    assert all(200 <= len(rows) <= 300 for rows in stream.golden.values())


def test_sizes_are_obeyed() -> None:
    sizes = Sizes(launch=2, launch_golden=1, settled=1, drifted=2, new=1, catalog=3, other_escalations=5)
    small = helpdesk_stream(sizes=sizes)
    intents = len(launch_labels(small))
    assert len(small.launch) == 2 * intents
    assert len(small.golden[small.launch_month]) == intents
    first = next(iter(small.feedback))
    assert Counter(row.slice for row in small.golden[first]) == {"settled": intents, "drifted": 8, "new": 3}
    assert Counter(row.kind for row in small.feedback[first])["catalog"] == 9


def test_more_messages_than_the_vocabulary_can_say_are_refused() -> None:
    with pytest.raises(ValueError, match="different messages were asked for"):
        helpdesk_stream(sizes=Sizes(launch=5_000))


def test_no_golden_text_occurs_in_launch_or_feedback(stream: HelpdeskStream) -> None:
    golden = {normalise(row.text) for rows in stream.golden.values() for row in rows}
    trained = {normalise(row.text) for row in stream.launch}
    trained |= {normalise(row.text) for rows in stream.feedback.values() for row in rows}
    assert len(golden) == sum(len(rows) for rows in stream.golden.values())
    assert not golden & trained


def test_created_at_lies_inside_its_month_in_order(stream: HelpdeskStream) -> None:
    for month, rows in stream.feedback.items():
        moments = [datetime.fromisoformat(row.created_at) for row in rows]
        assert all(moment in month for moment in moments)
        assert moments == sorted(moments)
        assert all(row.created_at.endswith("Z") for row in rows)


def test_every_month_brings_new_labels_through_its_catalog_alone(stream: HelpdeskStream) -> None:
    known = launch_labels(stream)
    for month, rows in stream.feedback.items():
        brought = {row.label for row in rows if row.kind == "catalog"}
        assert len(brought) == 3
        assert not brought & known
        assert {row.label for row in rows if row.kind != "catalog"} <= launch_labels(stream)
        assert {row.label for row in stream.golden[month] if row.slice == "new"} == brought
        known |= brought


def test_predicted_is_wrong_in_corrections_right_in_escalations_and_absent_in_catalog_rows(
    stream: HelpdeskStream,
) -> None:
    for rows in stream.feedback.values():
        for row in rows:
            if row.kind == "correction":
                assert row.predicted in launch_labels(stream) - {row.label}
            else:
                assert row.predicted == (row.label if row.kind == "escalation" else None)


def test_settled_rows_cover_every_launch_intent_and_drifted_rows_few(stream: HelpdeskStream) -> None:
    for month in stream.feedback:
        labels = {name: {row.label for row in stream.golden[month] if row.slice == name} for name in _SLICES}
        assert labels["settled"] == launch_labels(stream)
        assert labels["drifted"] < launch_labels(stream)
        assert len(labels["drifted"]) == 4


_SLICES = ("settled", "drifted", "new")


def test_feedback_is_about_few_intents(stream: HelpdeskStream) -> None:
    for rows in stream.feedback.values():
        counts = Counter(row.label for row in rows)
        assert sum(count for _, count in counts.most_common(9)) > 0.8 * len(rows)


def test_every_row_passes_the_pipelines_own_checks(stream: HelpdeskStream) -> None:
    golden = {
        str(month): parse_golden([asdict(row) for row in rows], name=str(month), where="golden")
        for month, rows in stream.golden.items()
    }
    texts = {normalise(row.text) for item in golden.values() for row in item.rows}
    launch = check_launch(
        [RawRecord("launch", line, asdict(row)) for line, row in enumerate(stream.launch, 1)],
        month=stream.launch_month,
        golden_texts=texts,
    )
    assert launch.rejected == ()
    labels = launch.labels
    for month, rows in stream.feedback.items():
        checked = check_feedback(
            [RawRecord("feedback", line, asdict(row)) for line, row in enumerate(rows, 1)],
            month=month,
            labels=labels,
            golden_texts=texts,
        )
        assert checked.rejected == ()
        assert len(checked.rows) == len(rows)
        labels = checked.labels
    assert isinstance(labels, LabelSet)
    assert len(labels) == len(launch.labels) + 9


def test_the_stream_starts_in_a_month_before_its_feedback(stream: HelpdeskStream) -> None:
    assert min(stream.feedback) == stream.launch_month.next == Month(2026, 2)
