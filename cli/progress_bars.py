"""Progress on stderr: bars on a terminal, plain lines now and then in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from cli import render
from pipeline.progress import Advance, Progress

SECONDS_BETWEEN_LINES = 15.0


def progress_on_stderr() -> Progress:
    """Bars where stderr is a terminal, else a line at the start, every 15 seconds and at the end."""
    return _bars if sys.stderr.isatty() else _lines


def _bars(title: str, total: int, unit: str) -> AbstractContextManager[Advance]:
    return _bar(title, total, unit)


@contextmanager
def _bar(title: str, total: int, unit: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bars = Progress(
        TextColumn("  {task.description:<12}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} {task.fields[note]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True, markup=False),
        transient=True,
    )
    started = time.monotonic()
    with bars:
        task = bars.add_task(title, total=total, rate="", note="")
        done = 0

        def advance(count: int = 1, note: str = "") -> None:
            nonlocal done
            done += count
            rate = f"{done / max(time.monotonic() - started, 1e-9):.1f} {unit}/s"
            bars.update(task, advance=count, rate=rate, note=note)

        yield advance
    render.note(f"  {title}: {_summary(done, unit, started)}")


def _lines(title: str, total: int, unit: str) -> AbstractContextManager[Advance]:
    return _plain(title, total, unit)


@contextmanager
def _plain(title: str, total: int, unit: str) -> Iterator[Advance]:
    started = last = time.monotonic()
    done = 0

    def advance(count: int = 1, note: str = "") -> None:
        nonlocal done, last
        done += count
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            render.note(f"  {title}: {done} of {total} {unit}s {note}".rstrip())

    yield advance
    render.note(f"  {title}: {_summary(done, unit, started)}")


def _summary(done: int, unit: str, started: float) -> str:
    seconds = time.monotonic() - started
    return f"{done} {unit}s in {seconds:.1f} s ({done / max(seconds, 1e-9):.1f} {unit}/s)"
