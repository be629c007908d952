"""A webhook is told how a run ended; a broken one costs seconds at most, never the run."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.operations.notification import notify
from tests import toy
from tests.conftest import call

VARIABLE = "HOOK_ADDRESS"


class Hook(ThreadingHTTPServer):
    """A webhook on the loopback interface that remembers what it was told."""

    daemon_threads = True
    status = 200
    delay = 0.0
    location = ""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/secret-path"


class Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told.append(json.loads(body))
        time.sleep(self.server.delay)
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    caplog.set_level(logging.WARNING, "retrain")
    return lambda: caplog.text


def test_the_facts_arrive_as_json(hook: Hook) -> None:
    assert notify(VARIABLE, {VARIABLE: hook.address}, {"event": "promoted", "month": "2026-02"})
    assert hook.told == [{"event": "promoted", "month": "2026-02"}]


def test_without_a_variable_nobody_is_told(warned: Callable[[], str]) -> None:
    assert not notify(None, {}, {"event": "promoted"})
    assert warned() == ""


def test_a_variable_that_is_not_set_is_told_in_the_log(warned: Callable[[], str]) -> None:
    assert not notify(VARIABLE, {}, {"event": "promoted"})
    assert "HOOK_ADDRESS is not set" in warned()


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/hook",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "https://",
        "http://[::1",
        "x",
        "http://127.0.0.1.example.org/",
    ],
)
def test_an_address_that_is_not_https_is_not_called(address: str, warned: Callable[[], str]) -> None:
    assert not notify(VARIABLE, {VARIABLE: address}, {"event": "promoted"})
    assert "holds no https address" in warned()
    assert address not in warned() or address == "x"


def test_a_slow_webhook_costs_the_time_limit_at_most(hook: Hook, warned: Callable[[], str]) -> None:
    hook.delay = 3.0
    started = time.monotonic()
    assert not notify(VARIABLE, {VARIABLE: hook.address}, {"event": "promoted"}, seconds=0.2)
    assert time.monotonic() - started < 2.0
    assert "secret-path" not in warned()


@pytest.mark.parametrize("status", [301, 404, 500])
def test_a_webhook_that_refuses_is_told_in_the_log(
    hook: Hook, status: int, warned: Callable[[], str]
) -> None:
    hook.status = status
    assert not notify(VARIABLE, {VARIABLE: hook.address}, {"event": "promoted"})
    assert f"status {status}" in warned()
    assert "secret-path" not in warned()


def test_a_redirect_is_not_followed(hook: Hook) -> None:
    with Hook() as other:
        hook.status, hook.location = 307, other.address
        assert not notify(VARIABLE, {VARIABLE: hook.address}, {"event": "promoted"})
        assert other.told == []


def test_a_webhook_that_is_not_there_is_told_in_the_log(warned: Callable[[], str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert not notify(VARIABLE, {VARIABLE: f"http://127.0.0.1:{port}/"}, {"event": "promoted"})
    assert "URLError" in warned()


def with_hook(workspace: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.setenv(VARIABLE, hook.address)
    return ("-w", str(workspace), "-o", f"notify.webhook_env={VARIABLE}")


def test_a_promotion_is_told_once(launched: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    options = with_hook(launched, hook, monkeypatch)
    assert call("run", "--month", "2026-02", *options).code == 0
    assert call("run", "--month", "2026-02", *options).code == 0
    assert hook.told == [
        {
            "event": "promoted",
            "month": "2026-02",
            "attempt": "2026-02/001",
            "forced": False,
            "reasons": [],
            "exit_code": 0,
        }
    ]


def test_a_refusal_is_told_with_its_reasons(
    launched: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = with_hook(launched, hook, monkeypatch)
    assert call("run", "--month", "2026-02", *options, *toy.REFUSE).code == 3
    assert [fact["event"] for fact in hook.told] == ["refused"]
    assert hook.told[0]["exit_code"] == 3
    assert hook.told[0]["reasons"]


def test_a_failure_is_told_with_its_exit_code_and_without_texts(
    launched: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = with_hook(launched, hook, monkeypatch)
    (launched / "feedback" / "2026-02.jsonl").unlink()
    assert call("run", "--month", "2026-02", *options).code == 66
    assert hook.told == [{"event": "failed", "month": "2026-02", "error": "NoInput", "exit_code": 66}]


def test_a_webhook_that_fails_does_not_fail_the_run(
    launched: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook.status = 500
    done = call("run", "--month", "2026-02", *with_hook(launched, hook, monkeypatch))
    assert done.code == 0
    assert "did not take the message: status 500" in done.err


def test_a_workspace_that_is_held_is_no_news(
    launched: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.store.lock import workspace_lock

    options = with_hook(launched, hook, monkeypatch)
    with workspace_lock(launched):
        assert call("run", "--month", "2026-02", *options).code == 75
    assert hook.told == []
