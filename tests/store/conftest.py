"""An empty workspace in a temporary folder."""

from pathlib import Path

import pytest

from pipeline.store.run_directory import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "workspace"
    root.mkdir()
    return Workspace(root)
