"""Removing attempts never takes what the registry or a later month needs."""

import errno
import shutil
from functools import partial
from pathlib import Path

import pytest

from pipeline.errors import CannotWrite, UsageError
from pipeline.operations.maintenance import removable, remove, verify
from pipeline.store import atomic
from pipeline.store.fisher_file import read_fisher
from pipeline.store.removed import RemovedMonth, record_removed
from pipeline.store.workspace import Workspace
from tests import toy
from tests.conftest import call
from tests.store.samples import killed_at


def reasons(workspace: Path, keep: int = 1) -> dict[str, str | None]:
    return {kept.attempt: kept.reason for kept in removable(Workspace(workspace), keep)}


@pytest.fixture
def superseded(refused: Path) -> Path:
    """2026-02 was refused, then done again in a second attempt that was promoted; 2026-03 was promoted."""
    assert call("run", "--month", "2026-02", "--force", "-w", refused).code == 0
    assert call("run", "--month", "2026-03", "-w", refused).code == 0
    return refused


def test_an_attempt_that_was_done_again_can_go(superseded: Path) -> None:
    assert reasons(superseded) == {
        "2026-01/001": "was champion",
        "2026-02/001": None,
        "2026-02/002": "was champion",
        "2026-03/001": "of the newest 1 month(s)",
    }


def test_one_attempt_of_each_promoted_month_stays_however_often_it_was_tried(promoted: Path) -> None:
    assert call("run", "--month", "2026-03", "-w", promoted).code == 0
    for _ in range(2):
        assert call("run", "--month", "2026-02", "--force", "--no-promote", "-w", promoted).code == 0
    space = Workspace(promoted)
    whole = sum(kept.size for kept in removable(space, 1) if kept.attempt.endswith("/001"))
    assert call("gc", "--keep", "1", "-w", promoted).code == 0
    left = removable(space, 1)
    assert [kept.attempt for kept in left] == ["2026-01/001", "2026-02/001", "2026-03/001"]
    assert sum(kept.size for kept in left) == whole


def test_what_is_removed_is_gone_and_the_rest_is_sound(superseded: Path) -> None:
    space = Workspace(superseded)
    attempts = removable(space, 1)
    size = next(kept.size for kept in attempts if kept.attempt == "2026-02/001")
    assert remove(space, attempts) == size > 100_000
    assert [run.attempt for month in space.months() for run in space.attempts(month)] == [
        "2026-01/001",
        "2026-02/002",
        "2026-03/001",
    ]
    assert verify(space, None).problems == ()
    assert call("rollback", "-w", superseded).code == 0
    assert call("run", "--month", "2026-03", "--force", "-w", superseded).code == 0


def test_a_champion_that_was_rolled_back_from_stays(promoted: Path) -> None:
    assert call("rollback", "-w", promoted).code == 0
    assert reasons(promoted)["2026-02/001"] is not None
    assert reasons(promoted)["2026-01/001"] == "was champion"


def test_a_refused_month_since_the_champion_says_that_it_was_run(refused: Path) -> None:
    assert call("run", "--month", "2026-03", "-o", "gate.min_gain=101", "-w", refused).code == 3
    assert reasons(refused) == {
        "2026-01/001": "was champion",
        "2026-02/001": "says that the month was run",
        "2026-03/001": "of the newest 1 month(s)",
    }


def test_without_its_registry_nothing_is_removed(promoted: Path) -> None:
    (promoted / "registry.json").unlink()
    done = call("gc", "--keep", "1", "-w", promoted)
    assert (done.code, "registry.json: is missing" in done.err) == (5, True)


def test_a_golden_set_that_was_set_aside_stays(refused: Path) -> None:
    (refused / "golden" / "2026-02.jsonl").unlink()
    more = ("-o", "ingest.golden_fraction=0.3", "-o", "gate.min_rows=5")
    assert call("run", "--month", "2026-02", "-w", refused, *more).code == 0
    assert call("run", "--month", "2026-02", "--from", "eval", "-w", refused, *more).code == 0
    found = reasons(refused)
    kept = [attempt for attempt in found if found[attempt] is not None and attempt.startswith("2026-02")]
    aside = [a for a in kept if (refused / "runs" / a / "ingest" / "golden.jsonl").exists()]
    assert aside


