"""`fisher verify`, `diff` and `merge`."""

import json
from pathlib import Path

import pytest
import torch

from pipeline.store.fisher_file import read_fisher
from tests.conftest import Done, call

LAUNCH = "runs/2026-01/001/finetune/checkpoint"
FEBRUARY = "runs/2026-02/001/finetune/checkpoint"


def fisher(*words: object) -> Done:
    return call(*words, program="fisher")


@pytest.fixture
def two(promoted: Path) -> Path:
    """A workspace with a Fisher beside both of its checkpoints."""
    assert fisher("compute", "2026-02", "-w", promoted).code == 0
    return promoted


def test_verify_accepts_a_checkpoints_own_fisher(two: Path) -> None:
    done = fisher("verify", two / LAUNCH / "fisher.safetensors", "--checkpoint", two / LAUNCH)
    assert (done.code, "valid" in done.out) == (0, True)


def test_verify_refuses_another_checkpoints_fisher_with_both_hashes(two: Path) -> None:
    done = fisher("verify", two / LAUNCH, "--checkpoint", two / FEBRUARY)
    assert done.code == 5
    assert read_fisher(two / LAUNCH / "fisher.safetensors")[1].checkpoint_sha256 in done.err


def test_diff_of_a_fisher_with_itself_is_one_everywhere(two: Path) -> None:
    done = fisher("diff", two / LAUNCH, two / LAUNCH, "--json")
    overall = json.loads(done.out)[-1]
    assert overall["correlation"] == pytest.approx(1.0)
    assert overall["trace_ratio"] == pytest.approx(1.0)


def test_merge_adds_what_gamma_leaves_and_aligns_the_grown_head(two: Path, tmp_path: Path) -> None:
    output = tmp_path / "merged.safetensors"
    done = fisher("merge", two / LAUNCH, two / FEBRUARY, "--gamma", "0.5", "--output", output)
    assert done.code == 0, done.err
    older, latest, merged = (
        read_fisher(file)[0]
        for file in (two / LAUNCH / "fisher.safetensors", two / FEBRUARY / "fisher.safetensors", output)
    )
    for name, tensor in merged.items():
        rows = len(older[name])
        torch.testing.assert_close(tensor[:rows], latest[name][:rows] + 0.5 * older[name])
        torch.testing.assert_close(tensor[rows:], latest[name][rows:])
    assert fisher("verify", output, "--checkpoint", two / FEBRUARY).code == 0


def test_merge_does_not_overwrite_by_itself(two: Path) -> None:
    target = two / LAUNCH / "fisher.safetensors"
    before = target.read_bytes()
    done = fisher("merge", two / LAUNCH, two / FEBRUARY, "--output", target)
    assert (done.code, target.read_bytes()) == (2, before)


def test_layers_restricts_to_the_parameters_that_match(two: Path, tmp_path: Path) -> None:
    output = tmp_path / "head.safetensors"
    done = fisher("compute", two / LAUNCH, "--layers", "*classifier*", "--output", output)
    assert done.code == 0, done.err
    assert all("classifier" in name for name in read_fisher(output)[0])


def test_layers_that_match_nothing_are_refused(two: Path, tmp_path: Path) -> None:
    done = fisher("compute", two / LAUNCH, "--layers", "*nothing*", "--output", tmp_path / "no")
    assert done.code == 2
    assert "matches none" in done.err


def test_until_stable_stops_early_when_little_is_asked(two: Path, tmp_path: Path) -> None:
    done = fisher(
        "compute", two / LAUNCH, "--until-stable", "0.9", "--output", tmp_path / "some.safetensors", "--json"
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)["settings"]["until_stable"] == 0.9
