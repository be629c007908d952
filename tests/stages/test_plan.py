"""What changed between two records is told in words."""

from typing import Any

import pytest

from pipeline.stages.plan import difference
from pipeline.store.records import StageRecord

DIGEST = "0" * 64
OTHER = "1" * 64


def record(**changes: Any) -> StageRecord:
    values: dict[str, Any] = {
        "stage": "finetune", "code_version": "1", "seed": 0,
        "config": {"train": {"epochs": 5, "layers": "all"}, "arm": "ewc"}, "inputs": {"ingest/train.parquet": DIGEST},
    }  # fmt: skip
    return StageRecord(**{**values, **changes})


def test_equal_records_differ_in_nothing_whatever_their_outputs() -> None:
    assert difference(record(outputs={"metrics.jsonl": DIGEST}), record()) is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 3}, "seed 0 -> 3"),
        ({"code_version": "2"}, "code_version 1 -> 2"),
        (
            {"config": {"train": {"epochs": 9, "layers": "all"}, "arm": "ewc"}},
            "train changed (epochs 5 -> 9)",
        ),
        ({"config": {"train": {"epochs": 5, "layers": "all"}, "arm": "plain"}}, "arm changed (ewc -> plain)"),
        ({"config": {"train": {"epochs": 5, "layers": "all"}}}, "arm is no longer there"),
        ({"inputs": {"ingest/train.parquet": OTHER}}, "ingest/train.parquet changed"),
        ({"inputs": {"ingest/train.parquet": DIGEST, "fisher": OTHER}}, "fisher is new"),
        ({"inputs": {}}, "ingest/train.parquet is no longer there"),
    ],
)
def test_each_change_is_named_with_what_was_and_what_is(changes: dict[str, Any], told: str) -> None:
    assert difference(record(), record(**changes)) == told


def test_all_changes_are_told_together() -> None:
    told = difference(record(), record(seed=1, inputs={"ingest/train.parquet": OTHER}))
    assert told == "seed 0 -> 1; ingest/train.parquet changed"
