"""Every command that the documentation shows exists, with every option that it is given."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from cli import main

from .pages import PAGES, ROOT, blocks, mentioned_commands, name_of, shell_commands

PROGRAMS = {"retrain": main.retrain, "fisher": main.fisher}


def problem_of(words: list[str]) -> str:
    """What the program's parser says about a command line, without running it; empty when it is right."""
    command: Any = typer.main.get_command(PROGRAMS[words[0]])
    rest = words[1:]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        if rest[0] not in command.commands:
            return f"no such command: {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    if "--help" in rest or hasattr(command, "commands"):
        return ""
    try:
        command.make_context(command.name, list(rest))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["retrain", "frobnicate"], "no such command"),
        (["retrain", "run", "--frobnicate"], "NoSuchOption"),
        (["retrain", "launch", "--data", "x"], "MissingParameter"),
        (["retrain", "run", "--month", "2026-10"], ""),
    ],
)
def test_the_parser_tells_wrong_commands_from_right_ones(words: list[str], problem: str) -> None:
    assert problem_of(words).startswith(problem)
    assert bool(problem_of(words)) == bool(problem)


def test_readme_shows_the_commands_of_a_month() -> None:
    shown = {words[1] for words in shell_commands(ROOT / "README.md")}
    assert {"init", "launch", "run", "eval", "status", "show", "promote", "rollback"} <= shown


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_exist_with_their_options(page: Path) -> None:
    for words in shell_commands(page):
        assert problem_of(words) == "", words
    for words in mentioned_commands(page):
        if words[1] == "COMMAND":
            continue
        assert problem_of(words).startswith("MissingParameter") or problem_of(words) == "", words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_of_a_page_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    shown = set(re.findall(r"`make ([a-z-]+)`", text))
    for block in blocks(page, "sh"):
        shown |= set(re.findall(r"^make ([a-z-]+)", block.text, re.MULTILINE))
    assert shown <= targets


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in headings(file), target


def headings(page: Path) -> set[str]:
    """The anchors that a page's headings have on the usual hosts."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_picture_is_shown_on_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in (ROOT / "docs/pictures").iterdir():
        assert f"pictures/{picture.name}" in text
