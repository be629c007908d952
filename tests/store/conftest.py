"""An empty workspace in a temporary folder, on a disk that need not outlive a loss of power."""

import os
from pathlib import Path

import pytest

from pipeline.store.workspace import Workspace


@pytest.fixture(autouse=True)
def quick_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing takes most of these tests' time, and a killed process loses nothing without it."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "workspace"
    root.mkdir()
    return Workspace(root)
