"""A checkpoint from elsewhere is copied whole, and its links become files."""

from pathlib import Path

import pytest

from pipeline.errors import NoInput
from pipeline.store.checkpoints import adopted_hash, copy_checkpoint
from pipeline.store.hashing import checkpoint_hash

from .samples import write_checkpoint


def test_a_copy_is_the_same_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a" / "1_Pooling")
    write_checkpoint(tmp_path / "a")
    copy_checkpoint(tmp_path / "a", tmp_path / "b")
    assert checkpoint_hash(tmp_path / "b") == checkpoint_hash(tmp_path / "a")


def test_sidecars_and_hidden_files_stay_behind(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a")
    for name in ("fisher.safetensors", ".gitattributes"):
        (tmp_path / "a" / name).write_bytes(b"x")
    copy_checkpoint(tmp_path / "a", tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["config.json", "model.safetensors"]


def test_links_of_a_hub_cache_become_files(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "blobs")
    (tmp_path / "a").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "a" / name).symlink_to(f"../blobs/{name}")
    copy_checkpoint(tmp_path / "a", tmp_path / "b")
    assert checkpoint_hash(tmp_path / "b") == checkpoint_hash(tmp_path / "blobs")


def test_what_is_no_checkpoint_is_not_copied(tmp_path: Path) -> None:
    with pytest.raises(NoInput, match=r"expected a checkpoint folder, found no config.json"):
        copy_checkpoint(tmp_path, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_link_in_a_circle_is_told(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    with pytest.raises(NoInput, match="a link may lead in a circle"):
        copy_checkpoint(tmp_path / "a", tmp_path / "b")


def test_what_a_trainer_left_beside_the_model_stays_behind_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "output"
    write_checkpoint(source)
    write_checkpoint(source / "checkpoint-500")
    for name in ("optimizer.pt", "rng_state_0.pth", "training_args.bin", "pytorch_model.bin", "README.md"):
        (source / name).write_bytes(b"x")
    with caplog.at_level("INFO", logger="retrain"):
        copy_checkpoint(source, tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert "5 name(s) are no part of the model and stay behind: checkpoint-500, optimizer.pt," in caplog.text
    assert checkpoint_hash(tmp_path / "b") == adopted_hash(source)
