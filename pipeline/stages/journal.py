"""What happened when, in an attempt's events.jsonl (for programs) and run.log (for people)."""

import logging
from collections.abc import Callable
from datetime import datetime

from pipeline.store.run_directory import RunDirectory

logger = logging.getLogger("retrain")
Clock = Callable[[], datetime]


class Journal:
    """Writes events with their time; times are kept out of manifests, so that equal runs are equal bits."""

    def __init__(self, attempt: RunDirectory, clock: Clock) -> None:
        self._attempt, self._clock = attempt, clock

    def tell(self, event: str, text: str, **facts: object) -> None:
        """Record an event, and say `text` in the log and to whoever listens to the `retrain` logger."""
        at = self._clock().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._attempt.append_event(event, at=at, **facts)
        self._attempt.log(f"{at} {text}")
        logger.info("%s", text)
