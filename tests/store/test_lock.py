"""One writer per workspace, freed when it dies, and the loser is told who holds it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.errors import CannotWrite, NoInput, WorkspaceLocked
from pipeline.store import lock as lock_module
from pipeline.store.lock import HOLDER_FILE, LOCK_FILE, holder_of, workspace_lock
from pipeline.store.workspace import Workspace

HOLD = """
import sys, time
from pathlib import Path
from pipeline.store.lock import workspace_lock
with workspace_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

TRY = """
import sys
from pathlib import Path
from pipeline.errors import WorkspaceLocked
from pipeline.store.lock import workspace_lock
heavy = {"torch", "pydantic", "pyarrow", "numpy", "pandas", "transformers"}
try:
    with workspace_lock(Path(sys.argv[1])):
        print("won", sorted(heavy & sys.modules.keys()), flush=True)
        sys.stdin.read()
except WorkspaceLocked as error:
    print("lost", sorted(heavy & sys.modules.keys()), flush=True)
    sys.exit(75)
"""


@contextmanager
def another_holder(root: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_lock_is_free_again_after_use_and_after_an_error(workspace: Workspace) -> None:
    with pytest.raises(KeyError), workspace_lock(workspace):
        raise KeyError
    with workspace_lock(workspace):
        assert (workspace.root / HOLDER_FILE).exists()
    assert not (workspace.root / HOLDER_FILE).exists()


def test_the_loser_is_told_pid_host_and_since_when_at_once(workspace: Workspace) -> None:
    with another_holder(workspace.root) as holder:
        started = time.monotonic()
        with pytest.raises(WorkspaceLocked) as refusal, workspace_lock(workspace):
            pytest.fail("two holders")
        assert time.monotonic() - started < 30
    message = str(refusal.value)
    assert message.startswith(f"{workspace.root}: process {holder.pid} on {socket.gethostname()}, since 20")
    assert message.endswith("Wait for it, or let this command wait: --wait SECONDS")


def test_the_kernel_frees_the_lock_of_a_killed_holder(workspace: Workspace) -> None:
    with another_holder(workspace.root) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert (workspace.root / HOLDER_FILE).exists()
        with workspace_lock(workspace):
            note = json.loads((workspace.root / HOLDER_FILE).read_text())
            assert note["pid"] == os.getpid()


def test_a_note_of_a_killed_holder_whose_number_another_process_has_now_is_not_believed(
    workspace: Workspace,
) -> None:
    with another_holder(workspace.root) as holder:
        assert str(holder.pid) in str(holder_of(workspace.root))
        note = json.loads((workspace.root / HOLDER_FILE).read_text())
    (workspace.root / HOLDER_FILE).write_text(json.dumps({**note, "pid": os.getpid()}))
    assert holder_of(workspace.root) is None
    with workspace_lock(workspace):
        pass


def test_waiting_gets_the_lock_once_its_holder_is_gone(workspace: Workspace) -> None:
    with another_holder(workspace.root) as holder:
        killer = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -9 {holder.pid}"])
        with workspace_lock(workspace, wait_seconds=30):
            assert holder.wait() == -signal.SIGKILL
        killer.wait()


def test_of_several_started_together_one_wins_and_none_imports_anything_heavy(workspace: Workspace) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TRY, str(workspace.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    said = [process.stdout.readline() for process in processes if process.stdout]
    for process in processes:
        process.communicate()
    assert sorted(said) == ["lost []\n"] * 5 + ["won []\n"]
    assert sorted(process.returncode for process in processes) == [0, 75, 75, 75, 75, 75]


def test_a_second_hold_in_one_process_is_refused_too(workspace: Workspace) -> None:
    refused = pytest.raises(WorkspaceLocked, match=f"process {os.getpid()} ")
    with workspace_lock(workspace), refused, workspace_lock(workspace):
        pytest.fail("two holders")


@pytest.mark.parametrize("note", [b"{", b"[]", b'{"pid": "x"}', b'{"pid": 0}', None])
def test_a_holder_without_a_readable_note_is_another_process(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, note: bytes | None
) -> None:
    monkeypatch.setattr(lock_module, "_HOLDER_WAIT_SECONDS", 0.0)
    with another_holder(workspace.root):
        (workspace.root / HOLDER_FILE).unlink()
        if note is not None:
            (workspace.root / HOLDER_FILE).write_bytes(note)
        with pytest.raises(WorkspaceLocked, match="another process is at work"), workspace_lock(workspace):
            pytest.fail("two holders")


def test_the_note_of_a_dead_process_is_not_believed_but_that_of_another_host_is(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "_HOLDER_WAIT_SECONDS", 0.0)
    dead = subprocess.Popen(["true"])
    dead.wait()
    note = {"pid": dead.pid, "host": socket.gethostname(), "since": "2026-01-01T00:00:00Z"}
    with another_holder(workspace.root):
        (workspace.root / HOLDER_FILE).write_text(json.dumps(note))
        with pytest.raises(WorkspaceLocked, match="another process is"), workspace_lock(workspace):
            pytest.fail("two holders")
        (workspace.root / HOLDER_FILE).write_text(json.dumps({**note, "host": "elsewhere"}))
        refused = pytest.raises(WorkspaceLocked, match=f"process {dead.pid} on elsewhere, since 2026-01-01")
        with refused, workspace_lock(workspace):
            pytest.fail("two holders")


def test_a_missing_workspace_is_told(tmp_path: Path) -> None:
    refused = pytest.raises(NoInput, match=r"there is no such workspace. Run: retrain init")
    with refused, workspace_lock(tmp_path / "none"):
        pytest.fail("locked nothing")


def test_a_planted_lock_link_is_not_followed(workspace: Workspace, tmp_path: Path) -> None:
    (workspace.root / LOCK_FILE).symlink_to(tmp_path / "outside")
    with pytest.raises(CannotWrite, match="cannot lock it"), workspace_lock(workspace):
        pytest.fail("locked a link")
    assert not (tmp_path / "outside").exists()


def test_the_locks_files_are_their_owners_alone(workspace: Workspace) -> None:
    with workspace_lock(workspace):
        for name in (LOCK_FILE, HOLDER_FILE):
            assert (workspace.root / name).stat().st_mode & 0o077 == 0
