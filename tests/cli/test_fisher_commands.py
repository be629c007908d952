"""`fisher compute` and `fisher show`, alone and below `retrain`."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.modeling.tasks.sequence_classification import load_classifier
from pipeline.store.fisher_file import read_fisher
from tests import language_models, toy
from tests.conftest import Done, call

CHECKPOINT = "runs/2026-01/001/finetune/checkpoint"


def fisher(*words: object) -> Done:
    return call(*words, program="fisher")


@pytest.fixture
def outside(launched: Path, tmp_path: Path) -> Path:
    """A checkpoint that no workspace knows."""
    return Path(shutil.copytree(launched / CHECKPOINT, tmp_path / "outside"))


def test_without_data_it_is_what_the_monthly_job_would_compute(launched: Path, promoted: Path) -> None:
    done = fisher("compute", "champion", "-w", launched)
    assert done.code == 0, done.err
    file = launched / CHECKPOINT / "fisher.safetensors"
    assert done.out.splitlines()[0] == str(file)
    assert file.read_bytes() == (promoted / CHECKPOINT / "fisher.safetensors").read_bytes()


def test_the_workspace_is_found_around_the_checkpoint(launched: Path) -> None:
    assert fisher("compute", launched / CHECKPOINT).code == 0
    done = call("run", "--month", "2026-02", "--until", "fisher", "-w", launched)
    assert done.code == 0
    assert "40 examples" not in done.err


def test_it_also_goes_below_retrain(launched: Path) -> None:
    done = call("fisher", "compute", "2026-01", "-w", launched, "--json")
    document = json.loads(done.out)
    assert (document["estimator"], document["examples"], document["months"]) == ("exact", 40, ["2026-01"])


def test_a_second_one_for_the_same_question_computes_nothing(promoted: Path) -> None:
    file = promoted / CHECKPOINT / "fisher.safetensors"
    before = file.stat().st_mtime_ns
    done = fisher("compute", "2026-01", "-w", promoted)
    assert done.code == 0
    assert file.stat().st_mtime_ns == before


def test_with_data_any_checkpoint_gets_its_fisher_beside_it(outside: Path, launched: Path) -> None:
    done = fisher(
        "compute", outside, "--data", launched / "launch.jsonl", "--estimator", "exact", "--samples", "10"
    )
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == str(outside / "fisher.safetensors")
    assert "exact, 10 examples, trace " in done.out


@pytest.mark.parametrize(("told", "covers"), [((), True), (("-o", "train.layers=head"), False)])
def test_outside_of_a_workspace_it_covers_all_parameters_unless_told(
    outside: Path, launched: Path, told: tuple[str, ...], covers: bool
) -> None:
    """No configuration was seen that would say otherwise."""
    done = fisher("compute", outside, "--data", launched / "launch.jsonl", "--samples", "4", *told)
    assert done.code == 0, done.err
    parameters = load_classifier(outside).model.named_parameters()
    covered = read_fisher(outside / "fisher.safetensors")[0].keys()
    assert ({name for name, _ in parameters} == set(covered)) is covers


@pytest.mark.parametrize("output", [False, True])
def test_other_data_may_not_take_the_place_where_the_next_month_looks(
    launched: Path, monkeypatch: pytest.MonkeyPatch, output: bool
) -> None:
    monkeypatch.setattr(
        "pipeline.operations.fisher_by_hand.require_sound", None
    )  # refused before anything is read
    target = ("--output", launched / CHECKPOINT / "fisher.safetensors") if output else ()
    for checkpoint in (launched / CHECKPOINT, "champion", "2026-01"):
        words = (checkpoint, "--data", launched / "launch.jsonl", "-w", launched, "--force", *target)
        done = fisher("compute", *words)
        assert done.code == 2, done.err
        assert (
            "is where the next month looks for the Fisher of what attempt 2026-01/001 was trained" in done.err
        )
        assert "Write elsewhere with --output FILE, or leave --data out" in done.err
    assert not (launched / CHECKPOINT / "fisher.safetensors").exists()


def test_other_data_elsewhere_leave_the_next_month_alone(launched: Path, tmp_path: Path) -> None:
    words = (
        "--data",
        launched / "launch.jsonl",
        "--samples",
        "5",
        "--output",
        tmp_path / "other.safetensors",
    )
    assert fisher("compute", launched / CHECKPOINT, *words).code == 0
    assert call("run", "--month", "2026-02", "--until", "fisher", "-w", launched).code == 0


def test_without_data_the_data_of_a_foreign_checkpoint_are_not_known(outside: Path) -> None:
    done = fisher("compute", outside)
    assert done.code == 66
    assert "it is not known what it was trained on. Give it with --data FILE" in done.err


def test_a_file_that_is_there_is_only_replaced_with_force(outside: Path, launched: Path) -> None:
    words = ("compute", outside, "--data", launched / "launch.jsonl", "--samples", "5")
    assert fisher(*words).code == 0
    done = fisher(*words)
    assert done.code == 2
    assert "exists already. Replace it with --force, or write elsewhere with --output FILE" in done.err
    assert fisher(*words, "--seed", "1", "--force").code == 0


def test_output_writes_elsewhere(outside: Path, launched: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.safetensors"
    words = ("--data", launched / "launch.jsonl", "--samples", "5", "--output", target)
    assert fisher("compute", outside, *words).code == 0
    assert target.is_file()
    assert not (outside / "fisher.safetensors").exists()


@pytest.mark.parametrize("estimator", ["exact", "mc", "lowrank", "empirical", "auto"])
def test_every_estimator_runs_and_is_recorded(outside: Path, launched: Path, estimator: str) -> None:
    words = ("--data", launched / "launch.jsonl", "--samples", "5", "--estimator", estimator, "--json")
    done = fisher("compute", outside, *words)
    document = json.loads(done.out)
    assert document["estimator"] == estimator or (estimator == "auto" and document["estimator"] != "auto")
    assert document["trace"] > 0


def test_equal_calls_give_equal_bits_and_another_seed_other_ones(
    outside: Path, launched: Path, tmp_path: Path
) -> None:
    files = [tmp_path / f"{name}.safetensors" for name in ("one", "again", "other")]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        words = ("--data", launched / "launch.jsonl", "--samples", "5", "--estimator", "mc", "--output", file)
        assert fisher("compute", outside, *words, "--seed", seed).code == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes() != files[2].read_bytes()


def test_data_with_a_label_that_the_checkpoint_lacks_is_bad_data(outside: Path, tmp_path: Path) -> None:
    data = toy.write_jsonl(tmp_path / "data.jsonl", [{"text": "abroad", "label": "roaming"}])
    done = fisher("compute", outside, "--data", data)
    assert done.code == 65
    assert "First: line 1: unknown label 'roaming': the checkpoint's label2id does not have it" in done.err


def test_a_checkpoint_that_does_not_exist_is_no_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = fisher("compute", "absent", "--data", "launch.jsonl")
    assert done.code == 66
    assert "'absent': is neither a month, nor an attempt, nor a folder" in done.err


@pytest.mark.parametrize("kind", language_models.KINDS)
def test_a_language_model_is_divided_by_its_sequences_and_the_file_says_so(kind: str, tmp_path: Path) -> None:
    folder = language_models.write_language_model(tmp_path / kind, kind)
    data = toy.write_jsonl(tmp_path / "texts.jsonl", [{"text": text} for text in language_models.TEXTS])
    words = ("compute", folder, "--data", data, "-o", "model.max_length=16", "-o", "train.layers=all")
    done = fisher(*words)
    assert done.code == 0, done.err
    assert "a language model: mc, one token drawn from its own distribution at each position" in done.err
    document = json.loads(fisher(*words, "--force", "--json").out)
    assert document["division"].startswith("number of sequences; a sequence is one example, its loss summed")
    assert (document["estimator"], document["examples"]) == ("mc", len(language_models.TEXTS))
    assert (document["precision"], document["batch_tokens"]) == ("fp32", 2048)
    assert fisher("verify", folder / "fisher.safetensors", "--checkpoint", folder).code == 0
    assert fisher(*words, "--force", "--estimator", "exact").code == 2


def test_a_row_without_text_is_bad_data_for_a_language_model(tmp_path: Path) -> None:
    folder = language_models.write_language_model(tmp_path / "gpt2", "gpt2")
    data = toy.write_jsonl(tmp_path / "texts.jsonl", [{"text": "the parcel"}, {"label": "late"}])
    done = fisher("compute", folder, "--data", data, "-o", "model.max_length=16")
    assert done.code == 65
    assert "1 of 2 rows cannot be used. First: line 2: text: expected text that is not empty" in done.err


def test_the_precision_that_was_used_is_recorded(outside: Path, launched: Path) -> None:
    words = ("--data", launched / "launch.jsonl", "--samples", "5", "-o", "fisher.precision=bf16", "--json")
    assert json.loads(fisher("compute", outside, *words).out)["precision"] == "bf16"


def test_show_tells_each_layer_and_how_it_was_made(promoted: Path) -> None:
    done = fisher("show", promoted / CHECKPOINT)
    assert done.code == 0
    table = done.out.split("\n\n")[1].splitlines()
    assert table[0].split() == ["layer", "size", "trace", "mean", "share", "zeros"]
    assert any(line.startswith("bert.encoder.layer.0") for line in table)
    assert "estimator:             exact" in done.out


def test_shares_of_the_layers_sum_to_one(promoted: Path) -> None:
    document = json.loads(fisher("show", promoted / CHECKPOINT / "fisher.safetensors", "--json").out)
    assert sum(layer["share"] for layer in document["layers"]) == pytest.approx(1.0)
    assert sum(layer["trace"] for layer in document["layers"]) == pytest.approx(document["metadata"]["trace"])


def test_show_of_a_file_that_does_not_exist_is_no_input(tmp_path: Path) -> None:
    assert fisher("show", tmp_path / "fisher.safetensors").code == 66


@pytest.mark.parametrize("position", [20, -7])
def test_show_of_a_damaged_file_is_corrupt(promoted: Path, position: int) -> None:
    file = promoted / CHECKPOINT / "fisher.safetensors"
    content = bytearray(file.read_bytes())
    content[position] ^= 0x10
    file.chmod(0o644)
    file.write_bytes(bytes(content))
    done = fisher("show", file)
    assert done.code == 5
    assert str(file) in done.err
