"""The benchmark over years: the streams that it cuts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from pipeline.months import Month
from tests.docs.test_benchmarks import script
from tests.toy import Row, read_jsonl, write_jsonl

SHORT = tuple(f"2026-0{n}" for n in range(2, 8))
OLD = ("old-1", "old-2")


@pytest.fixture(scope="module")
def cutter() -> ModuleType:
    return script("long_streams")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stream of six months: 24 rows of four new labels, and 160 of old ones, a month; 800 at launch."""
    folder = tmp_path_factory.mktemp("streams") / "small"
    write_jsonl(folder / "launch.jsonl", _rows("launch", OLD, 400))
    write_jsonl(folder / "golden" / "2026-01.jsonl", _rows("golden", OLD, 8))
    for month in SHORT:
        new = tuple(f"new-{month}-{n}" for n in range(4))
        rows = [{**row, "kind": "catalog"} for row in _rows(f"catalog {month}", new, 6)]
        rows += [{**row, "kind": "correction"} for row in _rows(f"correction {month}", OLD, 80)]
        write_jsonl(folder / "feedback" / f"{month}.jsonl", rows)
        write_jsonl(folder / "golden" / f"{month}.jsonl", _rows(f"golden {month}", OLD + new, 8))
    return folder


def _rows(name: str, labels: tuple[str, ...], each: int) -> list[Row]:
    return [
        {"id": f"{name} {label} {n}", "text": f"{name} {label} {n}", "label": label}
        for label in labels
        for n in range(each)
    ]


def test_the_same_seed_gives_the_same_stream(cutter: ModuleType, source: Path) -> None:
    assert cutter.cut(source, 12, 1) == cutter.cut(source, 12, 1)
    assert cutter.cut(source, 12, 1) != cutter.cut(source, 12, 2)


@pytest.mark.parametrize("months", [12, 24])
def test_every_other_month_brings_new_labels_before_they_are_used(
    cutter: ModuleType, source: Path, months: int
) -> None:
    stream = cutter.cut(source, months, 1)
    known = {row["label"] for row in stream.launch}
    brought = []
    for month, rows in stream.feedback.items():
        new = {row["label"] for row in rows if row["kind"] == "catalog"}
        assert new == set(stream.new_labels[month])
        assert not new & known
        known |= new
        brought.append(len(new))
        assert {row["label"] for row in rows} <= known
        assert {row["label"] for row in stream.golden[month]} <= known
    assert brought == [48 // months, 0] * (months // 2)


@pytest.mark.parametrize("months", [12, 24])
def test_months_differ_in_size_and_one_returns_to_old_wordings(
    cutter: ModuleType, source: Path, months: int
) -> None:
    stream = cutter.cut(source, months, 1)
    fixed = [month for month in stream.feedback if not stream.new_labels[month]]
    sizes = [len(stream.feedback[month]) for month in fixed]
    assert sizes[0] == sizes[3] == 20
    held_out = _texts(read_jsonl(source / "launch.jsonl")) - _texts(stream.launch)
    assert len(_texts(stream.feedback[fixed[2]]) & held_out) == 300
    assert max(sizes) == sizes[2] <= 600
    assert len(_texts(stream.feedback[fixed[-2]]) & held_out) == 60


@pytest.mark.parametrize("months", [12, 24])
def test_no_text_is_trained_on_twice_or_tested_on(cutter: ModuleType, source: Path, months: int) -> None:
    stream = cutter.cut(source, months, 1)
    golden = [row["text"] for rows in stream.golden.values() for row in rows]
    trained = [row["text"] for rows in [stream.launch, *stream.feedback.values()] for row in rows]
    assert len(trained) == len(set(trained))
    assert len(golden) == len(set(golden))
    assert not set(golden) & set(trained)


def test_a_row_lies_in_its_month_and_has_an_id_of_its_own(cutter: ModuleType, source: Path) -> None:
    stream = cutter.cut(source, 12, 1)
    for month, rows in stream.feedback.items():
        assert {row["created_at"][:7] for row in rows} == {str(month)}
        assert len({row["id"] for row in rows}) == len(rows)


def test_three_labels_in_a_hundred_are_wrong(cutter: ModuleType, source: Path) -> None:
    stream = cutter.cut(source, 12, 1)
    rows = [row for rows in stream.feedback.values() for row in rows]
    wrong = [row for row in rows if f" {row['label']} " not in row["text"]]
    assert 0.02 < len(wrong) / len(rows) < 0.04
    assert {row["kind"] for row in wrong} <= {"correction", "escalation"}


@pytest.mark.parametrize("months", [12, 24])
def test_a_label_of_the_launch_is_retired_after_two_thirds(
    cutter: ModuleType, source: Path, months: int
) -> None:
    stream = cutter.cut(source, months, 1)
    label, month = stream.retired
    assert label in OLD
    assert sorted(stream.feedback).index(month) == 2 * months // 3
    assert any(
        row["label"] == label for later, rows in stream.feedback.items() if later >= month for row in rows
    )


def test_what_is_written_is_what_was_cut(cutter: ModuleType, source: Path, tmp_path: Path) -> None:
    stream = cutter.cut(source, 12, 1)
    cutter.write(stream, tmp_path)
    assert read_jsonl(tmp_path / "launch.jsonl") == stream.launch
    assert read_jsonl(tmp_path / "feedback" / "2026-03.jsonl") == stream.feedback[Month(2026, 3)]
    assert read_jsonl(tmp_path / "golden" / "2026-01.jsonl") == stream.golden[Month(2026, 1)]


def test_another_length_is_refused(cutter: ModuleType, source: Path) -> None:
    with pytest.raises(ValueError, match="18 months: expected 12 or 24"):
        cutter.cut(source, 18, 1)


def _texts(rows: Sequence[Mapping[str, object]]) -> set[object]:
    return {row["text"] for row in rows}
