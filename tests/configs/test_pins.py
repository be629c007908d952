"""constraints.txt pins everything that the project asks for, in a form that pip takes from PyPI."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PINS = [
    line
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def normal(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["demo"]]
    wanted += [*project["optional-dependencies"]["dev"], *project["optional-dependencies"]["bench"]]
    names = {normal(re.split(r"[<>=!~\[; ]", requirement)[0]) for requirement in wanted}
    assert names <= {normal(pin.split("==")[0]) for pin in PINS}


def test_pins_are_plain() -> None:
    for pin in PINS:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin), pin  # no extras, no local versions
