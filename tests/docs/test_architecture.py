"""What the architecture and the decisions name exists: every path, and every function in the path named before it."""

import ast
import re
from pathlib import Path

import pytest

from .pages import ROOT, name_of

PAGES = [ROOT / "docs/architecture.md", *sorted((ROOT / "docs/decisions").glob("*.md"))]
_NAMED = re.compile(r"`((?:pipeline|cli|configs|docs|tests)/[\w./]*)`|`([A-Za-z_]\w*)\(\)`")


def definitions(file: Path) -> set[str]:
    """Names of all functions and classes that a module defines, methods included."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_exist_and_hold_the_functions_named_with_them(page: Path) -> None:
    module: Path | None = None
    pieces = re.split(r"\n(?=\n|\d+\. |\| |- )", page.read_text(encoding="utf-8"))  # items, rows, paragraphs
    for piece in pieces:
        files = [ROOT / path for path, _ in _NAMED.findall(piece) if path.endswith(".py")]
        for path, function in _NAMED.findall(piece):
            if path:
                assert (ROOT / path).exists(), path
                module = ROOT / path if path.endswith(".py") else module
            else:
                assert module is not None, function
                candidates = [module, *files]  # a table row may name the function before its file
                assert any(function in definitions(file) for file in candidates), (function, name_of(module))


def test_functions_are_named_at_all() -> None:
    named = _NAMED.findall(PAGES[0].read_text(encoding="utf-8"))
    assert sum(bool(function) for _, function in named) > 40
    assert sum(bool(path) for path, _ in named) > 40


def test_a_missing_function_would_be_found() -> None:
    assert "add_gradient_" in definitions(ROOT / "pipeline/ewc/penalty_step.py")
    assert "no_such_function" not in definitions(ROOT / "pipeline/ewc/penalty_step.py")


def test_the_list_of_decisions_is_complete() -> None:
    listed = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs/decisions").glob("0*.md"):
        assert f"({page.name})" in listed
