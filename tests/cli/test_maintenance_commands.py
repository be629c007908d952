"""`retrain verify`, `gc` and `doctor`."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.operations.doctor import examine
from pipeline.store.workspace import Workspace
from tests.conftest import call
from tests.store.samples import tree


def test_verify_says_what_was_proven(promoted: Path) -> None:
    before = tree(promoted)
    done = call("verify", "-w", promoted)
    assert done.code == 0
    assert done.out.startswith("2 attempt(s), ")
    assert done.out.endswith(" file(s) as recorded: all sound\n")
    assert tree(promoted) == before


def test_verify_all_as_json(promoted: Path) -> None:
    found = json.loads(call("verify", "--all", "--json", "-w", promoted).out)
    assert found["attempts"] == 2
    assert found["files"] > 25
    assert found["problems"] == []


def test_verify_names_every_problem_and_exits_with_5(promoted: Path) -> None:
    for month in ("2026-01", "2026-02"):
        (promoted / "runs" / month / "001" / "ingest" / "labels.json").unlink()
    done = call("verify", "-w", promoted)
    assert done.code == 5
    assert done.out.count("labels.json: is missing") == 2
    assert "2 problem(s)" in done.out


def test_verify_takes_a_ref_or_all_and_not_both(promoted: Path) -> None:
    assert call("verify", "champion", "--all", "-w", promoted).code == 2
    assert call("verify", "champion", "-w", promoted).code == 0
    assert call("verify", "2026-07", "-w", promoted).code == 66


def test_verify_finds_a_stage_that_was_made_from_something_else(promoted: Path) -> None:
    """A stage whose record was exchanged for that of another sound run."""
    from pipeline.store.records import write_record
    from pipeline.store.stage_directory import read_stage

    run = Workspace(promoted).attempts(Workspace(promoted).months()[-1])[-1]
    record, manifest = read_stage(run.stage("finetune")), run.read_manifest()
    assert record is not None
    other = record.model_copy(update={"inputs": {**record.inputs, "ingest/train.parquet": "a" * 64}})
    write_record(run.stage("finetune") / "record.json", other)
    write_record(run.manifest_file, manifest.with_stage(other))
    done = call("verify", "2026-02", "-w", promoted)
    assert done.code == 5
    assert "was made from ingest/train.parquet " + "a" * 64 in done.out
    assert record.inputs["ingest/train.parquet"] in done.out


def test_gc_dry_run_removes_nothing_and_tells_all(refused: Path) -> None:
    assert call("run", "--month", "2026-02", "--force", "-w", refused).code == 0
    assert call("run", "--month", "2026-03", "-w", refused).code == 0
    before = tree(refused)
    done = call("gc", "--keep", "1", "--dry-run", "-w", refused)
    assert done.code == 0
    assert tree(refused) == before
    assert [line.split()[0] for line in done.out.splitlines() if "would go" in line] == ["2026-02/001", "1"]
    done = call("gc", "--keep", "1", "--json", "-w", refused)
    gone = [kept["attempt"] for kept in json.loads(done.out)["attempts"] if kept["reason"] is None]
    assert gone == ["2026-02/001"]
    assert not (refused / "runs" / "2026-02" / "001").exists()
    assert call("verify", "-w", refused).code == 0


def test_gc_needs_to_be_told_how_many_months_to_keep(promoted: Path) -> None:
    assert call("gc", "-w", promoted).code == 2
    assert call("gc", "--keep", "0", "-w", promoted).code == 2


@pytest.mark.parametrize("command", [("verify",), ("gc", "--keep", "1", "--dry-run")])
def test_a_folder_that_is_not_there_is_named(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = call(*command, "-w", tmp_path / "nowhere")
    assert done.code == 66
    assert "Run: retrain init" in done.err


def test_doctor_finds_a_sound_workspace_sound_and_leaves_nothing(promoted: Path) -> None:
    promoted.chmod(0o700)
    before = tree(promoted)
    done = call("doctor", "--threads", "1", "-w", promoted)
    assert done.code == 0, done.out
    for name in (
        "python",
        "packages",
        "device",
        "threads",
        "permissions",
        "write test",
        "disk",
        "clock",
        "lock",
    ):
        assert f"ok  {name}:" in done.out
    assert tree(promoted) == before


def test_doctor_without_a_workspace_names_init(tmp_path: Path) -> None:
    done = call("doctor", "--threads", "1", "-w", tmp_path)
    assert done.code == 78
    assert "BAD workspace:" in done.out
    assert "Run: retrain init" in done.out


def test_doctor_reads_the_configuration_that_it_is_given(promoted: Path) -> None:
    (promoted / "other.yaml").write_text("gate: {min_rows: 100000}\n")
    assert call("doctor", "--threads", "1", "-w", promoted).code == 0
    done = call("doctor", "--threads", "1", "-c", promoted / "other.yaml")
    assert done.code == 78
    assert "at least 100000 needed" in done.out


def test_doctor_tells_the_power_that_a_refused_month_found(refused: Path) -> None:
    done = call("doctor", "--threads", "1", "-w", refused)
    assert "golden rows:   2026-02: " in done.out
    assert "prior golden rows show a drop of" in done.out


def test_doctor_tells_a_workspace_that_others_may_write_to(promoted: Path) -> None:
    promoted.chmod(0o777)
    done = call("doctor", "--threads", "1", "--json", "-w", promoted)
    found = {finding["name"]: finding for finding in json.loads(done.out)}
    assert done.code == 78
    assert not found["permissions"]["sound"]
    assert "chmod go-w" in found["permissions"]["text"]


@pytest.mark.parametrize("now", [datetime(1970, 1, 1, tzinfo=UTC), datetime.now(UTC) - timedelta(days=3)])
def test_doctor_tells_a_clock_that_was_never_set_or_went_back(promoted: Path, now: datetime) -> None:
    found = {finding.name: finding for finding in examine(Workspace(promoted), now=now)}
    assert not found["clock"].sound


def test_doctor_tells_more_threads_than_cores(promoted: Path) -> None:
    done = call("doctor", "--threads", str((os.cpu_count() or 1) + 1), "-w", promoted)
    assert "BAD threads:" in done.out
    assert "Run with --threads" in done.out


def test_doctor_tells_a_disk_that_refuses_to_write(promoted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.store import atomic

    def full(step: str, path: Path) -> None:
        if step == "write":
            raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(atomic, "fault_point", full)
    found = {finding.name: finding for finding in examine(Workspace(promoted), now=datetime.now(UTC))}
    assert not found["write test"].sound
    assert "the disk is full" in found["write test"].text


@pytest.mark.parametrize(("umask", "mode"), [("077", 0o600), ("027", 0o640)])
def test_new_files_get_the_configured_permissions(
    launched: Path, umask: str, mode: int, request: pytest.FixtureRequest
) -> None:
    from pipeline.store.atomic import set_file_mask

    request.addfinalizer(lambda: set_file_mask(0o077))
    done = call("ingest", "--month", "2026-02", "-w", launched, "-o", f"files.umask='{umask}'")
    assert done.code == 0, done.err
    made = [path for path in (launched / "runs" / "2026-02").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o077 for path in made} == {mode & 0o077}


def test_a_umask_never_shuts_the_owner_out(launched: Path) -> None:
    assert call("ingest", "--month", "2026-02", "-w", launched, "-o", "files.umask='777'").code == 78


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("not json\n", "unreadable row(s)"),
        ('{"text": "my parcel", "label": "delivery"}\n', "1 rows, at least 50 needed, or the gate refuses"),
    ],
)
def test_doctor_tells_a_golden_set_that_the_gate_cannot_use(launched: Path, content: str, said: str) -> None:
    (launched / "golden" / "2026-01.jsonl").write_text(content)
    done = call("doctor", "--threads", "1", "--json", "-w", launched)
    (finding,) = (found for found in json.loads(done.out) if found["name"] == "golden sets")
    assert (done.code, finding["sound"], said in finding["text"]) == (78, False, True)


@pytest.mark.parametrize("command", [("status",), ("labels",), ("verify",)])
def test_a_configuration_that_is_named_and_not_there_is_told(
    launched: Path, command: tuple[str, ...]
) -> None:
    file = launched / "other" / "retrain.yaml"
    done = call(*command, "-c", file)
    assert (done.code, f"{file}: there is no such configuration" in done.err) == (66, True)
