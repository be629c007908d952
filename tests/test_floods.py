"""One user's flood and a label's jump are found by shares, and what a user may give does not depend on the order."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.floods import FEWEST_ROWS, flooding_users, jumping_labels, over_the_cap
from tests import toy
from tests.conftest import call


def test_a_user_with_more_than_the_share_is_a_flood() -> None:
    users = ["a"] * 21 + ["b"] * 20 + [None] * 59
    (flood,) = flooding_users(users, 0.2)
    assert (flood.name, flood.rows) == ("a", 21)
    assert str(flood) == "user 'a' has 21 row(s), 21% of the month's; at most 20% is expected"
    assert flooding_users(["a"] * (FEWEST_ROWS - 1), 0.2) == []


def test_a_label_whose_share_jumps_is_a_flood_and_a_new_one_is_none() -> None:
    before = {"x": 90, "y": 10}
    assert [flood.name for flood in jumping_labels(["y"] * 50 + ["x"] * 50, before, 0.3)] == ["y"]
    assert jumping_labels(["y"] * 40 + ["x"] * 60, before, 0.3) == []
    assert jumping_labels(["z"] * 100, before, 0.3) == []
    assert jumping_labels(["y"] * 100, {}, 0.3) == []


def test_what_a_flooding_user_may_give_is_the_same_rows_in_every_order() -> None:
    rows = [(str(n), "a" if n < 60 else f"u{n}") for n in range(100)]
    kept = set()
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        beyond = over_the_cap([user for _, user in rows], [row_id for row_id, _ in rows], 0.2, seed=0)
        left = [row for place, row in enumerate(rows) if place not in beyond]
        assert Counter(user for _, user in left)["a"] == 20
        kept.add(frozenset(left))
    assert len(kept) == 1


def poisoned(workspace: Path) -> None:
    """A month in which one user says of everything that it is billing."""
    file = workspace / "feedback/2026-02.jsonl"
    rows = toy.read_jsonl(file)
    told = [
        {**row, "label": "billing", "user": "mallory", "id": f"m{n}", "text": f"{row['text']} word{n}"}
        for n, row in enumerate(toy.toy_stream().launch)
    ]
    for row in told:
        row |= {"kind": "correction", "created_at": "2026-02-03T00:00:00Z"}
    toy.write_jsonl(file, [*({**row, "user": f"u{n}"} for n, row in enumerate(rows)), *told])


def summary(workspace: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((workspace / "runs/2026-02/001/ingest/summary.json").read_text())
    return found


def test_a_flood_is_warned_of_and_told_in_the_summary(launched: Path) -> None:
    poisoned(launched)
    done = call("ingest", "--month", "2026-02", "-w", launched)
    assert done.code == 0, done.err
    assert "user 'mallory' has" in done.err
    assert "label 'billing' has" in done.err
    assert len(summary(launched)["floods"]) == 2


def test_where_floods_are_refused_a_user_gives_his_share_and_a_jump_stops_the_month(launched: Path) -> None:
    poisoned(launched)
    refuse = ("-o", "ingest.floods=refuse", "-o", "ingest.max_user_share=0.1")
    done = call("ingest", "--month", "2026-02", "-w", launched, *refuse, "-o", "ingest.max_label_jump=0.01")
    assert done.code == 65
    assert "by its share in the months before" in done.err
    done = call("ingest", "--month", "2026-02", "-w", launched, *refuse, "-o", "ingest.max_label_jump=1")
    assert done.code == 0, done.err
    rejected = (launched / "runs/2026-02/001/ingest/rejected.jsonl").read_text().splitlines()
    floods = [json.loads(line) for line in rejected if json.loads(line)["rule"] == "flood"]
    assert floods
    assert {row["row"]["user"] for row in floods} == {"mallory"}
    assert summary(launched)["rejected_by_rule"] == {"flood": len(floods)}


@pytest.mark.parametrize("column", ["agent_id"])
def test_who_gave_a_row_may_be_under_another_name(launched: Path, column: str) -> None:
    poisoned(launched)
    file = launched / "feedback/2026-02.jsonl"
    file.write_text(file.read_text().replace('"user"', f'"{column}"'))
    done = call("ingest", "--month", "2026-02", "-w", launched, "-o", f"ingest.columns={{user: {column}}}")
    assert done.code == 0, done.err
    assert "user 'mallory' has" in done.err
