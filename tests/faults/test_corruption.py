"""A changed bit or a missing tail in any artifact is found: exit 5, file and both hashes named, nothing written."""

import re
import shutil
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch

from pipeline.store.fisher_file import read_fisher
from pipeline.store.hashing import FISHER_FILE, sha256_file
from tests.conftest import Done, call
from tests.faults.disturbance import artifacts, run_month

CORRUPT = 5
INPUTS = ("base", "feedback", "golden", "retrain.yaml", "launch.jsonl")
"""Files of the team's own; a month that reads another content of them is another month."""

SEALED = ("record.json", "manifest.json", "registry.json", FISHER_FILE)


def recorded(workspace: Path) -> list[str]:
    """Every regular file that a run wrote and that is recorded."""
    return [
        name for name in artifacts(workspace) if (workspace / name).is_file() and not name.startswith(INPUTS)
    ]


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "tail":
        content = content[: len(content) - max(1, len(content) // 10)]
    else:
        content[len(content) * int(how) // 100] ^= 1 << (len(content) % 8)
    path.chmod(0o600)
    path.write_bytes(content)


def assert_refused(done: Done, named: Path) -> None:
    assert done.code == CORRUPT, f"{named}: {done}"
    text = done.out + done.err
    assert named.name in text or str(named.parent) in text, text


def find_damage(workspace: Path, tmp_path: Path, ways: tuple[str, ...], stride: int, offset: int = 0) -> int:
    """Damage artifacts in turn; returns how many were damaged."""
    count = 0
    work = [(name, how) for name in recorded(workspace) for how in ways]
    for name, how in work[offset::stride]:
        path = workspace / name
        kept = tmp_path / "kept"
        shutil.copy2(path, kept)
        if path.stat().st_size == 0:
            path.chmod(0o600)
            path.write_bytes(b"\0")
        else:
            damage(path, how)
        before = artifacts(workspace)
        done = call("verify", "-w", workspace)
        assert_refused(done, path)
        hashes = set(re.findall(r"[0-9a-f]{64}", done.out))
        # a record that is no JSON any more has no hash to name: its hash lies within it
        assert len(hashes) >= 2 or path.name in SEALED, done.out
        assert artifacts(workspace) == before
        path.unlink()
        shutil.move(kept, path)
        count += 1
    assert call("verify", "-w", workspace).code == 0
    return count


def test_one_changed_bit_or_a_cut_tail_is_found_in_some_artifacts(promoted: Path, tmp_path: Path) -> None:
    assert find_damage(promoted, tmp_path, ("50", "tail"), stride=5) >= 8


@pytest.mark.slow
def test_one_changed_bit_or_a_cut_tail_is_found_in_every_artifact(promoted: Path, tmp_path: Path) -> None:
    found = find_damage(promoted, tmp_path, ("0", "33", "50", "99", "tail"), stride=1)
    assert found == 5 * len(recorded(promoted))


@pytest.mark.parametrize(
    "name", ["ingest/train.parquet", "finetune/checkpoint/model.safetensors", "eval/gate.json"]
)
def test_a_run_refuses_a_finished_month_that_is_damaged_and_writes_nothing(promoted: Path, name: str) -> None:
    path = promoted / "runs" / "2026-02" / "001" / name
    recorded_hash = sha256_file(path)
    damage(path, "50")
    before = artifacts(promoted)
    done = call("run", "--month", "2026-02", "-w", promoted)
    assert done.code == CORRUPT
    assert name.rpartition("/")[2] in done.err
    assert recorded_hash in done.err
    assert sha256_file(path) in done.err
    assert artifacts(promoted) == before


def test_a_champion_that_is_damaged_is_not_trained_from(launched: Path) -> None:
    path = launched / "runs" / "2026-01" / "001" / "finetune" / "checkpoint" / "model.safetensors"
    damage(path, "99")
    done = run_month(launched)
    assert done.code == CORRUPT
    assert len(set(re.findall(r"[0-9a-f]{64}", done.err))) >= 2
    assert not (launched / "runs" / "2026-02").exists()


@pytest.mark.parametrize(
    "name",
    ["ingest/train.parquet", "ingest/validation.parquet", "eval/predictions.parquet"],
)
def test_a_month_is_not_made_from_damaged_tables_of_an_earlier_one(promoted: Path, name: str) -> None:
    """A table that decodes well and says other things: all of its labels are exchanged."""
    path = promoted / "runs" / "2026-01" / "001" / name
    recorded_hash = sha256_file(path)
    table = pyarrow.parquet.read_table(path)
    place = table.column_names.index("label")
    turned = pyarrow.array(list(reversed(table.column("label").to_pylist())))
    path.chmod(0o600)
    pyarrow.parquet.write_table(table.set_column(place, "label", turned), path)
    champion = (promoted / "registry.json").read_bytes()
    done = run_month(promoted, month="2026-03")
    assert done.code == CORRUPT, done.err
    assert f"{path}: damaged: recorded with the hash {recorded_hash}" in done.err
    assert (promoted / "registry.json").read_bytes() == champion


@pytest.mark.parametrize("name", ["ingest/train.parquet", "ingest/validation.parquet"])
@pytest.mark.parametrize(
    "command",
    [
        ("run", "--month", "2026-03", "-o", "arm=default"),
        ("run", "--month", "2026-03", "-o", "arm=joint"),
        ("run", "--month", "2026-03", "-o", "arm=ewc", "-o", "ewc.months=separate"),
        ("tune", "--month", "2026-03", "--trainings", "1"),
        ("backtest", "--months", "2026-02..2026-02", "--arms", "freeze"),
    ],
    ids=" ".join,
)
def test_no_arm_and_no_command_reads_damaged_tables(
    promoted: Path, name: str, command: tuple[str, ...]
) -> None:
    path = promoted / "runs" / "2026-01" / "001" / name
    damage(path, "50")
    champion = (promoted / "registry.json").read_bytes()
    done = call(*command, "-w", promoted)
    assert done.code == CORRUPT, done.err
    assert f"{path}: damaged: recorded with the hash" in done.err
    assert (promoted / "registry.json").read_bytes() == champion


def test_a_month_whose_page_could_not_be_made_is_not_promoted(promoted: Path) -> None:
    path = promoted / "runs" / "2026-01" / "001" / "eval" / "scorecard.json"
    kept = path.read_bytes()
    damage(path, "50")
    done = call("run", "--month", "2026-03", "-w", promoted)
    assert done.code == CORRUPT
    assert f"{path}: damaged: recorded with the hash" in done.err
    assert not (promoted / "runs" / "2026-03").exists()
    replace(path, kept)
    done = call("run", "--month", "2026-03", "-w", promoted)
    assert (done.code, "report could not be written" in done.err) == (0, False)
    assert (promoted / "runs/2026-03/001/report.html").is_file()


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "damaged"])
def test_a_golden_set_that_was_set_aside_is_proven_when_it_is_read(launched: Path, gone: bool) -> None:
    (launched / "golden" / "2026-02.jsonl").unlink()
    more = ("-o", "ingest.golden_fraction=0.3", "-o", "gate.min_rows=5")
    assert call("run", "--month", "2026-02", "-w", launched, *more).code == 0
    path = launched / "runs" / "2026-02" / "001" / "ingest" / "golden.jsonl"
    rows = path.read_bytes().splitlines(keepends=True)
    path.unlink()
    if not gone:
        path.write_bytes(b"".join(rows[1:]))
    for command in (("run", "--month", "2026-03", *more), ("eval",)):
        done = call(*command, "-w", launched)
        assert done.code == CORRUPT, done.err
        assert f"{path}: {'is missing' if gone else 'damaged'}" in done.err


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("eval/scorecard.json", "status"),
        ("finetune/deltas.json", "show"),
        ("ingest/summary.json", "show"),
        ("finetune/metrics.jsonl", "report"),
        ("ingest/rejected.jsonl", "report"),
    ],
)
def test_damaged_records_are_not_shown(promoted: Path, name: str, command: str) -> None:
    path = promoted / "runs" / "2026-02" / "001" / name
    path.chmod(0o600)
    path.write_bytes(b"[]\n")
    done = call(command, *(["2026-02"] if command != "status" else []), "-w", promoted)
    assert done.code == CORRUPT, done.out
    assert f"{path}: damaged: recorded with the hash" in done.err


