"""docs/benchmarks.md and README.md show what benchmarks/results/ holds."""

import importlib.util
from types import ModuleType

import pytest

from .pages import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_results(tables: ModuleType) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert tables.written(page) == page


def test_the_front_page_shows_the_headline(tables: ModuleType) -> None:
    front = (ROOT / "README.md").read_text(encoding="utf-8")
    assert tables.written(front, tables.README) == front


def test_a_figure_that_differs_is_put_right(tables: ModuleType) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert tables.written(page.replace(" 193 MB,", " 93 MB,", 1)) == page


def test_a_page_without_the_markers_is_refused(tables: ModuleType) -> None:
    with pytest.raises(ValueError, match="expected the markers of 'fisher environment'"):
        tables.written("# Benchmarks\n")


def test_a_target_is_missed_where_a_case_is_too_slow(tables: ModuleType) -> None:
    row = {"ratio": 1.16, "seconds": 1.0, "peak_megabytes": 10.0, "error": 0.0}
    rows = {tables.OURS: row, tables.FLOOR: row | {"ratio": 1.0}, tables.LOOP: row | {"ratio": 3.0}}
    case = "MiniLM, B=8, T=32"
    shown = tables.fisher_targets({"cases": {case: rows}, "fisher_megabytes": {case: 5.0}}).splitlines()
    assert shown[2] == f"| ours ≤ 1.15 for T ≥ 32, B ≥ 8 | nowhere | {case} (1.16) |"
    assert f"| ≥ 2 times faster than the loop at B ≥ 8 | {case} (2.59) | nowhere |" in shown
