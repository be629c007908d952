"""A month whose texts hold special tokens, of the models that refuse more ends in a text than one."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import toy
from tests.conftest import call
from tests.special_texts import SPECIAL, write_bart_base, write_t5_base


@pytest.mark.parametrize("write_base", [write_bart_base, write_t5_base])
def test_feedback_golden_rows_and_texts_may_hold_special_tokens(
    new_workspace: Path, write_base: Callable[[Path], Path]
) -> None:
    shutil.rmtree(new_workspace / "base")
    write_base(new_workspace / "base")
    for name, kind in (("launch", ""), ("feedback/2026-02", "correction"), ("golden/2026-01", "")):
        file = new_workspace / f"{name}.jsonl"
        rows = [
            {"text": f"{text} {name}", "label": "billing", **({"kind": kind} if kind else {})}
            for text in SPECIAL
        ]
        toy.write_jsonl(file, [*toy.read_jsonl(file), *rows])
    words = (
        "-w",
        new_workspace,
        "-o",
        "model.max_length=40",
        "-o",
        "launch.epochs=1",
        "-o",
        "train.epochs=1",
        "-o",
        "gate.max_drift=100",  # a random model of one epoch: what it forgets is not the matter here
    )
    done = call("launch", "--data", new_workspace / "launch.jsonl", "--month", "2026-01", *words)
    assert done.code == 0, done.err
    done = call("run", "--month", "2026-02", *words)
    assert done.code == 0, done.err
    done = call("predict", "-w", new_workspace, stdin="\n".join(SPECIAL))
    assert (done.code, done.out.count("\n")) == (0, len(SPECIAL))
