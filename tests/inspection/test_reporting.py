"""The report of an attempt, and of a run that must not fail for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StoppedBySignal, UsageError
from pipeline.inspection.reporting import try_report, without_values, write_report
from pipeline.store.verification import verify_workspace
from pipeline.store.workspace import Workspace


def test_every_run_ends_with_a_report_and_the_workspace_stays_sound(promoted: Path) -> None:
    for attempt in ("2026-01/001", "2026-02/001"):
        page = (promoted / "runs" / attempt / "report.html").read_text(encoding="utf-8")
        assert "promoted</p>" in page
    assert "layer and kind" in page
    assert verify_workspace(Workspace(promoted)).problems == ()


def test_report_is_equal_each_time(promoted: Path) -> None:
    file = promoted / "runs/2026-02/001/report.html"
    before = file.read_bytes()
    assert write_report(Workspace(promoted), "2026-02") == file
    assert file.read_bytes() == before


def test_refused_month_tells_why(refused: Path) -> None:
    page = (refused / "runs/2026-02/001/report.html").read_text(encoding="utf-8")
    assert "refused</p>" in page
    assert "a gain of at least 101 is asked for" in page


def test_customer_text_is_shown_on_request_alone(promoted: Path, tmp_path: Path) -> None:
    space = Workspace(promoted)
    golden = (promoted / "golden/2026-02.jsonl").read_text(encoding="utf-8")
    import json

    texts = [json.loads(line)["text"] for line in golden.splitlines()]
    hidden = write_report(space, "2026-02", output=tmp_path / "hidden.html").read_text(encoding="utf-8")
    shown = write_report(space, "2026-02", include_text=True, output=tmp_path / "shown.html")
    assert not any(text in hidden for text in texts)
    assert any(text in shown.read_text(encoding="utf-8") for text in texts)


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("unknown label 'my secret': only a catalog row", "unknown label …: only a catalog row"),
        ("kind: expected one of a, b, found 'secret'", "kind: expected one of a, b, found something else"),
        ('text "secret" repeats', "text … repeats"),
    ],
)
def test_reasons_are_told_without_what_somebody_wrote(reason: str, shown: str) -> None:
    assert without_values(reason) == shown


def test_report_that_fails_does_not_fail_the_run(
    launched: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.report import page

    def broken(contents: object) -> str:
        raise RuntimeError("no ink")

    monkeypatch.setattr(page, "render_page", broken)
    done = cli("run", "--month", "2026-02", "-w", launched)
    assert done.code == 0
    assert "the report could not be written: RuntimeError: no ink" in done.err
    assert not (launched / "runs/2026-02/001/report.html").exists()


def test_signal_during_the_report_stops(promoted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.report import page

    def stopped(contents: object) -> str:
        raise StoppedBySignal("stopped", signum=15)

    monkeypatch.setattr(page, "render_page", stopped)
    space = Workspace(promoted)
    with pytest.raises(StoppedBySignal):
        try_report(space, space.attempt("2026-02/001"))


def test_checkpoint_outside_of_the_runs_has_no_report(promoted: Path, base: Path) -> None:
    with pytest.raises(UsageError, match="no attempt to report on"):
        write_report(Workspace(promoted), str(base))