@pytest.mark.parametrize("how", ["99", "tail"])
@pytest.mark.parametrize("month", ["2026-01", "2026-02"])
@pytest.mark.parametrize("command", ["report", "diagnose"])
def test_what_moved_is_not_told_of_damaged_weights(
    promoted: Path, command: str, month: str, how: str
) -> None:
    """Of the month's own weights or those that it started from: a cut tail, or one bit of a sound file."""
    path = promoted / "runs" / month / "001" / "finetune" / "checkpoint" / "model.safetensors"
    damage(path, how)
    done = call(command, "2026-02", "-w", promoted)
    assert done.code == CORRUPT, done.err
    assert "damaged: attempt " + month in done.err


def test_a_torn_line_of_the_events_is_passed_over_with_a_word(promoted: Path) -> None:
    file = promoted / "runs" / "2026-02" / "001" / "events.jsonl"
    with file.open("ab") as events:
        events.write(b'{"at": "2026-03-02T03:17:00.0')
    done = call("show", "2026-02", "-w", promoted)
    assert done.code == 0
    assert "events.jsonl: 1 line(s) were cut off and are passed over" in done.err


@pytest.fixture
def third(promoted: Path) -> Path:
    """A workspace with the Fishers of two months beside their checkpoints."""
    done = call("run", "--month", "2026-03", "--until", "fisher", "-w", promoted)
    assert done.code == 0, done.err
    return promoted


