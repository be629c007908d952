"""All printing: data to stdout, talk to stderr. Text from data is shown with control characters escaped."""

import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import TextIO

from cli.exit_codes import INTERRUPTED_BASE


def data(text: str) -> None:
    """Print lines of data to stdout."""
    _write(printable(text), sys.stdout)


def document(value: object) -> None:
    """Print one JSON document to stdout."""
    _write(_json(value, sys.stdout, indent=1), sys.stdout)


def json_line(value: object) -> None:
    """Print one line of JSONL to stdout."""
    _write(_json(value, sys.stdout), sys.stdout)


def _json(value: object, stream: TextIO, indent: int | None = None) -> str:
    """JSON in which what a terminal would obey (controls, directions, line separators), and what the stream cannot
    hold, is escaped as JSON does."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    kept = (c == "\n" or (c.isprintable() and _held(c, stream)) for c in text)
    return "".join(c if keep else json.dumps(c)[1:-1] for c, keep in zip(text, kept, strict=True))


def _held(text: str, stream: TextIO) -> bool:
    """Whether a stream's encoding has the text."""
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def note(text: str) -> None:
    """Say something to the person at the terminal or in the log, on stderr."""
    _write(printable(text), sys.stderr)


def failure(program: str, text: str) -> None:
    """Say on stderr why the command stops."""
    _write(f"{program}: {printable(text)}", sys.stderr)


def show_log() -> None:
    """Let the pipeline's log lines reach stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Printable("%(message)s"))
    logger = logging.getLogger("retrain")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _write(text: str, stream: TextIO) -> None:
    if not _held(text, stream):
        text = text.encode(stream.encoding, "backslashreplace").decode(stream.encoding)
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        # the reader has left, as `head` does; typer would exit with 1, which here means a bug
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(INTERRUPTED_BASE + signal.SIGPIPE)


def printable(text: str) -> str:
    """The text with every control character but the line feed escaped, so that it cannot steer a terminal."""
    return "".join(
        c if c == "\n" or (c.isprintable() and c != "\x7f") else c.encode("unicode_escape").decode()
        for c in text.encode("utf-8", "backslashreplace").decode("utf-8")
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Rows in columns of equal width, the first `left` columns flush left, the others flush right."""
    cells = [[printable(cell).replace("\n", " ") for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = []
    for row in cells:
        columns = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(columns).rstrip())
    return "\n".join(lines)


def points(value: float | None, *, signed: bool = False) -> str:
    """A number of points of accuracy, or a dash."""
    if value is None:
        return "-"
    return f"{value:+.2f}" if signed else f"{value:.2f}"
