"""The environment is recorded without importing torch."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from pipeline.store import environment
from pipeline.store.environment import gather_environment
from pipeline.store.records import Environment


def gather() -> Environment:
    return gather_environment(
        device="cpu", precision="fp32", threads=1, torch_facts={"cpu_capability": "AVX2", "accelerator": None}
    )


def test_the_environment_names_machine_and_versions() -> None:
    found = gather()
    assert found.python == platform.python_version()
    assert (found.machine, found.cpu_capability) == (platform.machine(), "AVX2")
    assert (found.device, found.precision, found.threads) == ("cpu", "fp32", 1)
    assert found.packages["torch"] == metadata.version("torch")
    assert gather() == found


def test_a_package_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("pydantic", "no-such-package-here"))
    assert list(gather().packages) == ["pydantic"]


def test_unknown_facts_are_said_to_be_unknown() -> None:
    found = gather_environment(device="cpu", precision="fp32", threads=1, torch_facts={})
    assert (found.cpu_capability, found.accelerator) == ("unknown", None)


def test_the_commit_and_changes_of_the_code_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    code = tmp_path / "environment.py"
    code.write_text("1")
    monkeypatch.setattr(environment, "__file__", str(code))
    assert (gather().git_commit, gather().git_dirty) == (None, None)
    git("init", "-q")
    # installed inside somebody else's checkout: their commit says nothing about this code
    assert (gather().git_commit, gather().git_dirty) == (None, None)
    git("add", "environment.py")
    git("commit", "-q", "-m", "one")
    assert gather().git_dirty is False
    assert len(gather().git_commit or "") == 40
    code.write_text("2")
    assert gather().git_dirty is True


def test_a_machine_without_git_has_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert (gather().git_commit, gather().git_dirty) == (None, None)
