"""The configuration is strict, immutable, and tells every problem at once."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from pipeline.config import Config, load_config
from pipeline.errors import BadConfig

SHIPPED = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


def written(folder: Path, text: str) -> Path:
    file = folder / "retrain.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def problem(folder: Path, text: str = "", *overrides: str) -> str:
    with pytest.raises(BadConfig) as caught:
        load_config(written(folder, text), overrides=overrides)
    return str(caught.value)


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "# nothing\n")) == Config() == load_config(None)


def test_what_is_resolved_is_read_back_as_the_same_configuration(tmp_path: Path) -> None:
    config = load_config(None, overrides=["ewc.lambda=7.5", "ingest.validation=0.2", "train.layers=top:2"])
    file = written(tmp_path, yaml.safe_dump(config.resolved()))
    assert load_config(file) == config


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_every_shipped_configuration_is_valid(file: Path) -> None:
    assert load_config(file).version == 1


def test_the_commented_configuration_shows_the_defaults() -> None:
    shown = next(file for file in SHIPPED if file.name == "text_classification.yaml")
    assert load_config(shown) == Config()


def test_all_problems_are_reported_at_once_with_file_and_key(tmp_path: Path) -> None:
    text = problem(
        tmp_path,
        """
version: 2
arms: plain
ewc: {lambda: -1, scale: median}
train: {epochs: 0, layers: "top:0", learning_rate: fast}
gate: {confidence: 1.0}
""",
    )
    assert text.startswith(f"{tmp_path / 'retrain.yaml'}: 8 problem(s). Run: retrain config schema")
    keys = {line.split(":")[0].strip() for line in text.splitlines()[1:]}
    assert keys == {
        "version", "arms", "ewc.lambda", "ewc.scale",
        "train.epochs", "train.layers", "train.learning_rate", "gate.confidence",
    }  # fmt: skip
    assert "found 'median'" in text


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("lambda: 3", "lambda"),
        ("ewc: {lamda: 3}", "ewc.lamda"),
        ("ingest: {sources: [{path: a.jsonl, kind: x}]}", "ingest.sources.0.kind"),
    ],
)
def test_an_unknown_key_is_an_error(tmp_path: Path, text: str, key: str) -> None:
    assert f"  {key}: Extra inputs are not permitted" in problem(tmp_path, text)


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_numbers_must_be_finite(tmp_path: Path, value: str) -> None:
    assert "ewc.lambda" in problem(tmp_path, f"ewc: {{lambda: {value}}}")


def test_a_key_that_is_given_twice_is_an_error(tmp_path: Path) -> None:
    assert "key 'seed' is given twice" in problem(tmp_path, "seed: 1\nseed: 2\n")


@pytest.mark.parametrize(
    "text", ["ewc: [", "seed: !!python/object:os.system {}", "1: 2", "a: &a [*a]", "[" * 5000, "\tseed: 1"]
)
def test_text_that_is_no_plain_yaml_is_an_error(tmp_path: Path, text: str) -> None:
    assert "retrain.yaml" in problem(tmp_path, text)


def test_a_file_that_holds_no_sections_is_an_error(tmp_path: Path) -> None:
    assert "expected sections such as `ewc:`, found ['seed']" in problem(tmp_path, "- seed")


def test_a_missing_file_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"no such file\. Run: retrain init"):
        load_config(tmp_path / "retrain.yaml")


def test_a_file_that_is_no_utf8_text_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "retrain.yaml"
    file.write_bytes(b"seed: \xff")
    with pytest.raises(BadConfig, match="cannot be read as UTF-8 text"):
        load_config(file)


def test_overrides_win_over_environment_and_environment_over_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "seed: 1\newc: {lambda: 1, gamma: 0.5}\ngate: {max_drop: 1}\n")
    environment = {"RETRAIN_EWC__LAMBDA": "2", "RETRAIN_GATE__MAX_DROP": "2", "HOME": "/"}
    config = load_config(file, overrides=["ewc.lambda=3"], environment=environment)
    assert (config.seed, config.ewc.gamma) == (1, 0.5)
    assert config.gate.max_drop == 2
    assert config.ewc.lambda_ == 3


def test_the_last_of_two_overrides_wins() -> None:
    assert load_config(None, overrides=["seed=1", "seed=2"]).seed == 2


def test_an_unknown_environment_variable_of_ours_is_an_error() -> None:
    with pytest.raises(BadConfig, match=r"ewc\.lamda"):
        load_config(None, environment={"RETRAIN_EWC__LAMDA": "2"})


def test_variables_with_another_purpose_are_no_keys() -> None:
    environment = {"RETRAIN_WORKSPACE": "/srv/retrain", "RETRAIN_DEBUG": "1"}
    assert load_config(None, environment=environment) == Config()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("ewc.lambda", "expected KEY=VALUE, such as -o ewc.lambda=10"),
        ("=3", "expected a key such as ewc.lambda, found ''"),
        ("ewc..lambda=3", "expected a key such as ewc.lambda"),
        ("seed.x=3", "seed is a value, not a section"),
        ("seed=[", "not valid YAML"),
    ],
)
def test_an_override_of_another_form_is_an_error(tmp_path: Path, override: str, message: str) -> None:
    text = problem(tmp_path, "seed: 1", override)
    assert text.startswith(f"-o {override}: ")
    assert message in text


def test_lists_can_be_overridden() -> None:
    config = load_config(None, overrides=["ingest.sources=[{path: a.csv}, {path: 'b/{month}'}]"])
    assert [source.path for source in config.ingest.sources] == ["a.csv", "b/{month}"]


def test_values_never_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Config().seed = 1  # type: ignore[misc]


def test_a_golden_path_without_the_month_is_an_error(tmp_path: Path) -> None:
    assert "must contain {month}" in problem(tmp_path, "golden: {path: golden.jsonl}")


def test_accumulation_must_divide_the_batch(tmp_path: Path) -> None:
    assert "must divide" in problem(tmp_path, "train: {batch_size: 32, gradient_accumulation: 5}")


def test_the_schema_describes_every_section() -> None:
    schema = Config.model_json_schema(by_alias=True)
    assert set(schema["properties"]) == set(Config().resolved())
    assert "lambda" in schema["$defs"]["EwcSection"]["properties"]


@pytest.mark.parametrize(
    "name", ["RETRAIN_WEBHOOK", "RETRAIN_NOTIFY__WEBHOOK", "RETRAIN_TRAIN", "RETRAIN_SEED"]
)
def test_the_value_of_an_environment_variable_is_never_told(name: str) -> None:
    with pytest.raises(BadConfig) as refused:
        load_config(None, environment={name: "https://hooks.example.org/s3cret"})
    assert name in str(refused.value)
    assert "s3cret" not in str(refused.value)
