"""The tables of years, from a made-up result."""

from types import ModuleType
from typing import Any

import pytest

from tests.docs.test_benchmarks import script


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    return script("years_tables")


def arm(name: str, launch_after: float, **more: Any) -> dict[str, Any]:
    return {
        "arm": name,
        "refused": [],
        "launch_before": 90.0,
        "launch_after": launch_after,
        "prior_change": -0.25,
        "end": 88.0,
        "end_macro_f1": 87.0,
        "seconds": {"2026-02": 10.0, "2026-03": 20.0, "2026-04": 30.0, "2026-05": 40.0},
    } | more


def record(default: float) -> list[dict[str, Any]]:
    arms = {
        "default": arm("default", default, refused=["2026-04"]),
        "joint": arm("joint", 89.5, seconds={"2026-05": 300.0}),
    }
    return [{"stream": "made-up", "months": 12, "arms": arms}]


def test_every_arm_has_a_line(tables: ModuleType) -> None:
    lines = tables.years_table(record(89.0)).splitlines()[2:]
    assert lines == [
        "| made-up, 12 months | `default` | -0.25 | -1.00 | 88.00 | 87.00 | 1 | 20, 30 |",
        "| made-up, 12 months | `joint` | - | -0.50 | 88.00 | 87.00 | - | 300 |",
    ]


@pytest.mark.parametrize(
    ("default", "beyond", "holds"),
    [(89.0, "-0.50", "yes"), (88.5, "-1.00", "yes"), (88.0, "-1.50", "no, by 0.50")],
)
def test_what_is_beyond_joint_training_stands_beside_the_aim(
    tables: ModuleType, default: float, beyond: str, holds: str
) -> None:
    line = tables.years_aims(record(default)).splitlines()[-1]
    assert line.endswith(f"| -0.50 | {beyond} | {holds} |")


def test_without_results_it_says_so(tables: ModuleType) -> None:
    assert "make bench-years" in tables.years_where([])
