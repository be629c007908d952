"""The configuration is strict, immutable, and tells every problem at once."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from pipeline.config import Config
from pipeline.config_loading import load_config
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


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in itertools.pairwise("abcdefghi")
)


def test_aliases_are_refused_at_once_with_their_line(tmp_path: Path) -> None:
    assert len(BOMB) < 600
    text = problem(tmp_path, BOMB)
    assert "alias *a: aliases are not read; write the value out" in text
    assert "line 2, column 8" in text
    with pytest.raises(BadConfig, match=r"RETRAIN_INGEST: not valid YAML: .*: aliases are not read"):
        load_config(None, environment={"RETRAIN_INGEST": "{a: &a 1, b: *a}"})
    with pytest.raises(BadConfig, match="aliases are not read"):
        load_config(None, overrides=["ingest={a: &a 1, b: *a}"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ewc.lambda", "1e308"),
        ("ewc.replay_lambda", "1e31"),
        ("l2sp.lambda", "1e308"),
        ("distill.temperature", "1e300"),
        ("distill.temperature", "1e-300"),
        ("distill.new_weight", "1e300"),
        ("train.batch_size", "1000000000000000000000"),
        ("replay.per_step", "1000000000000000000000"),
        ("replay.launch_rows", "1000000000000000000000"),
        ("train.epochs", "1000000000000000000000"),
        ("launch.learning_rate", "1e300"),
        ("train.weight_decay", "1e300"),
        ("train.max_grad_norm", "1e300"),
        ("fisher.samples", "1000000000000000000000"),
        ("model.max_length", "1000000000000000000000"),
        ("gate.confidence", "0.9999999999999999"),
        ("gate.false_refusals", "1e-300"),
        ("gate.min_gain", "-1e300"),
        ("gate.max_drop", "1e300"),
        ("gate.min_rows", "1000000000000000000000"),
        ("seed", "4294967296"),
        ("seed", "1" * 200_000),
        ("seed", "true"),
        ("gate.max_drop", "on"),
    ],
)
def test_numbers_that_no_run_can_use_are_errors_wherever_they_are_given(
    tmp_path: Path, key: str, value: str
) -> None:
    section, _, name = key.rpartition(".")
    assert key in problem(tmp_path, "", f"{key}={value}")
    variable = f"RETRAIN_{key.upper().replace('.', '__')}"
    with pytest.raises(BadConfig, match=variable):
        load_config(None, environment={variable: value})
    assert "retrain.yaml" in problem(
        tmp_path, f"{section}: {{{name}: {value}}}" if section else f"{name}: {value}"
    )


def test_no_number_of_the_configuration_is_without_a_limit() -> None:
    def unlimited(properties: dict[str, Any]) -> list[str]:
        kinds = {name: [field, *field.get("anyOf", ())] for name, field in properties.items()}
        return [
            name
            for name, choices in kinds.items()
            for kind in choices
            if kind.get("type") in ("integer", "number")
            and not (
                {"maximum", "exclusiveMaximum"} & kind.keys()
                and {"minimum", "exclusiveMinimum"} & kind.keys()
            )
        ]

    schema = Config.model_json_schema(by_alias=True)
    properties = {name: field for name, field in schema["properties"].items() if name != "version"}
    sections = {name: section["properties"] for name, section in schema["$defs"].items()}
    assert {name: unlimited(section) for name, section in {**sections, "": properties}.items()} == {
        name: [] for name in (*sections, "")
    }


@pytest.mark.parametrize(
    ("key", "value", "read_as"),
    [
        ("files.umask", "077", "as an octal number"),
        ("train.epochs", "010", "as an octal number"),
        ("train.batch_size", "1:30", "to base 60"),
    ],
)
def test_numbers_that_yaml_reads_otherwise_than_people_are_errors(
    tmp_path: Path, key: str, value: str, read_as: str
) -> None:
    section, name = key.split(".")
    message = f"{value}: YAML reads it {read_as}; put it in double quotes inside the value"
    assert message in problem(tmp_path, f"{section}: {{{name}: {value}}}")
    assert message in problem(tmp_path, "", f"{key}={value}")
    variable = f"RETRAIN_{section.upper()}__{name.upper()}"
    with pytest.raises(BadConfig, match=f"{variable}: not valid YAML: .* YAML reads it {read_as}; put it in"):
        load_config(None, environment={variable: value})
    assert load_config(None, environment={"RETRAIN_FILES__UMASK": '"077"'}).files.umask == "077"


def test_a_quoted_umask_and_ordinary_numbers_are_read() -> None:
    config = load_config(
        None, overrides=['files.umask="027"', "seed=0", "gate.min_gain=-0.5", "train.epochs=10"]
    )
    assert (config.files.umask, config.seed, config.train.epochs) == ("027", 0, 10)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("feedback/**.jsonl", "** must stand alone between slashes"),
        ('"a\\0b"', "holds a control character"),
        ("x" * 256, "more than 255 bytes"),
    ],
)
def test_a_source_that_no_file_can_match_is_an_error(tmp_path: Path, path: str, message: str) -> None:
    text = f"[{{path: {path}}}]"
    assert message in problem(tmp_path, f"ingest: {{sources: {text}}}")
    assert message in problem(tmp_path, "", f"ingest.sources={text}")


def test_a_glob_over_folders_is_no_error() -> None:
    config = load_config(None, overrides=["ingest.sources=[{path: 'feedback/**/{month}*.jsonl'}]"])
    assert config.ingest.sources[0].path == "feedback/**/{month}*.jsonl"


@pytest.mark.parametrize("value", ["[s3cret", "*s3cret", "!s3cret x", "{s3cret: 1, s3cret: 2}"])
def test_a_broken_environment_variable_is_not_told(value: str) -> None:
    with pytest.raises(BadConfig) as refused:
        load_config(None, environment={"RETRAIN_SEED": value})
    assert "RETRAIN_SEED: not valid YAML" in str(refused.value)
    assert "s3cret" not in str(refused.value)
