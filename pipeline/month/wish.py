"""What a month is asked for, and the process that asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.month.journal import Clock
from pipeline.progress import Progress, silent


@dataclass(frozen=True)
class Wish:
    """How a month is to be run; by itself, as cron runs it.

    Attributes:
        promote: True forces promotion, False forbids it, None leaves it to the gate.
        again_from: the first stage to run again even when it is fresh.
        until: the last stage to run; the attempt then stays unfinished.
        force: run everything in a new attempt.
        allow_empty: record a month without feedback as done.
        allow_gap: pass over months that were never run.
    """

    promote: bool | None = None
    again_from: str | None = None
    until: str | None = None
    force: bool = False
    allow_empty: bool = False
    allow_gap: bool = False


AS_CRON = Wish()
"""Nothing but the month."""


@dataclass(frozen=True)
class Runtime:
    """The process that runs it.

    Attributes:
        clock: the present moment, UTC.
        device: `auto`, `cpu` or `cuda`.
        threads: of torch; recorded.
        command: the command line, for the manifest.
        by: who asks, for the registry's history.
        progress: opens bars.
        environment: variables that the configuration may name, such as one with a database's password.
    """

    clock: Clock
    device: str = "auto"
    threads: int = 1
    command: tuple[str, ...] = ()
    by: str = "unknown"
    progress: Progress = silent
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
