"""Hostile names, values, links and checkpoints: refused with a message, nothing outside is touched, no code runs."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import call
from tests.store.samples import tree

USAGE, CORRUPT, NO_INPUT, BAD_CONFIG = 2, 5, 66, 78


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the workspace that nobody may touch."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_text("precious")
    return folder


@pytest.fixture
def untouched(outside: Path) -> Callable[[], bool]:
    before = tree(outside)
    return lambda: tree(outside) == before


@pytest.mark.parametrize(
    "month",
    [
        "../x",
        "2026-02/../../../outside",
        "２０２６-０２",
        "٢٠٢٦-٠٢",
        "2026-02\n",
        "2026-02\x00",
        "2026-13",
        "2026-00",
        "0000-01",
        "-2026-02",
        "2026-2",
        "",
        " 2026-02",
        "2026-02; rm -rf /",
        "\x1b[2J",
    ],
)
def test_a_hostile_month_is_refused_and_not_shown_raw(
    launched: Path, untouched: Callable[[], bool], month: str
) -> None:
    before = tree(launched)
    done = call("run", f"--month={month}", "-w", launched)
    assert done.code == USAGE
    assert "expected YYYY-MM" in done.err
    assert "\x1b" not in done.err
    assert tree(launched) == before
    assert untouched()


@pytest.mark.parametrize(
    "ref", ["../outside", "/etc", "2026-01/../../..", "\0", "a" * 5000, "champion/../.."]
)
def test_a_hostile_ref_names_no_checkpoint(launched: Path, untouched: Callable[[], bool], ref: str) -> None:
    for command in ("show", "promote", "verify"):
        done = call(command, ref, "-w", launched)
        assert done.code in (USAGE, NO_INPUT), done
        assert len(done.err) < 12_000
    assert untouched()


@pytest.mark.parametrize("place", ["runs/2026-02", "runs/2026-02/001", "runs/2026-02/001/.finetune.partial"])
def test_a_link_planted_where_a_run_would_write_is_not_followed(
    launched: Path, outside: Path, untouched: Callable[[], bool], place: str
) -> None:
    (launched / place).parent.mkdir(parents=True, exist_ok=True)
    (launched / place).symlink_to(outside)
    done = call("run", "--month", "2026-02", "-w", launched)
    assert untouched()
    # an unfinished stage's own folder may be cleared away, the link with it; everything else is refused
    assert done.code in ((0,) if place.endswith("partial") else (CORRUPT,)), done


@pytest.mark.parametrize("name", ["manifest.json", "config.yaml", "run.log", "events.jsonl"])
def test_a_link_planted_for_a_file_is_replaced_or_refused(
    launched: Path, outside: Path, untouched: Callable[[], bool], name: str
) -> None:
    attempt = launched / "runs" / "2026-02" / "001"
    attempt.mkdir(parents=True)
    (attempt / name).symlink_to(outside / "precious")
    done = call("run", "--month", "2026-02", "-w", launched)
    assert untouched()
    assert done.code != 1, done


def test_a_link_planted_for_the_registry_is_refused(
    launched: Path, outside: Path, untouched: Callable[[], bool]
) -> None:
    shutil.move(launched / "registry.json", outside.parent / "elsewhere.json")
    (launched / "registry.json").symlink_to(outside.parent / "elsewhere.json")
    before = (outside.parent / "elsewhere.json").read_bytes()
    assert call("run", "--month", "2026-02", "-w", launched).code == CORRUPT
    assert (outside.parent / "elsewhere.json").read_bytes() == before


def test_a_link_planted_for_a_fisher_is_not_followed(
    launched: Path, outside: Path, untouched: Callable[[], bool]
) -> None:
    fisher = launched / "runs" / "2026-01" / "001" / "finetune" / "checkpoint" / "fisher.safetensors"
    fisher.symlink_to(outside / "precious")
    done = call("run", "--month", "2026-02", "-w", launched)
    assert done.code == CORRUPT
    assert "symbolic link" in done.err
    assert untouched()


@pytest.mark.parametrize(
    "text",
    [
        "seed: !!python/object/apply:os.system ['touch HIT']",
        "seed: !!python/name:os.system",
        "!!python/object/new:os._exit [3]",
        "model: !include other.yaml",
        "a: &a [x, x]\nb: &b [*a, *a]\nseed: *b",
        "seed: 1\nseed: 2",
    ],
)
def test_yaml_tags_run_no_code(
    launched: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (launched / "retrain.yaml").write_text(text)
    done = call("run", "--month", "2026-02", "-w", launched)
    assert done.code == BAD_CONFIG
    assert "retrain.yaml" in done.err
    assert not (tmp_path / "HIT").exists()


class Bomb:
    """What a pickle checkpoint may do when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_checkpoint_is_never_loaded(new_workspace: Path, tmp_path: Path) -> None:
    mark = tmp_path / "exploded"
    base = new_workspace / "base"
    (base / "model.safetensors").unlink()
    (base / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Bomb(mark)}))
    done = call("launch", "--data", new_workspace / "launch.jsonl", "--month", "2026-01", "-w", new_workspace)
    assert done.code == NO_INPUT
    assert not mark.exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_checkpoint_that_brings_code_is_refused(new_workspace: Path, tmp_path: Path, file: str) -> None:
    mark = tmp_path / "exploded"
    base = new_workspace / "base"
    (base / "evil.py").write_text(f"import os\nos.mkdir({str(mark)!r})\nclass Evil: pass\n")
    content = json.loads((base / file).read_text())
    content["auto_map"] = {
        "AutoModelForSequenceClassification": "evil.Evil",
        "AutoTokenizer": ["evil.Evil", None],
    }
    (base / file).write_text(json.dumps(content))
    done = call("launch", "--data", new_workspace / "launch.jsonl", "--month", "2026-01", "-w", new_workspace)
    assert done.code == CORRUPT
    assert "auto_map" in done.err
    assert not mark.exists()


def test_a_planted_resume_checkpoint_without_a_record_is_not_loaded(launched: Path, tmp_path: Path) -> None:
    """The Trainer would take the one of the highest number, unchecked, with its pickles."""
    from tests.faults.disturbance import copy_of as copied
    from tests.faults.disturbance import killing, run_month, run_with, steps_of

    steps = steps_of(copied(launched, tmp_path / "counted"))
    assert run_with(launched, killing(steps.index("fsync checkpoint-2"))) == 137
    mark = tmp_path / "exploded"
    planted = launched / "runs" / "2026-02" / "001" / ".finetune.partial" / "resume" / "checkpoint-999"
    planted.mkdir()
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "model.safetensors"):
        (planted / name).write_bytes(pickle.dumps(Bomb(mark)))
    assert run_month(launched).code == 0
    assert not mark.exists()
