"""What happened when, in an attempt's events.jsonl (for programs) and run.log (for people)."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from pipeline.errors import RetrainError
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

    @contextmanager
    def keeping_failures(self, stage: str) -> Iterator[None]:
        """Inside, an error is kept in the attempt on its way to the caller, who tells it."""
        try:
            yield
        except Exception as error:
            what = str(error) if isinstance(error, RetrainError) else f"{type(error).__name__}: {error}"
            at = _now(self._clock)
            with suppress(RetrainError):  # a disk that is full refuses this, too
                self._attempt.append_event("failed", at=at, stage=stage, error=what)
                self._attempt.log(f"{at} {stage}: {what}")
            raise


class _RunLog(logging.Handler):
    def __init__(self, attempt: RunDirectory, clock: Clock) -> None:
        super().__init__()
        self._attempt, self._clock = attempt, clock

    def emit(self, record: logging.LogRecord) -> None:
        self._attempt.log(f"{_now(self._clock)} {record.getMessage()}")


def _now(clock: Clock) -> str:
    return clock().isoformat(timespec="milliseconds").replace("+00:00", "Z")
