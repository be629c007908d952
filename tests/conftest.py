"""A tiny model, a toy stream, workspaces made from them, and the command line called in this process."""

import io
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import toy

# torch is not loaded yet: two threads on a small shared machine can be many times slower than one
os.environ["OMP_NUM_THREADS"] = "1"
for name in [name for name in os.environ if name.startswith("RETRAIN_")]:
    del os.environ[name]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def call(*argv: object, program: str = "retrain", stdin: str = "") -> Done:
    """Run a command in this process, through the entry point that the console script has."""
    from cli import main

    words = [program, *(str(word) for word in argv)]
    out, err, entry = io.StringIO(), io.StringIO(), getattr(main, f"run_{program}")
    kept = sys.argv, sys.stdin, signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    mask = os.umask(0)
    os.umask(mask)
    sys.argv, sys.stdin = words, io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
    code = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            entry()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv, sys.stdin = kept[:2]
        signal.signal(signal.SIGTERM, kept[2])
        signal.signal(signal.SIGINT, kept[3])
        os.umask(mask)
        logging.getLogger("retrain").handlers.clear()
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
    assert "Traceback" not in err.getvalue(), err.getvalue()
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny base model."""
    from pipeline.modeling.checkpoint import quiet_libraries

    quiet_libraries()
    return toy.write_base(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="session")
def cli() -> Callable[..., Done]:
    """Calls a command in this process."""
    return call


@pytest.fixture(scope="session")
def _launched(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = toy.write_workspace(tmp_path_factory.mktemp("launched") / "workspace", base)
    done = call("launch", "--data", folder / "launch.jsonl", "--month", "2026-01", "-w", folder)
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="session")
def _promoted(_launched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = _copied(_launched, tmp_path_factory.mktemp("promoted") / "workspace")
    done = call("run", "--month", "2026-02", "-w", folder)
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="session")
def _refused(_launched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = _copied(_launched, tmp_path_factory.mktemp("refused") / "workspace")
    done = call("run", "--month", "2026-02", "-w", folder, *toy.REFUSE)
    assert done.code == 3, done.err
    return folder


def _copied(workspace: Path, target: Path) -> Path:
    return Path(shutil.copytree(workspace, target, symlinks=True))


@pytest.fixture
def new_workspace(base: Path, tmp_path: Path) -> Path:
    """A workspace with data, configuration and base model; nothing was run yet."""
    return toy.write_workspace(tmp_path / "new", base)


@pytest.fixture
def launched(_launched: Path, tmp_path: Path) -> Path:
    """A workspace whose champion is the launch of 2026-01."""
    return _copied(_launched, tmp_path / "launched")


@pytest.fixture
def promoted(_promoted: Path, tmp_path: Path) -> Path:
    """A workspace whose champion is the candidate of 2026-02."""
    return _copied(_promoted, tmp_path / "promoted")


@pytest.fixture
def refused(_refused: Path, tmp_path: Path) -> Path:
    """A workspace whose candidate of 2026-02 was refused."""
    return _copied(_refused, tmp_path / "refused")
