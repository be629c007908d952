"""Every YAML that ships loads, and the commented one shows the defaults."""

from pathlib import Path

import pytest
import yaml

from pipeline.config_loading import load_config

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.name)
def test_a_shipped_configuration_loads(file: Path) -> None:
    assert load_config(file).version == 1


def test_the_commented_configuration_shows_the_defaults() -> None:
    assert load_config(CONFIGS / "text_classification.yaml") == load_config(None)


def test_the_commented_configuration_shows_every_section() -> None:
    shown = yaml.safe_load((CONFIGS / "text_classification.yaml").read_text(encoding="utf-8"))
    assert set(shown) == set(load_config(None).resolved())


def test_the_commented_configuration_explains_its_dials() -> None:
    lines = (CONFIGS / "text_classification.yaml").read_text(encoding="utf-8").splitlines()
    for key in ("lambda", "samples", "max_drop", "min_gain", "layers"):
        assert any(line.strip().startswith(f"{key}:") and "#" in line for line in lines), key
