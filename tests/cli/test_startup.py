"""What a command loads: help and refusals come without the heavy libraries."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from pipeline.store.lock import workspace_lock

HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "pandas",
    "accelerate",
    "safetensors",
    "scipy",
    "pyarrow",
    "numpy",
)
PROBE = """
import json, sys
from cli.main import run_{program}
try:
    run_{program}()
except SystemExit as stop:
    print("\\n" + json.dumps([stop.code or 0, [name for name in {heavy} if name in sys.modules]]))
"""


def loaded(*words: object, program: str = "retrain") -> tuple[int, list[str]]:
    """The exit code, and which of the heavy libraries were loaded."""
    code = PROBE.format(program=program, heavy=HEAVY)
    command = [sys.executable, "-c", code, *(str(word) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: tuple[int, list[str]] = tuple(json.loads(done.stdout.splitlines()[-1]))
    return result


@pytest.mark.parametrize(
    ("program", "words"),
    [("retrain", ("--help",)), ("retrain", ("run", "--help")), ("fisher", ("compute", "--help"))],
)
def test_help_loads_nothing_heavy(program: str, words: tuple[str, ...]) -> None:
    assert loaded(*words, program=program) == (0, [])


def test_a_second_run_is_refused_before_anything_heavy_is_loaded(launched: Path) -> None:
    with workspace_lock(launched):
        assert loaded("run", "--month", "2026-02", "-w", launched) == (75, [])


def test_a_wrong_configuration_is_refused_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "retrain.yaml").write_text("sed: 1\n")
    assert loaded("run", "--month", "2026-02", "-w", tmp_path) == (78, [])


def test_status_and_dry_run_do_without_torch(promoted: Path) -> None:
    for words in (("status",), ("run", "--month", "2026-02", "--dry-run")):
        code, libraries = loaded(*words, "-w", promoted)
        assert code == 0
        assert not {"torch", "transformers", "datasets", "pandas"} & set(libraries)


@pytest.mark.parametrize("program", ["retrain", "fisher"])
def test_the_version_is_told_without_anything_heavy(program: str) -> None:
    from tests.conftest import call

    assert (
        call("--version", program=program).out == f"monthly-retrain {metadata.version('monthly-retrain')}\n"
    )
    assert loaded("--version", program=program) == (0, [])
