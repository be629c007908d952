"""Cuts streams of one or two years from the six-month streams: months of all kinds, the same for the same seed.

Each month of the short stream becomes several: one or two that bring new labels, and as many that bring only corrections
and escalations. Of the fixed ones, some have 20 rows and hand the rest on; one is large, with up to 300 rows more that
were held back from the launch, and at most 600; one returns to the launch's wordings. Of the corrections and escalations
3% have a wrong label. After two thirds of the months one label of the launch is retired.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from pipeline.months import Month

SMALL, LARGE, RETURNING, WRONG = 20, 600, 60, 0.03
LAUNCH = Month(2026, 1)
Row = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class LongStream:
    """Launch rows, and feedback and golden rows by month; the launch month has golden rows alone.

    `retired` is a label, and the first month in which it is retired; rows of it still come.
    """

    launch: list[Row]
    feedback: dict[Month, list[Row]]
    golden: dict[Month, list[Row]]
    new_labels: dict[Month, list[str]]
    retired: tuple[str, Month]


def cut(source: Path, months: int, seed: int) -> LongStream:
    """A stream of 12 or 24 months.

    Args:
        source: the folder of a short stream: launch.jsonl, feedback/ and golden/ of six months after 2026-01.
        months: 12 or 24.
        seed: of what is drawn.

    Raises:
        ValueError: for another number of months.
    """
    if months not in (12, 24):
        raise ValueError(f"{months} months: expected 12 or 24")
    draw = Random(f"{source.name} {months} {seed}")
    parts = months // 12
    launch = _shuffled(_rows(source / "launch.jsonl"), draw)
    old, launch = launch[: LARGE // 2 + RETURNING], launch[LARGE // 2 + RETURNING :]
    feedback: dict[Month, list[Row]] = {}
    golden = {LAUNCH: _rows(source / "golden" / f"{LAUNCH}.jsonl")}
    new_labels: dict[Month, list[str]] = {}
    month = LAUNCH
    for short in LAUNCH.next.until(Month(2026, 7)):
        rows = _rows(source / "feedback" / f"{short}.jsonl")
        tested = _shuffled(_rows(source / "golden" / f"{short}.jsonl"), draw)
        brought = _shuffled(sorted({row["label"] for row in rows if row["kind"] == "catalog"}), draw)
        others = _shuffled([row for row in rows if row["kind"] != "catalog"], draw)
        known_test = [row for row in tested if row["label"] not in brought]
        for part in range(parts):
            mine, new = brought[part::parts], month.next
            new_labels[new] = mine
            feedback[new] = [row for row in rows if row["kind"] == "catalog" and row["label"] in mine]
            golden[new] = [row for row in tested if row["label"] in mine] + known_test[2 * part :: 2 * parts]
            month = new.next
            new_labels[month] = []
            # rows about labels of a later part wait for it
            later = {label for index, label in enumerate(brought) if index % parts > part}
            feedback[month] = [row for row in others[part::parts] if row["label"] not in later]
            golden[month] = known_test[2 * part + 1 :: 2 * parts]
    fixed = [m for m in feedback if not new_labels[m]]
    _vary(feedback, fixed, old)
    told = _dated(_mislabelled(feedback, launch, new_labels, draw))
    label = draw.choice(sorted({row["label"] for row in launch}))
    return LongStream(launch, told, golden, new_labels, (label, sorted(feedback)[2 * months // 3]))


def _vary(feedback: dict[Month, list[Row]], fixed: Sequence[Month], old: list[Row]) -> None:
    """Make every third fixed month small, the third large, and the last but one return to old wordings."""
    for place, month in enumerate(fixed[:-1]):
        if place % 3 == 0:
            feedback[fixed[place + 1]] += feedback[month][SMALL:]
            feedback[month] = feedback[month][:SMALL]
    again = [{**row, "kind": "escalation", "predicted": row["label"]} for row in old]
    large = feedback[fixed[2]]
    large += again[RETURNING : RETURNING + max(LARGE - len(large), 0)]
    feedback[fixed[-2]] += again[:RETURNING]


def _mislabelled(
    feedback: dict[Month, list[Row]], launch: list[Row], new: dict[Month, list[str]], draw: Random
) -> dict[Month, list[Row]]:
    known = sorted({row["label"] for row in launch})
    told: dict[Month, list[Row]] = {}
    for month, rows in feedback.items():
        told[month] = [
            {**row, "label": draw.choice([label for label in known if label != row["label"]])}
            if row["kind"] != "catalog" and draw.random() < WRONG
            else row
            for row in rows
        ]
        known = sorted({*known, *new[month]})
    return told


def _dated(feedback: dict[Month, list[Row]]) -> dict[Month, list[Row]]:
    return {
        month: [
            {**row, "id": f"{month}-{place}", "created_at": f"{month}-{place % 28 + 1:02d}T12:00:00Z"}
            for place, row in enumerate(rows)
        ]
        for month, rows in feedback.items()
    }


def write(stream: LongStream, folder: Path) -> None:
    """Write a stream as the workspaces of its arms read it: launch.jsonl, feedback/ and golden/."""
    for name, sets in (("feedback", stream.feedback), ("golden", stream.golden)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for month, rows in sets.items():
            _write(folder / name / f"{month}.jsonl", rows)
    _write(folder / "launch.jsonl", stream.launch)


def _write(file: Path, rows: Sequence[Row]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def _rows(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _shuffled(items: Sequence[T], draw: Random) -> list[T]:
    return draw.sample(list(items), len(items))
