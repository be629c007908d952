"""Writing is all or nothing, durable, and refused with the path and what to do."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.errors import AccessDenied, ArtifactCorrupt, CannotWrite, NoInput
from pipeline.store import atomic, reading

from .samples import count_steps, failing_at, killed_at


@pytest.fixture
def restored_mask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    atomic.set_file_mask(0o077)
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_written_file_holds_its_bytes_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    atomic.write_file(path, b"one")
    assert path.read_bytes() == b"one"
    assert mode(path) == 0o600


def test_a_finished_file_is_read_only_and_can_still_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    atomic.write_file(path, b"one", read_only=True)
    assert mode(path) == 0o400
    atomic.write_file(path, b"two", read_only=True)
    assert path.read_bytes() == b"two"


@pytest.mark.usefixtures("restored_mask")
def test_a_configured_mask_lets_the_group_read(tmp_path: Path) -> None:
    atomic.set_file_mask(0o027)
    atomic.make_folder(tmp_path / "shared")
    atomic.write_file(tmp_path / "shared" / "a", b"", read_only=True)
    assert mode(tmp_path / "shared") == 0o750
    assert mode(tmp_path / "shared" / "a") == 0o440


def test_the_file_and_its_folder_are_flushed_in_the_right_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, str]] = []
    monkeypatch.setattr(atomic, "fault_point", lambda step, path: steps.append((step, path.name)))
    atomic.write_file(tmp_path / "a", b"x")
    names = [step for step, _ in steps]
    assert names == ["create", "write", "fsync", "rename", "fsync"]
    assert atomic.is_temporary(steps[2][1])
    assert steps[4] == ("fsync", tmp_path.name)


def test_the_operating_system_is_asked_to_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    )
    atomic.write_file(tmp_path / "a", b"x")
    assert len(flushed) == 2
    assert flushed[0].endswith(".tmp")
    assert flushed[1] == str(tmp_path)


def test_a_folder_that_cannot_be_flushed_is_tolerated_where_the_file_system_has_no_such_thing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse_folders)
    atomic.write_file(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_killed_anywhere_a_reader_sees_the_old_bytes_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for number in range(20):
        atomic.write_file(path, b"old")
        killed = killed_at(number, lambda: atomic.write_file(path, b"new" * 1000))
        assert path.read_bytes() in (b"old", b"new" * 1000)
        atomic.sweep(tmp_path)
        assert os.listdir(tmp_path) == ["a"]
        if not killed:
            assert number == 5
            return
    pytest.fail("the write never ended")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EFBIG, errno.EDQUOT])
def test_a_failing_disk_leaves_the_old_file_and_no_temporary_one(tmp_path: Path, error: int) -> None:
    path = tmp_path / "a"
    atomic.write_file(path, b"old")
    for number in range(4):
        with pytest.raises(CannotWrite, match=f"{path}: cannot write it: {os.strerror(error)}; "):
            failing_at(number, error, lambda: atomic.write_file(path, b"new"))
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [errno.EACCES, errno.EPERM])
def test_forbidden_is_told_apart_from_full(tmp_path: Path, error: int) -> None:
    with pytest.raises(AccessDenied, match=f"Check the owner and permissions of {tmp_path}"):
        failing_at(0, error, lambda: atomic.write_file(tmp_path / "a", b"x"))


def test_a_full_disk_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        CannotWrite, match="the disk is full: free some space, then run the same command again"
    ):
        failing_at(0, errno.ENOSPC, lambda: atomic.write_file(tmp_path / "a", b"x"))


def test_an_interrupt_in_the_middle_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(step: str, path: Path) -> None:
        if step == "fsync":
            raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "fault_point", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic.write_file(tmp_path / "a", b"x")
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match="its folder does not exist"):
        atomic.write_file(tmp_path / "no" / "a", b"x")


def test_writing_over_a_planted_link_replaces_the_link_and_not_its_target(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    (tmp_path / "a").symlink_to(outside)
    atomic.write_file(tmp_path / "a", b"x")
    assert outside.read_bytes() == b"mine"
    assert not (tmp_path / "a").is_symlink()


def test_long_names_get_temporary_names_that_fit(tmp_path: Path) -> None:
    path = tmp_path / ("\N{LATIN SMALL LETTER U WITH DIAERESIS}" * 125)
    atomic.write_file(path, b"x")
    assert path.read_bytes() == b"x"


def test_equal_values_are_equal_json_bytes(tmp_path: Path) -> None:
    atomic.write_json(tmp_path / "a", {"b": 1, "a": ["\N{SNOWMAN}", 0.1]})
    atomic.write_json(tmp_path / "b", {"a": ["\N{SNOWMAN}", 0.1], "b": 1})
    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes()
    assert data.endswith(b"}\n")
    assert reading.read_json(tmp_path / "a") == {"a": ["\N{SNOWMAN}", 0.1], "b": 1}


def test_numbers_that_json_lacks_are_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "a", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": 1, "a": 2}', "'a' occurs twice"),
        (b"[NaN]", "NaN"),
        (b"[" * 9999, "nested"),
        (b"", "not JSON"),
    ],
)
def test_a_damaged_json_file_is_named_with_the_reason(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(ArtifactCorrupt, match=f"{path}: .*{reason}"):
        reading.read_json(path)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"{}")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactCorrupt, match="link: expected a file, found a symbolic link"):
        reading.read_json(tmp_path / "link")
    with pytest.raises(ArtifactCorrupt, match="pipe: expected a file, found a device"):
        reading.read_json(tmp_path / "pipe")
    with pytest.raises(ArtifactCorrupt, match="expected a file, found a folder"):
        reading.read_json(tmp_path)
    with pytest.raises(NoInput, match="none: there is no such file"):
        reading.read_json(tmp_path / "none")


def test_a_file_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    with pytest.raises(ArtifactCorrupt, match="5 bytes, at most 4 are expected"):
        reading.read_file(tmp_path / "a", limit_bytes=4)


def test_log_lines_are_added_and_control_characters_escaped(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    atomic.append_line(path, "one")
    atomic.append_line(path, "two\nforged \x1b[31mred\tand a tab, \N{SNOWMAN}", durable=True)
    assert path.read_text("utf-8") == "one\ntwo\\nforged \\x1b[31mred\tand a tab, \N{SNOWMAN}\n"
    assert mode(path) == 0o600


def test_a_line_that_a_killed_process_left_unfinished_is_ended_first(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_bytes(b"whole\nhal")
    atomic.append_line(path, "next")
    assert path.read_bytes() == b"whole\nhal\nnext\n"


def test_a_log_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"")
    (tmp_path / "run.log").symlink_to(tmp_path / "outside")
    with pytest.raises(CannotWrite, match="it is a symbolic link"):
        atomic.append_line(tmp_path / "run.log", "x")
    assert (tmp_path / "outside").read_bytes() == b""


def test_a_link_is_relative_and_replaced_in_one_step(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    link = tmp_path / "champion"
    atomic.replace_link(link, tmp_path / "runs" / "one")
    assert os.readlink(link) == "runs/one"
    for number in range(10):
        killed = killed_at(number, lambda: atomic.replace_link(link, tmp_path / "runs" / "two"))
        assert os.readlink(link) in ("runs/one", "runs/two")
        atomic.sweep(tmp_path)
        if not killed:
            break
    assert os.readlink(link) == "runs/two"
    assert sorted(os.listdir(tmp_path)) == ["champion", "runs"]


def test_a_failing_disk_leaves_the_old_link(tmp_path: Path) -> None:
    atomic.replace_link(tmp_path / "champion", tmp_path / "one")
    for number in range(2):
        with pytest.raises(CannotWrite, match="champion: cannot replace the link: "):
            failing_at(
                number, errno.ENOSPC, lambda: atomic.replace_link(tmp_path / "champion", tmp_path / "two")
            )
        assert os.readlink(tmp_path / "champion") == "one"
        assert os.listdir(tmp_path) == ["champion"]


def test_something_else_where_a_link_should_be_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "champion").mkdir()
    with pytest.raises(CannotWrite, match="champion: expected a symbolic link, found a folder"):
        atomic.replace_link(tmp_path / "champion", tmp_path)
    assert (tmp_path / "champion").is_dir()


def test_folders_are_made_with_those_above_and_kept_when_there(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    atomic.make_folder(folder)
    (folder / "file").write_bytes(b"")
    atomic.make_folder(folder)
    assert mode(tmp_path / "a") == mode(folder) == 0o700
    assert os.listdir(folder) == ["file"]


def test_a_file_in_the_way_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(CannotWrite, match="a: a file is where a folder should be"):
        atomic.make_folder(tmp_path / "a")
    with pytest.raises(CannotWrite, match="a: a file is where a folder should be"):
        atomic.make_folder(tmp_path / "a" / "b")


def test_a_synced_tree_is_read_only_but_its_folders_take_new_files(tmp_path: Path) -> None:
    (tmp_path / "t" / "sub").mkdir(parents=True)
    (tmp_path / "t" / "sub" / "file").write_bytes(b"x")
    atomic.sync_tree(tmp_path / "t")
    assert mode(tmp_path / "t" / "sub" / "file") == 0o400
    assert mode(tmp_path / "t") == mode(tmp_path / "t" / "sub") == 0o700


def test_a_synced_tree_flushes_every_file_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t" / "sub").mkdir(parents=True)
    (tmp_path / "t" / "a").write_bytes(b"x")
    (tmp_path / "t" / "sub" / "b").write_bytes(b"x")
    flushed: list[str] = []
    monkeypatch.setattr(
        atomic, "fault_point", lambda step, path: flushed.append(path.name) if step == "fsync" else None
    )
    atomic.sync_tree(tmp_path / "t")
    assert flushed == ["a", "b", "sub", "t"]


@pytest.mark.parametrize("plant", [lambda p: p.symlink_to("/etc/passwd"), os.mkfifo])
def test_a_tree_with_a_link_or_pipe_is_refused(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    (tmp_path / "t").mkdir()
    plant(tmp_path / "t" / "planted")
    with pytest.raises(ArtifactCorrupt, match="planted: expected a file or folder, found a"):
        atomic.sync_tree(tmp_path / "t")


def test_removing_a_tree_never_follows_links(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_bytes(b"")
    (tmp_path / "t" / "sub").mkdir(parents=True)
    (tmp_path / "t" / "sub" / "file").write_bytes(b"")
    (tmp_path / "t" / "link").symlink_to(tmp_path / "outside")
    atomic.remove_tree(tmp_path / "t")
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(tmp_path / "outside") == ["kept"]
    atomic.remove_tree(tmp_path / "t")


def test_sweeping_removes_left_overs_of_ours_and_of_safetensors_only(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    left_over = [tmp_path / ".a.json.0123456789ab.tmp", tmp_path / "sub" / ".tmpXIct0m"]
    kept = [tmp_path / "a.tmp", tmp_path / ".hidden", tmp_path / "sub" / "tmpXIct0m", tmp_path / ".tmp-notes"]
    for path in left_over + kept:
        path.write_bytes(b"")
    assert sorted(atomic.sweep(tmp_path)) == sorted(left_over)
    assert all(path.exists() for path in kept)
    assert atomic.sweep(tmp_path) == []


def test_sweeping_one_folder_leaves_those_below_alone(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ".tmpXIct0m").write_bytes(b"")
    assert atomic.sweep(tmp_path, below=False) == []


def test_copies_and_renames_go_through_fault_points(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)

    def work() -> None:
        atomic.copy_file(tmp_path / "a", tmp_path / "b")
        atomic.make_folder(tmp_path / "c")
        atomic.rename_folder(tmp_path / "c", tmp_path / "d")
        atomic.remove_tree(tmp_path / "d")

    assert count_steps(work) == 2 + 2 + 2 + 1
    assert (tmp_path / "b").read_bytes() == b"x" * 100
    with pytest.raises(CannotWrite, match="something with that name is already there"):
        atomic.copy_file(tmp_path / "a", tmp_path / "b")
