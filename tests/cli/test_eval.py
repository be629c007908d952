"""`retrain eval`: two checkpoints on golden sets, by hand."""

import json
from pathlib import Path

import pytest

from tests import toy
from tests.conftest import Done, call


def evaluate(workspace: Path, *words: object) -> Done:
    return call("eval", "-w", workspace, *words)


def test_prior_months_gives_what_the_month_itself_recorded(promoted: Path) -> None:
    done = evaluate(promoted, "--golden", "prior-months", "--json")
    document = json.loads(done.out)
    assert done.code == 0
    assert document["candidate"] == "runs/2026-02/001/finetune/checkpoint"
    assert document["baseline"] == "runs/2026-01/001/finetune/checkpoint"
    assert document["scorecard"] == json.loads(
        (promoted / "runs/2026-02/001/eval/scorecard.json").read_text()
    )
    assert document["verdict"] == json.loads((promoted / "runs/2026-02/001/eval/gate.json").read_text())


def test_each_golden_set_and_slice_is_told_with_interval_p_and_flips(promoted: Path) -> None:
    document = json.loads(evaluate(promoted, "--json").out)
    card = document["scorecard"]
    assert [score["name"] for score in card["prior"]] == ["2026-01"]
    assert card["own"]["name"] == "2026-02"
    assert set(card["own"]["slices"]) == {"settled", "new"}
    for comparison in (card["own"]["overall"], *card["own"]["slices"].values(), card["pooled"]):
        assert comparison["n"] > 0
        assert comparison["difference"] == pytest.approx(
            comparison["accuracy_after"] - comparison["accuracy_before"]
        )
        assert comparison["low"] <= comparison["difference"] <= comparison["high"]
        assert 0.0 <= comparison["p"] <= 1.0
        flips = comparison["wrong_to_right"] - comparison["right_to_wrong"]
        assert comparison["difference"] == pytest.approx(100 * flips / comparison["n"])


def test_the_table_shows_every_set_and_the_verdict(promoted: Path) -> None:
    done = evaluate(promoted)
    assert done.code == 0
    header = next(line for line in done.out.splitlines() if line.startswith("golden set"))
    assert header.split()[-2:] == ["p", "right>wrong"]
    assert "95% interval" in header
    assert "gate: passed" in done.out


def test_golden_rows_of_an_unknown_label_are_told_and_too_many_refuse(promoted: Path) -> None:
    file = promoted / "golden/2026-01.jsonl"
    rows = toy.read_jsonl(file)
    toy.write_jsonl(file, [{**row, "label": str(row["label"]).title()} for row in rows])
    done = evaluate(promoted)
    assert done.code == 3
    assert "golden set 2026-01: 60 of 60 rows have a label that the candidate does not know" in done.err
    assert "REFUSED golden set 2026-01: 60 rows, 0 of them with a label" in done.out


def test_a_refusing_gate_exits_with_3_and_says_why(promoted: Path) -> None:
    done = evaluate(promoted, *toy.REFUSE)
    assert done.code == 3
    assert "gate: refused" in done.out
    assert "REFUSED golden set 2026-02 (the month itself)" in done.out


def test_report_only_never_refuses(promoted: Path) -> None:
    done = evaluate(promoted, "--report-only", *toy.REFUSE)
    assert done.code == 0
    assert "gate: refused" in done.out


def test_nothing_is_written(promoted: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in promoted.rglob("*") if path.is_file()}
    evaluate(promoted)
    assert {path: path.stat().st_mtime_ns for path in promoted.rglob("*") if path.is_file()} == before


def test_a_golden_file_of_ones_own_is_scored_by_its_name(promoted: Path) -> None:
    rows = toy.toy_stream().golden["2026-01"]
    file = toy.write_jsonl(promoted / "audit.jsonl", rows)
    for golden in (str(file), "audit.jsonl"):
        document = json.loads(evaluate(promoted, "--golden", golden, "--json").out)
        assert [score["name"] for score in document["scorecard"]["prior"]] == ["audit"]
        assert document["scorecard"]["own"] is None


def test_any_two_checkpoints_can_be_compared(promoted: Path) -> None:
    words = ("--candidate", "2026-01", "--baseline", "champion", "--golden", "golden/2026-02.jsonl", "--json")
    document = json.loads(evaluate(promoted, *words).out)
    assert document["candidate"].startswith("runs/2026-01/001")
    assert document["baseline"].startswith("runs/2026-02/001")
    assert document["scorecard"]["prior"][0]["slices"]["new"]["accuracy_after"] == 0.0


def test_an_empty_golden_set_never_passes(promoted: Path) -> None:
    file = toy.write_jsonl(promoted / "empty.jsonl", [])
    done = evaluate(promoted, "--golden", file, "-o", "gate.min_rows=1")
    assert done.code == 3
    assert "golden set empty: 0 rows, at least 1 needed" in done.out


def test_a_small_golden_set_never_passes(promoted: Path) -> None:
    file = toy.write_jsonl(promoted / "small.jsonl", toy.toy_stream().golden["2026-01"][:49])
    done = evaluate(promoted, "--golden", file)
    assert done.code == 3
    assert "golden set small: 49 rows, at least 50 needed" in done.out


@pytest.mark.parametrize("month", ["2026-01", "2026-02"])
def test_a_missing_golden_set_never_passes(promoted: Path, month: str) -> None:
    (promoted / f"golden/{month}.jsonl").unlink()
    done = evaluate(promoted)
    assert done.code == 3
    assert f"REFUSED golden set {month}: missing" in done.out


def test_a_missing_golden_set_refuses_the_monthly_run_too(launched: Path) -> None:
    (launched / "golden/2026-02.jsonl").unlink()
    done = call("run", "--month", "2026-02", "-w", launched, "-o", "train.epochs=1")
    assert done.code == 3
    assert "refused: golden set 2026-02: missing" in done.out


def test_a_golden_file_that_does_not_exist_is_no_input(promoted: Path) -> None:
    done = evaluate(promoted, "--golden", "absent.jsonl")
    assert done.code == 66
    assert "golden set absent.jsonl: no such file. Give a path, or --golden prior-months" in done.err


def test_a_damaged_golden_set_is_bad_data_with_its_lines(promoted: Path) -> None:
    file = promoted / "golden/2026-01.jsonl"
    file.write_text(file.read_text() + '{"text": "no label"}\nnot json\n')
    done = evaluate(promoted)
    assert done.code == 65
    assert "golden/2026-01.jsonl" in done.err
    assert "line 62" in done.err


def test_without_a_candidate_the_message_names_the_run(new_workspace: Path) -> None:
    done = evaluate(new_workspace)
    assert done.code == 66
    assert "there is no candidate yet. Run: retrain run --month" in done.err


def test_a_launch_was_started_from_nothing_and_needs_a_baseline(launched: Path) -> None:
    done = evaluate(launched)
    assert done.code == 66
    assert "started from no other checkpoint. Name one with --baseline REF" in done.err
