"""The rows that could be lost, and the reference of each golden set."""

from pathlib import Path

import pytest

from pipeline.config_loading import load_config
from pipeline.evaluation.gate import GateLimits
from pipeline.evaluation.golden import GoldenRow, GoldenSet
from pipeline.labels import LabelSet
from pipeline.recorded.gate_evidence import Answers, gate_limits, held_rows, worn_rows
from pipeline.recorded.names import PREDICTIONS_FILE
from pipeline.store.records import CheckpointRef, StageRecord
from pipeline.store.stage_directory import commit_stage, open_stage
from pipeline.store.tables import ColumnType, write_parquet
from pipeline.store.workspace import Workspace

COLUMNS: dict[str, ColumnType] = {
    "golden": "string",
    "id": "string",
    "label": "string",
    "after": "string",
    "after_confidence": "float",
}


def golden(name: str, *labels: str) -> GoldenSet:
    return GoldenSet(
        name, tuple(GoldenRow(f"{name}-{i}", f"text {i}", label, "") for i, label in enumerate(labels))
    )


def said(**answers: str) -> Answers:
    """By month of 2026, such as january="a b": the label of each row."""
    names = {"january": "2026-01", "february": "2026-02"}
    return {names[name]: [(label, 1.0) for label in text.split()] for name, text in answers.items()}


def promoted(workspace: Workspace, month: str, item: GoldenSet, answers: str) -> CheckpointRef:
    """A promoted model of which only its recorded answers on one golden set are there."""
    folder = workspace.runs / month / "001" / "eval"
    folder.parent.mkdir(parents=True)
    rows = [
        {"golden": item.name, "id": row.id, "label": row.label, "after": answer, "after_confidence": 0.5}
        for row, answer in zip(item.rows, answers.split(), strict=True)
    ]
    planned = StageRecord(stage="eval", code_version="1", seed=0, config={}, inputs={})
    partial = open_stage(folder, planned.identity())
    write_parquet(partial / PREDICTIONS_FILE, rows, COLUMNS)
    commit_stage(partial, folder, planned)
    return CheckpointRef(path=f"runs/{month}/001", sha256="0" * 64, month=month, attempt=f"{month}/001")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_every_key_of_the_configuration_reaches_the_gate() -> None:
    words = ["max_drop=2", "max_drift=3", "min_gain=1", "false_refusals=0.1", "unsure=refuse", "min_rows=9"]
    config = load_config(overrides=[f"gate.{word}" for word in words])
    assert vars(gate_limits(config)) == config.gate.model_dump(exclude={"patience"})


def test_rows_that_the_model_before_could_not_lose_are_left_out() -> None:
    sets = [golden("2026-01", "a", "b", "new"), golden("2026-02", "a", "a")]
    before = said(january="a b a", february="b b")
    after = said(january="a a new", february="a a")
    card = held_rows(sets, before, after, known=LabelSet(("a", "b")), last="2026-01", confidence=0.95)
    assert [score.name for score in card.prior] == ["2026-01"]
    overall = card.prior[0].overall
    assert (overall.n, overall.right_to_wrong, overall.wrong_to_right) == (2, 1, 0)


def test_the_oldest_answers_are_the_reference_until_better_ones_are_sure(workspace: Workspace) -> None:
    item = golden("2026-01", *"a" * 20)
    half = " ".join("a" * 10 + "b" * 10)
    line = [
        promoted(workspace, "2026-01", item, half),
        promoted(workspace, "2026-02", item, " ".join("a" * 14 + "b" * 6)),
    ]
    candidate: Answers = {"2026-01": [(label, 1.0) for label in half.split()]}
    card = worn_rows(workspace, line, [item], candidate, confidence=0.95)
    assert card is not None
    assert card.prior[0].overall.difference == 0.0
    line.append(promoted(workspace, "2026-03", item, " ".join("a" * 20)))
    card = worn_rows(workspace, line, [item], candidate, confidence=0.95)
    assert card is not None
    assert card.prior[0].overall.difference == -50.0


def test_a_set_that_no_promoted_model_answered_has_no_reference(workspace: Workspace) -> None:
    line = [promoted(workspace, "2026-01", golden("2026-01", "a"), "a")]
    later = golden("2026-02", "a")
    assert worn_rows(workspace, line, [later], {"2026-02": [("a", 1.0)]}, confidence=0.95) is None


def test_a_row_that_was_labelled_anew_is_not_held_against_its_old_answer(workspace: Workspace) -> None:
    line = [promoted(workspace, "2026-01", golden("2026-01", "a", "a"), "a a")]
    mended = golden("2026-01", "a", "b")
    card = worn_rows(workspace, line, [mended], {"2026-01": [("a", 1.0), ("b", 1.0)]}, confidence=0.95)
    assert card is not None
    assert card.prior[0].overall.n == 1


def test_the_gates_own_defaults_are_those_of_the_configuration() -> None:
    assert gate_limits(load_config()) == GateLimits()
