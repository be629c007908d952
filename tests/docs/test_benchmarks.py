"""docs/benchmarks.md and README.md show what benchmarks/results/ holds."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.arm_results import made_up

from .pages import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"


def script(name: str) -> ModuleType:
    """A benchmark's module, found as it finds its neighbours when it is run."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    return script("tables")


@pytest.fixture(scope="module")
def headline() -> ModuleType:
    return script("headline")


def test_the_tables_are_those_of_the_results(tables: ModuleType) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert tables.written(page) == page


def test_the_front_page_shows_the_headline(tables: ModuleType) -> None:
    front = (ROOT / "README.md").read_text(encoding="utf-8")
    assert tables.written(front, tables.README) == front


def test_the_gates_page_shows_its_simulation(tables: ModuleType) -> None:
    page = tables.GATE_PAGE.read_text(encoding="utf-8")
    assert tables.written(page, tables.GATE_PAGE) == page


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


def test_an_arm_that_is_not_run_again_keeps_its_figures(headline: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "headline-a.json"
    first = headline.written(file, "a", [made_up("plain", -4.0), made_up("default", -0.2)])
    file.write_text(json.dumps(first), encoding="utf-8")
    again = headline.written(file, "a", [made_up("default", -0.1)])
    assert list(again["arms"]) == ["plain", "default"]
    assert [again["arms"][name]["prior_change"] for name in ("plain", "default")] == [-4.0, -0.1]


def test_processes_side_by_side_share_no_folder(headline: ModuleType) -> None:
    job = headline.Job(Path("clinc150"), Path("work"), ("plain", "joint"), (1, 2, 3))
    assert [(single.seeds, single.arms) for single in job.single_seeds()] == [
        ((1,), ("plain", "joint")),
        ((2,), ("plain",)),
        ((3,), ("plain",)),
    ]


def test_an_arm_that_ends_higher_than_the_default_is_named_and_joint_is_no_rival(
    headline: ModuleType, tmp_path: Path
) -> None:
    arms = [made_up("calibrate", -0.4, 89.5), made_up("default", -0.6, 89.0), made_up("joint", 0.0, 97.0)]
    record = headline.written(tmp_path / "none.json", "banking77", arms)
    shown = script("headline_tables").arms_targets([record]).splitlines()[2:]
    assert shown == [
        "| banking77 | default | prior, a month >= -0.5 | -0.60 | no, by 0.10 |",
        "| banking77 | default | worst month >= -1.5 | -0.60 | yes |",
        "| banking77 | default | launch set >= -1.5 | 0.00 | yes |",
        "| banking77 | default | end >= that of every arm but joint (calibrate: 89.50) | 89.00 | no, by 0.50 |",
    ]