def test_more_months_may_be_kept(superseded: Path) -> None:
    assert None not in reasons(superseded, keep=2).values()
    with pytest.raises(UsageError, match="1 or more"):
        removable(Workspace(superseded), 0)


def test_a_removal_that_is_killed_leaves_whole_attempts(
    superseded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    for number in (0, 1, 2, 7, 15):
        copy = Workspace(Path(shutil.copytree(superseded, tmp_path / f"killed-{number}", symlinks=True)))
        assert killed_at(number, lambda space=copy: remove(space, removable(space, 1)))  # type: ignore[misc]
        assert verify(copy, None).problems == ()
        copy.sweep()
        found = [run.attempt for month in copy.months() for run in copy.attempts(month)]
        assert ("2026-02/001" in found) == (number == 0)
        assert not [path for path in copy.runs.rglob("*") if atomic.is_temporary(path.name)]


def test_a_disk_that_refuses_is_told(superseded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(step: str, path: Path) -> None:
        if step == "rename":
            raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(atomic, "fault_point", refuse)
    with pytest.raises(CannotWrite, match="2026-02"):
        remove(Workspace(superseded), removable(Workspace(superseded), 1))


def test_a_folder_that_an_overlay_cannot_rename_is_removed_where_it_lies(
    superseded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overlay(step: str, path: Path) -> None:
        if step == "rename" and path.parent.name == "2026-02":
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(path))

    def killed(step: str, path: Path) -> None:
        overlay(step, path)
        if step == "remove" and not (superseded / "runs/2026-02/001/manifest.json").exists():
            removed.append(path)
            if len(removed) > 5:
                raise KeyboardInterrupt

    removed: list[Path] = []
    space = Workspace(superseded)
    monkeypatch.setattr(atomic, "fault_point", killed)
    with pytest.raises(KeyboardInterrupt):
        remove(space, removable(space, 1))
    assert (superseded / "runs/2026-02/001").exists()
    assert verify(space, None).problems == ()
    monkeypatch.setattr(atomic, "fault_point", overlay)
    remove(space, removable(space, 1))
    assert not (superseded / "runs/2026-02/001").exists()
    assert verify(space, None).problems == ()


def test_one_attempt_can_be_verified_alone(promoted: Path) -> None:
    file = promoted / "runs" / "2026-01" / "001" / "ingest" / "labels.json"
    file.chmod(0o600)
    file.write_bytes(file.read_bytes() + b" ")
    space = Workspace(promoted)
    assert verify(space, "2026-02").problems == ()
    found = verify(space, "2026-01")
    assert len(found.problems) == 1
    assert "labels.json: damaged" in found.problems[0]


def test_a_rollback_past_a_month_that_was_removed_finds_that_it_was_run(refused: Path) -> None:
    """2026-02 was refused and learned with 2026-03; after gc and a rollback, 2026-04 learns both again."""
    assert call("run", "--month", "2026-03", "-w", refused).code == 0
    assert call("gc", "--keep", "1", "-w", refused).code == 0
    assert not (refused / "runs/2026-02/001").exists()
    assert verify(Workspace(refused), None).problems == ()
    assert call("rollback", "-w", refused).code == 0
    april = toy.toy_stream().feedback["2026-03"]
    rows = [
        {
            **row,
            "id": f"april-{row['id']}",
            "created_at": "2026-04-02T12:00:00Z",
            "text": f"{row['text']} now",
        }
        for row in april
    ]
    toy.write_jsonl(refused / "feedback/2026-04.jsonl", rows)
    done = call("run", "--month", "2026-04", "--until", "ingest", "-w", refused)
    assert done.code == 0, done.err
    assert "2026-02 was not promoted: its 30 rows are learned with 2026-04" in done.err
    assert "2026-03 was rolled back: its 30 rows are learned with 2026-04" in done.err
    assert verify(Workspace(refused), None).problems == ()


def test_a_damaged_record_of_a_removed_month_is_found(superseded: Path) -> None:
    space = Workspace(superseded)
    record_removed(space, RemovedMonth(month="2026-02", attempt="2026-02/001", had_candidate=True))
    assert verify(space, None).problems == ()
    file = space.runs / "2026-02" / "removed.json"
    file.write_text(file.read_text().replace("true", "false"))
    assert "removed.json: damaged or changed by hand" in verify(space, None).problems[0]


@pytest.fixture
def five_months(promoted: Path) -> Path:
    """2026-02 to 2026-05 were promoted one after the other, with the Fisher's months taken together."""
    for month in ("2026-03", "2026-04", "2026-05"):
        for folder in ("feedback", "golden"):
            rows = (promoted / folder / "2026-02.jsonl").read_text("utf-8")
            rows = rows.replace("2026-02", month)
            if folder == "golden":
                rows = rows.replace('"text": "', f'"text": "{month[-1]} ')
            (promoted / folder / f"{month}.jsonl").write_text(rows, "utf-8")
        assert call("run", "--month", month, "--promote", "-w", promoted, *EWC).code == 0
    return promoted


EWC = ("-o", "arm=ewc")


def weights(workspace: Path) -> set[str]:
    """The attempts that have weights, by month."""
    return {path.parts[-5] for path in workspace.glob("runs/*/*/finetune/checkpoint/model.safetensors")}


def test_old_weights_go_and_what_the_next_month_or_a_rollback_needs_stays(five_months: Path) -> None:
    space = Workspace(five_months)
    expected = sum(kept.weights for kept in removable(space, 1))
    before = sum(kept.size for kept in removable(space, 1))
    assert expected > 100_000
    done = call("gc", "--keep", "1", "-w", five_months)
    assert (done.code, "weights of 2 attempt(s) that stay" in done.out) == (0, True)
    # the champion, the one before it, and what that one started from
    assert weights(five_months) == {"2026-03", "2026-04", "2026-05"}
    after = sum(kept.size for kept in removable(space, 1))
    assert before - expected <= after < before - expected + 2 * 4096
    assert [kept.weights for kept in removable(space, 1)] == [0] * 5
    assert verify(space, None).problems == ()


def test_commands_say_that_old_weights_are_gone_and_the_rest_goes_on(five_months: Path) -> None:
    assert call("gc", "--keep", "1", "-w", five_months).code == 0
    needs_weights: tuple[tuple[str, ...], ...] = (
        ("promote", "2026-02"),
        ("rollback", "--to", "2026-01"),
        ("fisher", "compute", "2026-02"),
        ("eval", "--candidate", "2026-02", "--golden", "prior-months"),
        ("predict", str(five_months / "feedback" / "2026-02.jsonl"), "--checkpoint", "2026-02"),
        ("run", "--month", "2026-03", "--force"),
        ("tune", "--month", "2026-03", "--lambdas", "0.1"),
    )
    for words in needs_weights:
        done = call(*words, "-w", five_months)
        assert (words, done.code) == (words, 66)
        assert "were removed by retrain gc" in done.err
    goes_on: tuple[tuple[str, ...], ...] = (
        ("show", "2026-02"),
        ("status",),
        ("report", "2026-02"),
        ("report", "2026-05"),
        ("diagnose", "2026-05"),
        ("verify",),
        *(("run", "--month", f"2026-0{month}", *EWC) for month in (3, 4, 5)),
        ("rollback",),
        ("run", "--month", "2026-05", "--promote", "--force", *EWC),
        ("verify",),
    )
    for words in goes_on:
        done = call(*words, "-w", five_months)
        assert (words, done.code, done.err) == (words, 0, done.err)


def test_a_rollback_to_where_the_weights_are_gone_changes_nothing(five_months: Path) -> None:
    assert call("gc", "--keep", "1", "-w", five_months).code == 0
    registry = (five_months / "registry.json").read_bytes()
    done = call("rollback", "--to", "2026-01", "-w", five_months)
    assert (done.code, "the weights of attempt 2026-01/001 were removed by retrain gc" in done.err) == (
        66,
        True,
    )
    assert (five_months / "registry.json").read_bytes() == registry


def test_a_finished_month_whose_weights_are_gone_is_still_finished(five_months: Path) -> None:
    assert call("gc", "--keep", "1", "-w", five_months).code == 0
    assert "runs" not in call("run", "--month", "2026-02", "--dry-run", "-w", five_months).out
    done = call("run", "--month", "2026-02", "-w", five_months)
    assert (done.code, "2026-02 already done: promoted" in done.out) == (0, True)


def test_status_says_whose_weights_are_gone(five_months: Path) -> None:
    assert call("gc", "--keep", "1", "-w", five_months).code == 0
    lines = [line for line in call("status", "-w", five_months).out.splitlines() if "weights removed" in line]
    assert [line.split()[0] for line in lines] == ["2026-01/001", "2026-02/001"]


def test_a_fisher_of_other_settings_begins_after_the_weights_that_were_removed(five_months: Path) -> None:
    assert call("gc", "--keep", "1", "-w", five_months).code == 0
    settings = ("-o", "fisher.samples=7")
    assert call("fisher", "compute", "champion", "-w", five_months, *EWC, *settings).code == 0
    attempt = Workspace(five_months).find("champion")
    assert read_fisher(attempt.checkpoint / "fisher.safetensors")[1].months == (
        "2026-03",
        "2026-04",
        "2026-05",
    )
    assert call("verify", "-w", five_months).code == 0


def test_with_an_optimum_for_each_month_all_weights_stay(five_months: Path) -> None:
    configuration = (five_months / "retrain.yaml").read_text("utf-8")
    configuration = configuration.replace("ewc: {", "ewc: {months: separate, ", 1)
    (five_months / "retrain.yaml").write_text(configuration, "utf-8")
    assert call("gc", "--keep", "1", "-w", five_months).code == 0
    assert len(weights(five_months)) == 5


def test_an_optimum_for_each_month_that_an_option_asked_for_keeps_all_weights_too(five_months: Path) -> None:
    separate = ("-o", "ewc.months=separate")
    assert call("run", "--month", "2026-05", "--promote", "-w", five_months, *EWC, *separate).code == 0
    assert call("gc", "--keep", "1", "-w", five_months).code == 0
    assert len(weights(five_months)) == 5


def test_a_removal_of_weights_that_is_killed_is_gone_on_with(
    five_months: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    number, killed = 0, True
    while killed:
        copy = Workspace(Path(shutil.copytree(five_months, tmp_path / f"killed-{number}", symlinks=True)))
        killed = killed_at(number, partial(remove, copy, removable(copy, 1)))
        assert verify(copy, None).problems == ()
        remove(copy, removable(copy, 1))
        assert weights(copy.root) == {"2026-03", "2026-04", "2026-05"}
        assert verify(copy, None).problems == ()
        number += 1
    assert number > 4


def test_a_damaged_record_of_removed_weights_is_found(five_months: Path) -> None:
    assert call("gc", "--keep", "1", "-w", five_months).code == 0
    record = five_months / "runs" / "2026-02" / "001" / "weights-removed.json"
    sound = record.read_bytes()
    record.write_bytes(sound.replace(b"model", b"modem", 1))
    assert call("verify", "-w", five_months).code == 5
    record.write_bytes(sound)
    shutil.copy(record, five_months / "runs" / "2026-05" / "001")
    done = call("verify", "-w", five_months)
    assert (done.code, "belongs to attempt 2026-02/001, not to 2026-05/001" in done.out) == (5, True)


def test_a_refused_month_without_its_weights_is_trained_again_before_it_is_evaluated_again(
    refused: Path,
) -> None:
    assert call("run", "--month", "2026-03", "-o", "gate.min_gain=101", "-w", refused).code == 3
    assert call("gc", "--keep", "1", "-w", refused).code == 0
    assert weights(refused) == {"2026-01", "2026-03"}
    assert call("run", "--month", "2026-02", "--from", "eval", "-w", refused).code in (0, 3)
    space = Workspace(refused)
    assert (space.runs / "2026-02" / "002" / "finetune" / "checkpoint" / "model.safetensors").exists()
    assert verify(space, None).problems == ()
