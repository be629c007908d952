"""A champion's recorded answers stand for asking it again, and only where it would say the same."""

import json
from pathlib import Path

import pytest

from pipeline.evaluation.golden import GoldenSet
from pipeline.months import Month
from pipeline.progress import silent
from pipeline.recorded.gate_evidence import Answers
from pipeline.recorded.golden_sets import golden_files, golden_hashes, read_golden
from pipeline.recorded.lineage import ancestors
from pipeline.stages import evaluate
from pipeline.stages.earlier_answers import earlier_answers
from pipeline.stages.evaluate import answers
from pipeline.store.registry import read_registry
from pipeline.store.workspace import Workspace
from tests.conftest import call

LAST = Month(2026, 3)


def sets_of(space: Workspace) -> dict[Month, GoldenSet]:
    files = golden_files(space, "golden/{month}.jsonl", ancestors(space, read_registry(space).champion), LAST)
    return {month: read_golden(file, name=str(month)) for month, file in files.items()}


def recorded(space: Workspace, max_length: int = 16) -> Answers:
    champion = read_registry(space).champion
    assert champion is not None
    files = golden_files(space, "golden/{month}.jsonl", ancestors(space, read_registry(space).champion), LAST)
    hashes = golden_hashes(space, files)
    names = {month: space.name_of(file) for month, file in files.items()}
    return earlier_answers(
        space,
        champion,
        sets_of(space),
        {month: (name, hashes[name]) for month, name in names.items()},
        max_length=max_length,
    )


def test_they_are_what_the_champion_says_when_it_is_asked(promoted: Path) -> None:
    space = Workspace(promoted)
    found, golden = recorded(space), sets_of(space)
    assert set(found) == {"2026-01", "2026-02"}
    asked = answers(
        promoted / "champion",
        [golden[Month.parse(name)] for name in found],
        max_length=16,
        device="cpu",
        progress=silent,
    )
    assert found == asked


def test_a_set_that_changed_is_asked_anew(promoted: Path) -> None:
    file = promoted / "golden/2026-01.jsonl"
    rows = file.read_text().splitlines()
    file.write_text("\n".join([json.dumps({**json.loads(rows[0]), "text": "other words"}), *rows[1:]]))
    assert set(recorded(Workspace(promoted))) == {"2026-02"}


def test_another_max_length_is_asked_anew(promoted: Path) -> None:
    assert recorded(Workspace(promoted), max_length=8) == {}


def test_a_month_asks_the_champion_about_its_own_set_alone_and_finds_the_same(
    promoted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def listen(checkpoint: Path, golden: list[GoldenSet], **options: object) -> Answers:
        asked.append([item.name for item in golden])
        return answers(checkpoint, golden, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluate, "answers", listen)
    assert call("run", "--month", "2026-03", "-w", promoted).code == 0
    assert asked == [["2026-01", "2026-02", "2026-03"], ["2026-03"]]
    monkeypatch.setattr(evaluate, "earlier_answers", lambda *words, **options: {})
    assert call("run", "--month", "2026-03", "--from", "eval", "-w", promoted).code == 0
    assert asked[3] == ["2026-01", "2026-02", "2026-03"]
    first, second = (promoted / f"runs/2026-03/00{number}/eval" for number in (1, 2))
    for name in ("scorecard.json", "gate.json", "predictions.parquet"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
