"""The tree of errors."""

import pytest

from pipeline import errors
from pipeline.errors import RetrainError, StoppedBySignal


def all_errors() -> list[type[RetrainError]]:
    found: list[type[RetrainError]] = []
    waiting = [RetrainError]
    while waiting:
        children = waiting.pop().__subclasses__()
        found += children
        waiting += children
    return found


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_lives_in_the_one_module_and_says_what_it_is_for(kind: type[RetrainError]) -> None:
    assert kind.__module__ == "pipeline.errors"
    assert kind.__doc__


def test_an_error_shows_its_text_as_it_is() -> None:
    assert str(errors.NoInput("feedback/2026-02.jsonl: absent")) == "feedback/2026-02.jsonl: absent"


def test_a_stop_remembers_its_signal() -> None:
    stop = StoppedBySignal("stopped", signum=15)
    assert (str(stop), stop.signum) == ("stopped", 15)
