"""Every way in which the pipeline refuses has its exit code, and reaches the user as a message."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.exit_codes import EXIT_CODES, exit_code
from pipeline import errors
from pipeline.errors import RetrainError, StoppedBySignal
from tests.conftest import call

TABLE = {
    "UsageError": 2, "TrainingDiverged": 4, "ArtifactCorrupt": 5, "BadData": 65, "NoInput": 66,
    "CannotWrite": 74, "WorkspaceLocked": 75, "AccessDenied": 77, "BadConfig": 78,
}  # fmt: skip


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.setenv("RETRAIN_WORKSPACE", str(tmp_path))


def kinds() -> list[type[RetrainError]]:
    found: list[type[RetrainError]] = []
    waiting = [RetrainError]
    while waiting:
        children = waiting.pop().__subclasses__()
        found += children
        waiting += children
    return found


def made(kind: type[RetrainError], text: str) -> RetrainError:
    return StoppedBySignal(text, signum=15) if kind is StoppedBySignal else kind(text)


def test_the_table_holds_every_error_but_the_signals_and_no_other() -> None:
    assert set(EXIT_CODES) == set(kinds()) - {StoppedBySignal}


def test_the_codes_are_the_documented_ones_and_differ() -> None:
    assert {kind.__name__: code for kind, code in EXIT_CODES.items()} == TABLE
    assert len(set(EXIT_CODES.values()) | {0, 1, 3, 130, 143}) == len(EXIT_CODES) + 5


@pytest.mark.parametrize(("signum", "code"), [(2, 130), (15, 143)])
def test_a_signal_gives_128_and_its_number(signum: int, code: int) -> None:
    assert exit_code(StoppedBySignal("stopped", signum=signum)) == code


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_every_error_reaches_the_user_as_a_message_and_a_code(
    kind: type[RetrainError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise made(kind, "registry.json: damaged. Run: retrain status")

    monkeypatch.setattr("pipeline.inspection.history.workspace_history", fail)
    done = call("status")
    assert done.code == exit_code(made(kind, ""))
    assert (done.out, done.err) == ("", "retrain: registry.json: damaged. Run: retrain status\n")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (PermissionError(13, "Permission denied", "/etc/x"), 77, "/etc/x: access denied: Permission denied"),
        (OSError(28, "No space left on device", "/data/x"), 74, "/data/x: No space left on device"),
        (OSError("odd"), 74, "input/output: odd"),
        (
            ZeroDivisionError("division by zero"),
            1,
            "a bug in this program: ZeroDivisionError: division by zero",
        ),
    ],
)
def test_errors_of_python_reach_the_user_without_a_traceback(
    error: Exception, code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("pipeline.inspection.history.workspace_history", fail)
    done = call("status")
    assert done.code == code
    assert done.err.startswith(f"retrain: {message}\n")


def test_control_characters_in_a_message_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise errors.BadData("label '\x1b[2J\x07[/x]\ud800'")

    monkeypatch.setattr("pipeline.inspection.history.workspace_history", fail)
    assert call("status").err == "retrain: label '\\x1b[2J\\x07[/x]\\ud800'\n"


@pytest.mark.parametrize(
    "words",
    [["no-such-command"], ["status", "--no-such-option"], ["launch"], ["run", "--threads", "0"], ["show"]],
)
def test_a_wrong_command_line_is_exit_2(words: list[str]) -> None:
    done = call(*words)
    assert done.code == 2
    assert done.out == ""


def test_a_reader_that_leaves_early_is_no_error_to_tell() -> None:
    code = "from cli.main import run_retrain; run_retrain()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "config", "schema"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 141
    assert said == ""


@pytest.mark.parametrize(("stopped", "code"), [(True, 130), (False, 1)])
def test_an_interruption_that_click_takes_for_its_own_ends_with_the_signals_code(
    monkeypatch: pytest.MonkeyPatch, stopped: bool, code: int
) -> None:
    """A library makes a KeyboardInterrupt of the signal, and click ends such a program with 1."""
    from cli import main

    def app() -> None:
        if stopped:
            with pytest.raises(StoppedBySignal):
                main._stop(2, None)
        sys.exit(1)

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        with pytest.raises(SystemExit) as ended:
            main._run("retrain", app)
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    assert ended.value.code == code


def test_nothing_that_libraries_do_at_the_end_changes_the_exit_code() -> None:
    code = "import atexit, os; atexit.register(os.abort); from cli.main import retrain_process; retrain_process()"
    done = subprocess.run(
        [sys.executable, "-c", code, "config", "schema"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)
    assert (
        subprocess.run([sys.executable, "-c", code, "no-such"], capture_output=True, check=False).returncode
        == 2
    )
