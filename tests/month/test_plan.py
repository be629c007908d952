"""What changed between two records is told in words."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.month.plan import difference
from pipeline.store.records import StageRecord
from tests.conftest import call

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


def absolute(workspace: Path) -> tuple[str, ...]:
    """The workspace's own golden sets and feedback, named by absolute paths."""
    golden = f"golden.path={workspace}/golden/{{month}}.jsonl"
    return "-o", golden, "-o", f"ingest.sources=[{{path: '{workspace}/feedback/{{month}}.jsonl'}}]"


def test_a_moved_workspace_with_absolute_paths_has_done_what_it_has_done(
    launched: Path, tmp_path: Path
) -> None:
    assert call("run", "--month", "2026-02", "-w", launched, *absolute(launched)).code == 0
    moved = launched.rename(tmp_path / "elsewhere")
    for words in (absolute(moved), ()):
        done = call("run", "--month", "2026-02", "-w", moved, *words)
        assert (done.code, "already done: promoted" in done.out) == (0, True), done.err
    other = call(
        "run", "--month", "2026-02", "-w", moved, "-o", "golden.path=/elsewhere/{month}.jsonl", "--dry-run"
    )
    assert "golden changed" in other.out


def test_absolute_paths_that_an_earlier_release_recorded_stay_fresh(
    launched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr("pipeline.stages.stage._seen_from", lambda root, value: value)
        assert call("run", "--month", "2026-02", "-w", launched, *absolute(launched)).code == 0
    done = call("run", "--month", "2026-02", "-w", launched, *absolute(launched))
    assert (done.code, "already done: promoted" in done.out) == (0, True), done.err
