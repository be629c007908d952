"""The pictures can be drawn again, are all there, and follow the reader's colour scheme."""

import importlib
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest

from .pages import ROOT

PICTURES = ROOT / "docs/pictures"
BY_HAND = {"flow.svg"}


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """docs/draw.py as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("draw")


def test_every_picture_is_drawn_by_code_or_by_hand(draw: ModuleType) -> None:
    assert {file.name for file in PICTURES.iterdir()} == set(draw.PICTURES) | BY_HAND


@pytest.mark.parametrize("file", sorted(PICTURES.glob("*.svg")), ids=lambda file: file.name)
def test_a_picture_has_both_colour_schemes(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert "prefers-color-scheme: dark" in text
    assert "<script" not in text


def test_a_picture_is_drawn_again_to_the_same_bytes(draw: ModuleType, tmp_path: Path) -> None:
    with draw.plt.rc_context(draw.STYLE):
        draw.a_new_label(tmp_path / "first.svg")
        draw.a_new_label(tmp_path / "second.svg")
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


@pytest.mark.slow
def test_all_pictures_can_be_drawn(draw: ModuleType, tmp_path: Path) -> None:
    with draw.plt.rc_context(draw.STYLE):
        for name, picture in draw.PICTURES.items():
            picture(tmp_path / name)
            assert (tmp_path / name).stat().st_size > 10_000
