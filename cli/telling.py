"""Tell the configured webhook how a run ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.exit_codes import BUG, exit_code
from pipeline.errors import RetrainError, WorkspaceLocked

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.month.decision import Outcome


@contextmanager
def telling(config: Config, month: str) -> Iterator[Callable[[Outcome], None]]:
    """Inside, a failure is told; what is yielded tells of an outcome that is news.

    A run that found the workspace locked, or a month that was finished before, is no news.
    """
    try:
        yield lambda outcome: _tell_outcome(config, outcome)
    except WorkspaceLocked:
        raise
    except Exception as error:
        code = exit_code(error) if isinstance(error, RetrainError) else BUG
        _tell(config, {"event": "failed", "month": month, "error": type(error).__name__, "exit_code": code})
        raise


def _tell_outcome(config: Config, outcome: Outcome) -> None:
    if outcome.already or outcome.status not in ("promoted", "refused"):
        return
    _tell(
        config,
        {
            "event": outcome.status,
            "month": str(outcome.month),
            "attempt": outcome.attempt,
            "forced": outcome.forced,
            "reasons": list(outcome.reasons),
            "exit_code": outcome.exit_code,
        },
    )


def _tell(config: Config, facts: dict[str, str | int | bool | list[str] | None]) -> None:
    if config.notify.webhook_env is None:
        return
    from pipeline.operations.notification import notify

    notify(config.notify.webhook_env, os.environ, facts)
