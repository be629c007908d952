"""README's commands run on a tiny model, and its tables say what the code says."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from cli.exit_codes import BUG, DONE, EXIT_CODES, GATE_REFUSED, INTERRUPTED_BASE
from pipeline.config import Arm
from pipeline.operations.schedule import Job, cron, systemd
from tests import toy
from tests.conftest import Done

from .pages import ROOT, blocks

README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
TINY = {
    "RETRAIN_MODEL__BASE": "base",
    "RETRAIN_MODEL__MAX_LENGTH": "16",
    "RETRAIN_LAUNCH__EPOCHS": "3",
    "RETRAIN_TRAIN__EPOCHS": "1",
    "RETRAIN_FISHER__SAMPLES": "20",
    "RETRAIN_GATE__MAX_DROP": "100",
    "RETRAIN_GATE__MIN_GAIN": "-100",
}
LATER = ("2026-07", "..")
"""Commands about months that the toy stream does not have; `test_commands` parses them."""


def section(title: str) -> str:
    """The text of a section, up to the next heading of its kind."""
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def table(title: str) -> dict[str, str]:
    """First and second cell of each row of a section's first table."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", section(title), re.MULTILINE)
    return {first.strip(): second.strip() for first, second in rows[2:]}


def test_the_commands_run_one_after_the_other(
    base: Path, cli: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in TINY.items():
        monkeypatch.setenv(name, value)
    ran = []
    for line in (line for block in blocks(README, "sh") for line in block.text.splitlines()):
        said, _, command = line.rpartition(" | ")
        words = shlex.split(command, comments=True)
        if words == ["cd", "assistant"]:
            monkeypatch.chdir(tmp_path / "assistant")
            _bring_data(tmp_path / "assistant", base)
        if not words or words[0] not in ("retrain", "fisher") or any(late in line for late in LATER):
            continue
        done = cli(*words[1:], program=words[0], stdin=shlex.split(said)[1] if said else "")
        assert done.code == 0, (line, done.err)
        ran.append(words[1])
        if words[1] == "predict":
            assert json.loads(done.out)["text"] == "I was charged twice"
    assert {
        "init",
        "launch",
        "run",
        "eval",
        "status",
        "promote",
        "rollback",
        "predict",
        "labels",
        "config",
    } <= set(ran)


def _bring_data(workspace: Path, base: Path) -> None:
    stream = toy.toy_stream()
    toy.write_jsonl(workspace / "launch.jsonl", stream.launch)
    for month, rows in stream.feedback.items():
        toy.write_jsonl(workspace / "feedback" / f"{month}.jsonl", rows)
    for month, rows in stream.golden.items():
        toy.write_jsonl(workspace / "golden" / f"{month}.jsonl", rows)
    (workspace / "base").symlink_to(base)


def test_the_exit_codes_are_all_listed() -> None:
    listed = {int(code) for cell in table("Exit codes") for code in cell.split(",")}
    signals = {INTERRUPTED_BASE + 2, INTERRUPTED_BASE + 15}
    assert listed == {DONE, BUG, GATE_REFUSED, *EXIT_CODES.values(), *signals}


def test_the_arms_are_all_listed() -> None:
    listed = table("What is done about forgetting: the arms")
    assert {name.strip("`") for name in listed} == set(get_args(Arm))


def test_the_schedules_are_what_the_program_prints() -> None:
    job = Job(Path("/srv/assistant/.venv/bin/retrain"), Path("/srv/assistant"))
    crontab, units = blocks(README, "crontab"), blocks(README, "ini")
    assert [block.text.rstrip("\n") for block in crontab] == [cron(job)]
    printed = systemd(job).splitlines()
    assert units
    for line in units[0].text.splitlines():
        assert line in printed


def test_the_demo_block_is_what_the_demo_prints() -> None:
    block = re.search(r"<!-- demo output: begin -->\n(.*?)<!-- demo output: end -->", TEXT, re.DOTALL)
    assert block is not None
    if block[1]:
        assert "Accuracy of each month's plain model" in block[1]
        assert "run directory: " in block[1]
