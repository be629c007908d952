"""What happened when, in an attempt's events.jsonl (for programs) and run.log (for people)."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from pipeline.store.run_directory import RunDirectory

logger = logging.getLogger("retrain")
Clock = Callable[[], datetime]


class Journal:
    """Writes events with their time; times are kept out of manifests, so that equal runs are equal bits."""

    def __init__(self, attempt: RunDirectory, clock: Clock) -> None:
        self._attempt, self._clock = attempt, clock

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, whatever is said to the `retrain` logger also goes to run.log."""
        handler = _RunLog(self._attempt, self._clock)
        level = logger.level
        logger.setLevel(min(level, logging.INFO) if level else logging.INFO)
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)

    def tell(self, event: str, text: str, **facts: object) -> None:
        """Record an event, and say `text` in the log and to whoever listens to the `retrain` logger."""
        self._attempt.append_event(event, at=_now(self._clock), **facts)
        logger.info("%s", text)

    def record(self, event: str, text: str, **facts: object) -> None:
        """Record an event and `text` in the attempt alone."""
        at = _now(self._clock)
        self._attempt.append_event(event, at=at, **facts)
        self._attempt.log(f"{at} {text}")


class _RunLog(logging.Handler):
    def __init__(self, attempt: RunDirectory, clock: Clock) -> None:
        super().__init__()
        self._attempt, self._clock = attempt, clock

    def emit(self, record: logging.LogRecord) -> None:
        self._attempt.log(f"{_now(self._clock)} {record.getMessage()}")


def _now(clock: Clock) -> str:
    return clock().isoformat(timespec="milliseconds").replace("+00:00", "Z")
