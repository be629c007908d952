"""Records are strict, sealed, and equal when written twice."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.errors import ArtifactCorrupt, NoInput
from pipeline.store import atomic, reading
from pipeline.store.hashing import sha256_json
from pipeline.store.records import (
    SEAL,
    CheckpointRef,
    Manifest,
    Promotion,
    Registry,
    StageRecord,
    read_record,
    read_registry_file,
    render_record,
    write_record,
)

from .samples import AT, digest, manifest, reference, stage_record, verdict

MEND = "Run: something"


def full_manifest() -> Manifest:
    return manifest(
        status="finished",
        parent=reference("2026-02/001"),
        candidate=reference(),
        stages={"ingest": stage_record()},
        files={"config.yaml": digest("b")},
        verdict=verdict(passed=False),
        exit_code=3,
    )


def registry() -> Registry:
    entry = Promotion(
        action="launch", checkpoint=reference(), previous=None, at=AT, by="ann", reason="first", verdict=None
    )
    return Registry(champion=reference(), history=(entry,))


@pytest.mark.parametrize("record", [full_manifest(), registry(), stage_record()])
def test_a_record_survives_the_round_trip(tmp_path: Path, record: Manifest | Registry | StageRecord) -> None:
    write_record(tmp_path / "r.json", record)
    assert read_record(tmp_path / "r.json", type(record), mend=MEND) == record


def test_equal_records_are_equal_bytes(tmp_path: Path) -> None:
    other = full_manifest().model_copy(update={"config": dict(reversed(full_manifest().config.items()))})
    assert render_record(full_manifest()) == render_record(other)


def test_a_manifest_of_a_version_that_lacked_a_field_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    content = full_manifest().model_dump(mode="json")
    del content["penalty"]
    atomic.write_json(file, {**content, SEAL: sha256_json(content)})
    assert read_record(file, Manifest, mend=MEND) == full_manifest()


@pytest.mark.parametrize("record", [full_manifest(), registry()])
def test_a_flipped_bit_is_found_wherever_it_is(tmp_path: Path, record: Manifest | Registry) -> None:
    path = tmp_path / "r.json"
    whole = render_record(record)
    for position in range(0, len(whole), 3):
        path.write_bytes(
            whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :]
        )
        with pytest.raises(ArtifactCorrupt, match=str(path)):
            read_record(path, type(record), mend=MEND)


def test_a_cut_tail_is_found(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    whole = render_record(registry())
    for length in range(0, len(whole), 5):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtifactCorrupt, match=str(path)):
            read_record(path, Registry, mend=MEND)


def test_a_change_by_hand_is_told_with_both_hashes_and_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_record(path, registry())
    content = reading.read_json(path)
    assert isinstance(content, dict)
    recorded = content.pop(SEAL)
    content["champion"] = None
    atomic.write_json(path, {**content, SEAL: recorded})
    expected = f"changed by hand: .* hash {recorded}, has {sha256_json(content)}. {MEND}"
    with pytest.raises(ArtifactCorrupt, match=expected):
        read_record(path, Registry, mend=MEND)


def test_the_same_content_spelled_otherwise_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(render_record(registry()).replace(b"\n", b"\n "))
    with pytest.raises(ArtifactCorrupt, match="damaged: the file should have the hash"):
        read_record(path, Registry, mend=MEND)


def test_a_record_of_another_kind_or_version_is_told(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_record(path, stage_record())
    with pytest.raises(
        ArtifactCorrupt, match=f"not a Manifest of this version: .*month: Field required.*{MEND}"
    ):
        read_record(path, Manifest, mend=MEND)
    path.write_bytes(b"[]\n")
    with pytest.raises(ArtifactCorrupt, match="expected an object, found list"):
        read_record(path, Manifest, mend=MEND)


def test_a_missing_registry_is_an_empty_one_and_a_missing_record_is_no_input(tmp_path: Path) -> None:
    assert read_registry_file(tmp_path / "registry.json") == Registry()
    with pytest.raises(NoInput, match=r"m.json: there is no such file"):
        read_record(tmp_path / "m.json", Manifest, mend=MEND)


def test_a_planted_registry_link_is_refused_even_when_it_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "registry.json").symlink_to(tmp_path / "nowhere")
    with pytest.raises((ArtifactCorrupt, NoInput), match=r"registry.json"):
        read_registry_file(tmp_path / "registry.json")


def test_records_are_frozen_and_refuse_unknown_keys() -> None:
    record = stage_record()
    with pytest.raises(ValidationError, match="frozen"):
        record.seed = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        StageRecord.model_validate({**record.model_dump(), "when": "now"})


@pytest.mark.parametrize("path", ["../x", "/etc", "a//b", "a/./b", "a/..", "", "a\\b", "a\nb", "a\0b"])
def test_paths_that_may_lead_outside_are_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="not a plain path relative to the workspace"):
        CheckpointRef(path=path, sha256=digest("a"), month="2026-03", attempt="2026-03/001")


@pytest.mark.parametrize("month", ["2026-13", "2026-3", "2026-03\n", "\uff12026-03", "../2026-03", "2026-00"])
def test_months_of_any_other_form_are_refused(month: str) -> None:
    with pytest.raises(ValidationError, match="month"):
        CheckpointRef(path="runs", sha256=digest("a"), month=month, attempt="2026-03/001")


def test_a_stages_identity_is_all_but_its_outputs() -> None:
    record = stage_record()
    done = record.model_copy(update={"outputs": {"train.parquet": digest("f")}})
    assert record.identity() == done.identity()
    assert record.identity() != stage_record(seed=1).identity()
    assert sorted(record.identity()) == ["code_version", "config", "inputs", "seed", "stage"]


def test_a_stages_record_is_put_into_a_manifest_without_changing_the_old_one() -> None:
    before = manifest()
    after = before.with_stage(stage_record("ingest")).with_stage(stage_record("fisher"))
    assert (list(before.stages), list(after.stages)) == ([], ["ingest", "fisher"])


def test_arguments_that_are_not_utf8_can_be_recorded(tmp_path: Path) -> None:
    record = manifest(command=["retrain", "\udcff"])
    assert record.command == ("retrain", "\\udcff")
    write_record(tmp_path / "m.json", record)
    assert read_record(tmp_path / "m.json", Manifest, mend=MEND) == record


def test_a_manifest_holds_no_time() -> None:
    assert not any("time" in name or name in ("at", "date") for name in Manifest.model_fields)
