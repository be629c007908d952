"""Inputs that are replaced while a run reads them: what is recorded is what was read, or the run says so and stops."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import BadData
from pipeline.recorded.rows import rows_of
from pipeline.store.hashing import sha256_file
from pipeline.store.stage_directory import open_stage, require_stage
from tests import toy
from tests.conftest import call

When = Callable[[str, Callable[[], object]], None]


@pytest.fixture
def once_recorded(monkeypatch: pytest.MonkeyPatch) -> When:
    """Does something after a stage has recorded its inputs, and before it reads them."""

    def arrange(stage: str, act: Callable[[], object]) -> None:
        def opened(target: Path, *args: object, **kwargs: object) -> Path:
            if target.name == stage:
                act()
            return open_stage(target, *args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr("pipeline.month.run.open_stage", opened)

    return arrange


def shorten(file: Path) -> None:
    toy.write_jsonl(file, toy.read_jsonl(file)[:-1])


def run(workspace: Path, *words: str) -> tuple[int, str]:
    done = call("run", "--month", "2026-02", "-w", workspace, *words)
    return done.code, done.err


def told(name: str) -> str:
    return f"{name}: changed while this command ran. Let whatever writes it finish, and run the same command again"


@pytest.mark.parametrize("name", ["feedback/2026-02.jsonl", "golden/2026-01.jsonl"])
def test_a_file_that_changes_before_ingest_reads_it_stops_the_month(
    launched: Path, once_recorded: When, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    once_recorded("ingest", lambda: shorten(launched / name))
    code, err = run(launched)
    assert code == 65
    assert told(name) in err
    assert not (launched / "runs/2026-02/001/ingest").exists()
    monkeypatch.undo()
    assert run(launched)[0] == 0
    inputs = require_stage(launched / "runs/2026-02/001/ingest").inputs
    assert sha256_file(launched / name) in inputs.values()


@pytest.mark.parametrize("act", ["came", "went"])
def test_a_file_of_feedback_that_comes_or_goes_before_ingest_reads_it_stops_the_month(
    launched: Path, once_recorded: When, act: str
) -> None:
    other = toy.write_jsonl(launched / "feedback/2026-02-b.jsonl", [])
    if act == "came":
        other.unlink()
    once_recorded("ingest", other.touch if act == "came" else other.unlink)
    code, err = run(launched, "-o", "ingest.sources=[{path: 'feedback/{month}*.jsonl'}]")
    assert (code, told("feedback/2026-02-b.jsonl") in err) == (65, True)


def test_feedback_that_changes_after_ingest_does_not_stop_the_month(
    launched: Path, once_recorded: When
) -> None:
    once_recorded("finetune", lambda: shorten(launched / "feedback/2026-02.jsonl"))
    assert run(launched)[0] == 0
    assert len(rows_of(launched / "runs/2026-02/001/ingest", "train.parquet")) == 27


@pytest.mark.parametrize("stage", ["finetune", "eval"])
@pytest.mark.parametrize("name", ["golden/2026-01.jsonl", "golden/2026-02.jsonl"])
def test_a_golden_set_that_is_replaced_after_ingest_is_not_tested_on(
    launched: Path, once_recorded: When, monkeypatch: pytest.MonkeyPatch, stage: str, name: str
) -> None:
    feedback, golden = launched / "feedback/2026-02.jsonl", launched / name
    learned = [{"text": row["text"], "label": row["label"]} for row in toy.read_jsonl(feedback)]
    once_recorded(stage, lambda: toy.write_jsonl(golden, learned))
    code, err = run(launched)
    assert code == 65
    assert told(name) in err
    assert not (launched / "runs/2026-02/001/eval").exists()
    monkeypatch.undo()
    assert (
        "the text is a golden row" in run(launched)[1]
    )  # ingest runs again, and finds that they are learned


def test_a_golden_set_that_goes_after_ingest_stops_the_month(launched: Path, once_recorded: When) -> None:
    once_recorded("finetune", (launched / "golden/2026-01.jsonl").unlink)
    code, err = run(launched)
    assert (code, told("golden/2026-01.jsonl") in err) == (65, True)


def test_a_checkpoint_that_changes_while_it_is_adopted_stops_the_launch(
    promoted: Path, new_workspace: Path, once_recorded: When
) -> None:
    adopted = promoted / "runs/2026-01/001/finetune/checkpoint"
    extra = adopted / "README.md"
    once_recorded("finetune", lambda: extra.write_text("new"))
    words = ("--data", new_workspace / "launch.jsonl", "--month", "2026-01", "--checkpoint", adopted)
    done = call("launch", *words, "-w", new_workspace)
    assert (done.code, told(str(adopted)) in done.err) == (65, True)


def test_golden_rows_that_another_attempt_set_aside_are_not_tested_on_by_one_that_learned_them(
    launched: Path,
) -> None:
    (launched / "golden/2026-02.jsonl").unlink()
    assert run(launched, "-o", "ingest.golden_fraction=0.3", "--no-promote")[0] in (0, 3)
    code, err = run(launched, "-o", "ingest.golden_fraction=0")
    assert code == 3
    assert "2026-02" in err
    recorded = require_stage(launched / "runs/2026-02/002/eval").inputs
    assert not [name for name in recorded if "golden.jsonl" in name]


def test_the_hash_of_a_table_is_that_of_the_bytes_that_are_read(tmp_path: Path) -> None:
    from pipeline.sources.read import read_table

    file = toy.write_jsonl(tmp_path / "a.jsonl", [{"text": "a", "label": "b"}])
    assert len(read_table(file, sha256=sha256_file(file)).rows) == 1
    with pytest.raises(BadData, match="changed while this command ran"):
        read_table(file, sha256="0" * 64)
