"""What moved: planted damage, label pairs and pushing rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import UsageError
from pipeline.evaluation.scorecard import Flip
from pipeline.inspection.diagnosis import Diagnosis, diagnose, lost_pairs, recorded_movements
from pipeline.store.workspace import Workspace

WRECKED = "bert.encoder.layer.1"


def diagnosis(workspace: Path, ref: str, rows: int = 8, include_text: bool = False) -> Diagnosis:
    return diagnose(Workspace(workspace), ref, rows=rows, shown=5, include_text=include_text, device="cpu")


def wreck_one_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one layer learn fifty times as fast as the others, as a wrong setting of a team might."""
    from pipeline.modeling import training

    def reckless(model: Any, parameters: dict[str, Any], settings: Any) -> torch.optim.Optimizer:
        fast = [p for name, p in parameters.items() if name.startswith(WRECKED)]
        slow = [p for name, p in parameters.items() if not name.startswith(WRECKED)]
        rate = settings.learning_rate
        return torch.optim.AdamW([{"params": fast, "lr": 50 * rate}, {"params": slow, "lr": rate}])

    monkeypatch.setattr(training, "_optimizer", reckless)


def test_layer_that_plain_fine_tuning_wrecks_is_ranked_first(
    launched: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        wreck_one_layer(patch)
        cli("run", "--month", "2026-02", "-w", launched, "-o", "arm=plain", "--no-promote")
    found = diagnosis(launched, "2026-02", rows=0)
    assert (found.arm, found.movements[0].group, found.movements[0].kind) == ("plain", WRECKED, "all")
    assert found.movements[0].weighted_share > 0.5
    others = [m.relative for m in found.movements if m.kind == "all" and ".layer." in m.group][1:]
    assert found.movements[0].relative > 5 * max(others)


def test_plain_attempt_of_the_same_month_stands_beside(promoted: Path, cli: Callable[..., Any]) -> None:
    assert diagnosis(promoted, "2026-02/001", rows=0).plain_attempt is None
    done = cli("run", "--month", "2026-02", "-w", promoted, "-o", "arm=plain", "--force", "--no-promote")
    assert done.code == 0, done.err
    found = diagnosis(promoted, "2026-02/001", rows=0)
    assert found.plain_attempt == "2026-02/002"
    assert {(m.group, m.kind) for m in found.plain} == {(m.group, m.kind) for m in found.movements}
    assert diagnosis(promoted, "2026-02/002", rows=0).plain_attempt is None


def test_encoder_and_old_head_rows_weigh_what_the_run_recorded(
    launched: Path, cli: Callable[..., Any]
) -> None:
    import json

    cli("run", "--month", "2026-02", "-w", launched, "-o", "arm=ewc")
    found = {m.group: m for m in diagnosis(launched, "2026-02", rows=0).movements if m.kind == "all"}
    deltas = json.loads((launched / "runs/2026-02/001/finetune/deltas.json").read_text())
    assert {delta["group"] for delta in deltas} == found.keys()
    for delta in deltas:
        movement = found[delta["group"]]
        assert movement.weighted_change == pytest.approx(delta["weighted_change"], rel=1e-5)
        assert movement.fisher_mass == pytest.approx(delta["fisher_mass"], rel=1e-5)
        if delta["group"] != "classifier":
            assert movement.norm == pytest.approx(delta["norm"], rel=1e-5)


def test_rows_that_push_are_ranked_and_their_text_is_shown_on_request_alone(promoted: Path) -> None:
    found = diagnosis(promoted, "2026-02", rows=1000)
    pushes = [row.push for row in found.rows]
    assert len(pushes) == 5
    assert pushes == sorted(pushes, reverse=True)
    assert all(row.push > 0.0 and row.concentration > 0.0 and row.text is None for row in found.rows)
    shown = diagnosis(promoted, "2026-02", rows=1000, include_text=True)
    assert all(row.text for row in shown.rows)
    assert [row.id for row in shown.rows] == [row.id for row in found.rows]


def test_whole_fisher_is_told_beside_the_diagonal(promoted: Path) -> None:
    found = diagnosis(promoted, "2026-02", rows=1)
    assert found.slope is not None
    assert found.curvature is not None
    assert found.curvature > 0.0
    assert diagnosis(promoted, "2026-02", rows=0).curvature is None


def test_launch_has_nothing_to_be_weighed_against(launched: Path) -> None:
    with pytest.raises(UsageError, match="started from no other checkpoint"):
        diagnosis(launched, "2026-01")


def test_movements_without_a_fisher_are_none(promoted: Path) -> None:
    space = Workspace(promoted)
    manifest = space.attempt("2026-02/001").read_manifest()
    assert recorded_movements(space, manifest)
    (promoted / "runs/2026-01/001/finetune/checkpoint/fisher.safetensors").unlink()
    assert recorded_movements(space, manifest) == []
    assert recorded_movements(space, space.attempt("2026-01/001").read_manifest()) == []


def test_lost_rows_are_grouped_by_label_pair_the_most_frequent_first() -> None:
    flips = [
        Flip("g", "1", "", "a", "a", "b"),
        Flip("g", "2", "", "c", "c", "d"),
        Flip("g", "3", "", "c", "c", "d"),
        Flip("g", "4", "", "a", "b", "a"),
    ]
    pairs = lost_pairs(tuple(flips))
    assert [(p.label, p.answer, p.count, p.ids) for p in pairs] == [
        ("c", "d", 2, ("2", "3")),
        ("a", "b", 1, ("1",)),
    ]
