"""The documentation's pages, and the fenced blocks in them."""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line at which the text starts."""

    language: str
    text: str
    line: int


def blocks(page: Path, language: str) -> list[Block]:
    """The blocks of one language, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start()) + 2)
        for found in _FENCE.finditer(text)
        if found[1] == language
    ]


def shell_commands(page: Path) -> list[list[str]]:
    """Every `retrain` and `fisher` command of the shell blocks, as words."""
    return _programs(line for block in blocks(page, "sh") for line in block.text.splitlines())


def mentioned_commands(page: Path) -> list[list[str]]:
    """Every `retrain` and `fisher` command between backticks in the prose, as words; arguments may be left out."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8")).replace("\n", " ")
    return _programs(re.findall(r"`((?:retrain|fisher) [^`]+)`", prose))


def _programs(lines: Iterable[str]) -> list[list[str]]:
    words = [shlex.split(line.split(" | ")[-1], comments=True) for line in lines]
    return [parts for parts in words if parts and parts[0] in ("retrain", "fisher")]


def name_of(page: Path) -> str:
    """The page's path from the repository's root."""
    return page.relative_to(ROOT).as_posix()
