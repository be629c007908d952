"""`retrain config show|validate|schema`."""

import json
from pathlib import Path

import pytest
import yaml

from pipeline.config import Config
from tests.conftest import call


def test_show_prints_what_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "retrain.yaml").write_text("seed: 4\newc: {gamma: 0.5}\n")
    monkeypatch.setenv("RETRAIN_EWC__GAMMA", "0.25")
    done = call("config", "show", "-w", tmp_path, "-o", "ewc.lambda=9")
    shown = yaml.safe_load(done.out)
    assert (shown["seed"], shown["ewc"]["gamma"], shown["ewc"]["lambda"]) == (4, 0.25, 9.0)
    assert json.loads(call("config", "show", "-w", tmp_path, "-o", "ewc.lambda=9", "--json").out) == shown


def test_validate_says_that_all_is_well_on_stderr(tmp_path: Path) -> None:
    (tmp_path / "retrain.yaml").write_text("seed: 4\n")
    done = call("config", "validate", "-w", tmp_path)
    assert (done.code, done.out, done.err) == (0, "", f"{tmp_path / 'retrain.yaml'}: valid\n")


def test_validate_lists_every_problem_and_exits_with_78(tmp_path: Path) -> None:
    file = tmp_path / "retrain.yaml"
    file.write_text("sed: 4\newc: {lambda: -2}\ntrain: {epochs: many}\n")
    done = call("config", "validate", "-c", file)
    assert done.code == 78
    assert done.err.splitlines()[0] == f"retrain: {file}: 3 problem(s). Run: retrain config schema"
    assert [line.split(":")[0].strip() for line in done.err.splitlines()[1:]] == [
        "ewc.lambda",
        "train.epochs",
        "sed",
    ]


def test_schema_is_the_one_of_the_configuration() -> None:
    assert json.loads(call("config", "schema").out) == Config.model_json_schema(by_alias=True)


@pytest.mark.parametrize("command", ["show", "validate"])
def test_without_a_configuration_the_message_names_init(tmp_path: Path, command: str) -> None:
    done = call("config", command, "-w", tmp_path)
    assert done.code == 78
    assert "retrain.yaml: no such file. Run: retrain init" in done.err