def fisher_of(workspace: Path, month: str) -> Path:
    return workspace / "runs" / month / "001" / "finetune" / "checkpoint" / FISHER_FILE


def replace(path: Path, content: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(content)


def test_fishers_swapped_between_months_are_refused_with_both_hashes(third: Path) -> None:
    first, second = fisher_of(third, "2026-01"), fisher_of(third, "2026-02")
    one, two = first.read_bytes(), second.read_bytes()
    bound = {read_fisher(path)[1].checkpoint_sha256 for path in (first, second)}
    replace(first, two)
    replace(second, one)
    before = artifacts(third)
    for done in (call("verify", "-w", third), call("run", "--month", "2026-03", "-w", third)):
        assert done.code == CORRUPT
        assert FISHER_FILE in done.out + done.err
    assert bound <= set(re.findall(r"[0-9a-f]{64}", call("verify", "-w", third).out))
    assert artifacts(third) == before


def rewritten(path: Path, change: str) -> None:
    """Write a Fisher file by hand whose tensors are changed and whose metadata is kept."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name = sorted(tensors)[0]
    match change:
        case "NaN":
            tensors[name].view(-1)[0] = float("nan")
        case "infinite":
            tensors[name].view(-1)[0] = float("inf")
        case "negative":
            tensors[name].view(-1)[0] = -1.0
        case "zero":
            tensors = {key: torch.zeros_like(value) for key, value in tensors.items()}
        case "name":
            tensors["unknown"] = tensors.pop(name)
        case "shape":
            tensors[name] = tensors[name].reshape(-1)[:-1].clone()
        case "dtype":
            tensors[name] = tensors[name].half()
    path.unlink()
    save_file(tensors, path, metadata)


@pytest.mark.parametrize("change", ["NaN", "infinite", "negative", "zero", "name", "shape", "dtype"])
def test_a_fisher_that_was_tampered_with_is_refused(third: Path, change: str) -> None:
    rewritten(fisher_of(third, "2026-02"), change)
    before = artifacts(third)
    for done in (call("verify", "-w", third), call("run", "--month", "2026-03", "-w", third)):
        assert done.code == CORRUPT, done
        assert FISHER_FILE in done.out + done.err
    assert artifacts(third) == before
