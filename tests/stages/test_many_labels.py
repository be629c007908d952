"""Months and launches of very many labels are weighed before anything is trained."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import toy
from tests.conftest import Done, call

Many = Callable[..., Done]


@pytest.fixture
def many(launched: Path) -> Many:
    """Ingests (or whatever is asked for) a month with so many catalog rows, each of a label of its own."""

    def ingested(count: int, *words: str, command: str = "ingest") -> Done:
        rows = [
            {"text": f"invoice {toy.MONTHS[0]} {index}", "label": f"id-{index}", "kind": "catalog"}
            for index in range(count)
        ]
        toy.write_jsonl(launched / "feedback/2026-02.jsonl", rows)
        return call(command, "--month", "2026-02", "-w", launched, *words)

    return ingested


@pytest.mark.parametrize("command", ["run", "ingest", "tune"])
def test_too_many_new_labels_stop_the_month_before_training(launched: Path, many: Many, command: str) -> None:
    done = many(1001, command=command)
    assert done.code == 65
    assert (
        "feedback/2026-02.jsonl: 1001 new labels in 1001 rows, at most 1000 are expected (ingest.max_new_labels), such as "
        "'id-0', 'id-1', 'id-10'. Does the label column hold something else, such as an id? The head grows from 6 to 1007 "
        "labels"
    ) in done.err
    assert "If they are meant: -o ingest.max_new_labels=1001" in done.err
    assert not (launched / "runs/2026-02/001/fisher").exists()


def test_so_many_new_labels_are_taken_where_they_are_meant(many: Many) -> None:
    assert many(1001, "-o", "ingest.max_new_labels=1001").code == 0


def test_many_new_labels_are_warned_of_with_what_they_cost(many: Many) -> None:
    done = many(101)
    assert done.code == 0
    assert (
        "ingest: 101 new labels in 101 rows, 1.0 rows each. The head grows from 6 to 107 labels" in done.err
    )


def test_few_new_labels_are_not_warned_of(many: Many) -> None:
    assert "The head grows" not in many(100).err


def test_a_launch_of_about_as_many_labels_as_rows_is_warned_of(new_workspace: Path) -> None:
    rows = [{"text": f"invoice {index}", "label": f"id-{index % 101}"} for index in range(201)]
    data = toy.write_jsonl(new_workspace / "launch.jsonl", rows)
    done = call("launch", "--data", data, "--month", "2026-01", "-w", new_workspace, "-o", "launch.epochs=1")
    assert (done.code, "ingest: 101 labels in 201 rows. Does the label column hold" in done.err) == (0, True)


def test_tune_refuses_more_columns_than_exact_takes_before_it_trains(
    launched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.ewc.fisher.columns._MOST_EXACT_COLUMNS", 5)
    monkeypatch.setattr("pipeline.experiments.tune.prepare_trial", None)
    done = call("tune", "--month", "2026-02", "-w", launched)
    assert (done.code, "Fisher: exact needs 6 backward columns" in done.err) == (2, True)


def test_tune_refuses_a_month_without_validation_rows_before_it_trains(
    many: Many, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.experiments.tune.prepare_trial", None)
    done = many(20, command="tune")
    assert (done.code, "2026-02: 6 validation rows of earlier months and 0 of this one" in done.err) == (
        2,
        True,
    )
