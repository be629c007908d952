"""Identity is SHA-256 over content, and over all of a checkpoint but its sidecars."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ArtifactCorrupt, CannotWrite, NoInput
from pipeline.store.checkpoints import copy_checkpoint
from pipeline.store.hashing import checkpoint_files, checkpoint_hash, sha256_file, sha256_json

from .samples import write_checkpoint


def test_a_file_has_the_hash_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoInput, match="none: there is no such file"):
        sha256_file(tmp_path / "none")
    with pytest.raises(CannotWrite, match="cannot read it"):
        sha256_file(tmp_path)


@given(st.dictionaries(st.text(), st.integers() | st.text(), max_size=5))
def test_the_order_of_keys_does_not_change_a_values_hash(value: dict[str, object]) -> None:
    assert sha256_json(value) == sha256_json(dict(reversed(value.items())))


def test_different_values_have_different_hashes() -> None:
    assert len({sha256_json(v) for v in ([1, 2], [12], ["1", "2"], {"1": 2}, [1.0, 2], None, "", [])}) == 8
    with pytest.raises(ValueError, match="not JSON compliant"):
        sha256_json(float("inf"))


def test_a_checkpoints_hash_follows_names_and_contents(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a")
    write_checkpoint(tmp_path / "b")
    assert checkpoint_hash(tmp_path / "a") == checkpoint_hash(tmp_path / "b")
    (tmp_path / "b" / "config.json").rename(tmp_path / "b" / "config2.json")
    renamed = checkpoint_hash(tmp_path / "b")
    write_checkpoint(tmp_path / "b", value=0.25)
    assert len({checkpoint_hash(tmp_path / "a"), renamed, checkpoint_hash(tmp_path / "b")}) == 3


def test_sidecars_and_hidden_files_are_no_part_of_a_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a")
    before = checkpoint_hash(tmp_path / "a")
    for name in ("fisher.safetensors", ".gitattributes", ".fisher.safetensors.0123456789ab.tmp"):
        (tmp_path / "a" / name).write_bytes(b"x")
    assert checkpoint_hash(tmp_path / "a") == before
    (tmp_path / "a" / "1_Pooling").mkdir()
    (tmp_path / "a" / "1_Pooling" / "fisher.safetensors").write_bytes(b"x")
    assert checkpoint_files(tmp_path / "a") == [
        "1_Pooling/fisher.safetensors",
        "config.json",
        "model.safetensors",
    ]


def test_links_inside_a_checkpoint_are_refused_with_the_way_out(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a")
    (tmp_path / "a" / "vocab.txt").symlink_to("/etc/passwd")
    with pytest.raises(ArtifactCorrupt, match=r"vocab.txt: .* cp -rL SOURCE TARGET"):
        checkpoint_hash(tmp_path / "a")
    (tmp_path / "a" / "vocab.txt").unlink()
    os.mkfifo(tmp_path / "a" / "pipe")
    with pytest.raises(ArtifactCorrupt, match="pipe: a checkpoint holds regular files only"):
        checkpoint_hash(tmp_path / "a")


def test_a_checkpoint_of_a_hub_cache_has_the_hash_of_its_copy(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "plain")
    write_checkpoint(tmp_path / "blobs")
    (tmp_path / "blobs/1_Pooling").mkdir()
    (tmp_path / "blobs/1_Pooling/config.json").write_text("{}")
    (tmp_path / "snapshot").mkdir()
    for name in ("config.json", "model.safetensors", "1_Pooling"):
        (tmp_path / "snapshot" / name).symlink_to(f"../blobs/{name}")
    copy_checkpoint(tmp_path / "snapshot", tmp_path / "copy")
    assert checkpoint_hash(tmp_path / "snapshot", follow_links=True) == checkpoint_hash(tmp_path / "copy")
    (tmp_path / "snapshot/vocab.txt").symlink_to("../blobs/vocab.txt")
    with pytest.raises(NoInput, match=r"vocab.txt: the symbolic link leads to no file"):
        checkpoint_hash(tmp_path / "snapshot", follow_links=True)
    (tmp_path / "snapshot/vocab.txt").unlink()
    (tmp_path / "snapshot/again").symlink_to(".")
    with pytest.raises(NoInput, match="a link may lead in a circle"):
        checkpoint_hash(tmp_path / "snapshot", follow_links=True)


def test_an_absent_or_empty_checkpoint_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(NoInput, match="there is no such folder"):
        checkpoint_hash(tmp_path / "none")
    with pytest.raises(NoInput, match=r"an empty folder, expected a checkpoint with config.json"):
        checkpoint_hash(tmp_path)
