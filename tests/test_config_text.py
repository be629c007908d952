"""One value changed in the text of a configuration."""

import pytest
import yaml

from pipeline.config_text import with_value
from pipeline.errors import BadConfig


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ewc: {lambda: 0.1}\nseed: 1\n", "ewc: {lambda: 3}\nseed: 1\n"),
        ("ewc: {gamma: 1}  # c\n", "ewc: {lambda: 3, gamma: 1}  # c\n"),
        ("ewc: {}\n", "ewc: {lambda: 3}\n"),
        ("# top\newc:\n    gamma: 1 # c\n", "# top\newc:\n    lambda: 3\n    gamma: 1 # c\n"),
        ("ewc:\n  lambda:   '1' # c", "ewc:\n  lambda:   3 # c"),
        ("seed: 1", "seed: 1\newc:\n  lambda: 3\n"),
        ("", "ewc:\n  lambda: 3\n"),
        ("a: {ewc: {lambda: 9}}\newc: {lambda: 1}\n", "a: {ewc: {lambda: 9}}\newc: {lambda: 3}\n"),
    ],
)
def test_one_value_changes_and_nothing_else(text: str, expected: str) -> None:
    assert with_value(text, "ewc.lambda", "3", where="f") == expected
    assert yaml.safe_load(expected)["ewc"]["lambda"] == 3


@pytest.mark.parametrize("text", ["ewc: 3\n", "[1, 2]\n", "ewc:\n", "ewc: &a {lambda: 1}\nb: *a\nc: {\n"])
def test_layout_that_cannot_be_changed_is_refused(text: str) -> None:
    with pytest.raises(BadConfig, match="f: "):
        with_value(text, "ewc.lambda", "3", where="f")
