"""`retrain promote`, `rollback`, `status` and `show`: the champion changed and looked at by hand."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CannotWrite
from tests.conftest import call


def registry(workspace: Path) -> Any:
    return json.loads((workspace / "registry.json").read_text())


def test_promote_makes_a_refused_candidate_the_champion_and_keeps_the_reason(refused: Path) -> None:
    done = call("promote", "2026-02", "--reason", "the data was late", "-w", refused)
    assert (done.code, done.out) == (0, "champion: 2026-02, runs/2026-02/001/finetune/checkpoint\n")
    entry = registry(refused)["history"][-1]
    assert (entry["action"], entry["reason"], entry["verdict"]["passed"]) == (
        "force",
        "the data was late",
        False,
    )
    assert (refused / "champion").resolve().parent.parent == refused / "runs/2026-02/001"


@pytest.mark.parametrize(
    "ref", ["2026-01", "2026-01/001", "runs/2026-01/001", "runs/2026-01/001/finetune/checkpoint"]
)
def test_every_form_of_a_ref_names_the_same_checkpoint(promoted: Path, ref: str) -> None:
    assert call("promote", ref, "-w", promoted).code == 0
    assert registry(promoted)["champion"]["attempt"] == "2026-01/001"


def test_rollback_returns_to_the_champion_before_and_forward_again_by_promote(promoted: Path) -> None:
    done = call("rollback", "--reason", "complaints", "-w", promoted)
    assert (done.code, done.out) == (0, "champion: 2026-01, runs/2026-01/001/finetune/checkpoint\n")
    assert registry(promoted)["history"][-1]["action"] == "rollback"
    assert (promoted / "champion").resolve() == (promoted / "runs/2026-01/001/finetune/checkpoint").resolve()
    assert call("promote", "2026-02", "-w", promoted).code == 0
    assert registry(promoted)["champion"]["month"] == "2026-02"


def test_after_a_rollback_the_next_month_starts_from_the_older_champion_and_learns_again(
    promoted: Path,
) -> None:
    call("rollback", "-w", promoted)
    done = call("run", "--month", "2026-03", "--until", "ingest", "-w", promoted)
    assert done.code == 0
    summary = json.loads((promoted / "runs/2026-03/001/ingest/summary.json").read_text())
    assert summary["months"] == ["2026-02", "2026-03"]


def test_a_month_that_was_rolled_back_says_so_when_it_is_run_again(promoted: Path) -> None:
    assert call("rollback", "-w", promoted).code == 0
    done = call("run", "--month", "2026-02", "-w", promoted)
    assert "2026-02 already done: promoted" in done.out
    assert "rolled back since; to serve it again: retrain promote 2026-02/001 --reason WHY" in done.out


def test_status_says_what_was_rolled_back(promoted: Path) -> None:
    assert "rolled back" not in call("status", "-w", promoted).out
    call("rollback", "-w", promoted)
    lines = {
        line.split()[0]: line for line in call("status", "-w", promoted).out.splitlines() if "/001" in line
    }
    assert lines["2026-01/001"].endswith("champion")
    assert lines["2026-02/001"].endswith("rolled back")


def test_rollback_without_an_earlier_champion_is_no_input(launched: Path) -> None:
    done = call("rollback", "-w", launched)
    assert done.code == 66
    assert "there is no earlier champion to go back to. Run: retrain status" in done.err


@pytest.mark.parametrize("ref", ["2026-07", "2026-01/007", "nothing-here"])
def test_a_ref_that_names_nothing_lists_what_there_is(promoted: Path, ref: str) -> None:
    done = call("promote", ref, "-w", promoted)
    assert done.code == 66
    assert "Attempts here: 2026-01/001, 2026-02/001" in done.err


def test_a_checkpoint_outside_of_the_runs_is_adopted_by_launch_not_by_promote(
    promoted: Path, base: Path
) -> None:
    done = call("promote", base, "-w", promoted)
    assert done.code == 2
    assert f"Run: retrain launch --checkpoint {base} --data FILE" in done.err


def test_a_changed_checkpoint_is_not_promoted(refused: Path) -> None:
    weights = refused / "runs/2026-02/001/finetune/checkpoint/model.safetensors"
    weights.chmod(0o644)
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(bytes(content))
    before = (refused / "registry.json").read_bytes()
    done = call("promote", "2026-02", "-w", refused)
    assert done.code == 5
    assert "damaged: attempt 2026-02/001 recorded the checkpoint's hash" in done.err
    assert (refused / "registry.json").read_bytes() == before


def test_status_shows_champion_attempts_and_the_accuracy_matrix(promoted: Path) -> None:
    done = call("status", "-w", promoted)
    lines = done.out.splitlines()
    assert lines[0] == "champion: 2026-02, runs/2026-02/001/finetune/checkpoint"
    assert any(line.split()[0:2] == ["2026-01/001", "launch"] and "promoted" in line for line in lines)
    assert any(line.startswith("2026-02/001") and line.endswith("champion") for line in lines)
    assert any(
        line.split()[:2] == ["model", "of"] and line.split()[2:] == ["2026-01", "2026-02"] for line in lines
    )


def test_status_as_json_holds_the_same(refused: Path) -> None:
    document = json.loads(call("status", "-w", refused, "--json").out)
    assert document["champion"]["month"] == "2026-01"
    assert [attempt["outcome"] for attempt in document["attempts"]] == ["promoted", "refused"]
    assert document["matrix"]["months"] == ["2026-01", "2026-02"]


def test_status_of_a_workspace_without_a_champion_names_the_launch(new_workspace: Path) -> None:
    done = call("status", "-w", new_workspace)
    assert (done.code, done.out) == (
        0,
        "champion: none yet. Run: retrain launch --data FILE --month YYYY-MM\n",
    )


@pytest.mark.parametrize("ref", ["2026-02", "champion", "2026-02/001", "runs/2026-02/001"])
def test_show_tells_lineage_data_verdict_and_what_moved(promoted: Path, ref: str) -> None:
    done = call("show", ref, "-w", promoted)
    assert done.code == 0
    facts = dict(line.split(":", 1) for line in done.out.split("\n\n")[0].splitlines())
    assert facts["started from"].strip() == "2026-01/001"
    assert facts["new labels"].strip() == "roaming"
    assert facts["rows"].strip() == "train 27, validation 3, golden 0, rejected 0"
    assert "gate: passed" in done.out
    assert "bert.encoder.layer.1" in done.out


def test_show_as_json_holds_the_manifest(promoted: Path) -> None:
    document = json.loads(call("show", "2026-01", "-w", promoted, "--json").out)
    assert document["manifest"]["kind"] == "launch"
    assert document["scorecard"]["own"]["name"] == "2026-01"


def test_show_of_a_checkpoint_outside_of_the_runs_is_a_usage_error(promoted: Path, launched: Path) -> None:
    done = call("show", launched / "runs/2026-01/001/finetune/checkpoint", "-w", promoted)
    assert done.code == 2
    assert "outside of the runs" in done.err


def test_show_tells_of_an_attempt_that_is_not_finished_and_of_an_empty_month(launched: Path) -> None:
    assert call("run", "--month", "2026-02", "--until", "ingest", "-w", launched).code == 0
    for ref in ("2026-02", "2026-02/001"):
        done = call("show", ref, "-w", launched)
        assert done.code == 0
        assert "unfinished" in done.out
        assert "train 27" in done.out
    (launched / "feedback/2026-02.jsonl").write_text("")
    assert call("run", "--month", "2026-02", "--allow-empty", "-w", launched).code == 0
    assert "no feedback" in call("show", "2026-02", "-w", launched).out


def test_a_rollback_that_was_stopped_before_the_link_goes_back_once(
    promoted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("run", "--month", "2026-03", "-w", promoted)
    with monkeypatch.context() as broken:
        broken.setattr("pipeline.store.atomic.replace_link", _refused)
        assert call("rollback", "-w", promoted).code == 74
    assert registry(promoted)["champion"]["month"] == "2026-02"
    again = call("rollback", "-w", promoted)
    assert again.code == 0
    assert "The rollback that was stopped is finished" in again.err
    assert registry(promoted)["champion"]["month"] == "2026-02"
    assert (promoted / "champion").resolve() == (promoted / "runs/2026-02/001/finetune/checkpoint").resolve()
    assert call("rollback", "-w", promoted).code == 0
    assert registry(promoted)["champion"]["month"] == "2026-01"


def _refused(link: Path, target: Path) -> None:
    raise CannotWrite(f"{link}: refused")


def test_a_rollback_to_a_month_is_the_same_however_often_it_is_run(promoted: Path) -> None:
    call("run", "--month", "2026-03", "-w", promoted)
    for _ in range(2):
        assert call("rollback", "--to", "2026-01", "-w", promoted).code == 0
        assert registry(promoted)["champion"]["month"] == "2026-01"
    assert [entry["action"] for entry in registry(promoted)["history"]][-2:] == ["rollback", "rollback"]
    done = call("rollback", "--to", "2026-02", "-w", promoted)
    assert done.code == 66
    assert "no champion of 2026-02 led to the present one; found 2026-01" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("verify",),
        ("status",),
        ("launch", "--data", "launch.jsonl", "--month", "2026-01"),
        ("run", "--month", "2026-03"),
        ("rollback",),
        ("eval", "--golden", "prior-months", "--candidate", "champion"),
    ],
)
def test_a_registry_that_is_gone_is_told_and_rebuilt_by_promote(
    promoted: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(promoted)
    (promoted / "registry.json").unlink()
    done = call(*words, "-w", promoted)
    assert done.code == 5
    assert "registry.json: is missing, though 2026-02/001 was promoted" in done.out + done.err
    assert "run: retrain promote 2026-02/001" in done.out + done.err
    assert call("promote", "2026-02/001", "-w", promoted).code == 0
    assert call("verify", "-w", promoted).code == 0


def test_the_link_says_which_one_was_the_champion(promoted: Path) -> None:
    assert call("rollback", "-w", promoted).code == 0
    (promoted / "registry.json").unlink()
    assert "run: retrain promote 2026-01/001" in call("status", "-w", promoted).err


def test_a_champion_whose_attempt_is_gone_is_corrupt_and_another_can_be_promoted(promoted: Path) -> None:
    shutil.move(promoted / "runs/2026-02", promoted / "elsewhere")
    for words in (("verify",), ("run", "--month", "2026-03"), ("doctor",)):
        done = call(*words, "-w", promoted)
        assert done.code == (78 if words == ("doctor",) else 5), words
        assert "2026-02/001" in done.out + done.err
        assert "is missing" in done.out + done.err
    assert call("promote", "2026-01", "-w", promoted).code == 0
    assert call("doctor", "-w", promoted).code == 0


def elsewhere(link: Path) -> None:
    link.symlink_to("runs/2026-01/001/finetune/checkpoint")


def nowhere(link: Path) -> None:
    link.symlink_to("gone")


@pytest.mark.parametrize("wrong", [elsewhere, nowhere, lambda link: None, Path.mkdir, Path.touch])
def test_a_champion_link_that_leads_elsewhere_is_found_and_never_a_folder_deleted(
    promoted: Path, wrong: Callable[[Path], None]
) -> None:
    link = promoted / "champion"
    link.unlink()
    wrong(link)
    blocked = wrong in (Path.mkdir, Path.touch)
    for words in (("verify",), ("doctor",)):
        done = call(*words, "-w", promoted)
        assert done.code == (78 if words == ("doctor",) else 5)
        assert f"{link}: " in done.out + done.err
    mended = call("promote", "2026-02", "-w", promoted)
    assert mended.code == (74 if blocked else 0)
    if blocked:
        assert "champion: expected a symbolic link, found a f" in mended.err
        link.rmdir() if link.is_dir() else link.unlink()
        assert call("promote", "2026-02", "-w", promoted).code == 0
    assert call("verify", "-w", promoted).code == 0
    assert link.resolve().is_relative_to(promoted / "runs/2026-02/001")
