"""The one module that writes files, names and folders, and makes them durable.

Every system call that changes the disk stands behind `fault_point(step, path)`, so that a test can stop the
process, or fail the call, at each of them in turn. A file is written to a sibling with a recognisable temporary
name, flushed, renamed over its target, and then its folder is flushed: a reader sees the old bytes or the new
ones, never a part, whenever the process dies.
"""

import errno
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pipeline.errors import ArtifactCorrupt, CannotWrite
from pipeline.store import reading
from pipeline.store.refusals import explained

Step = Literal["mkdir", "create", "write", "fsync", "chmod", "rename", "symlink", "remove"]

_CHUNK_BYTES = 4 * 2**20
# ours, and those that safetensors leaves when it is killed while it saves
_TEMPORARY = re.compile(r"\A\.(.*\.[0-9a-f]{12}\.tmp|tmp[0-9A-Za-z]{6})\Z", re.DOTALL)

_mask = 0o077


def _no_fault(step: Step, path: Path) -> None:
    return None


fault_point: Callable[[Step, Path], None] = _no_fault
"""Called immediately before each change to the disk; does nothing. Fault tests put their own function here."""


def set_file_mask(mask: int) -> None:
    """Set which permission bits new files and folders never get, here and in libraries that write by themselves.

    Args:
        mask: permission bits, such as 0o077 (the default: only the owner) or 0o027 (the group may read).
    """
    global _mask
    _mask = mask
    os.umask(mask)


def write_file(path: Path, data: bytes, *, read_only: bool = False) -> None:
    """Replace a file by `data`, completely or not at all, and make that durable.

    Args:
        path: the file; its folder must exist.
        data: the new content.
        read_only: take away the permission to write, as for everything that is finished.

    Raises:
        AccessDenied: the operating system forbids it (EACCES, EPERM).
        CannotWrite: any other failure (ENOSPC, EROFS, EIO, EFBIG, ...); the temporary file is gone.
    """
    temporary = _temporary_beside(path)
    with explained("write it", path):
        try:
            _write_new(temporary, data, read_only=read_only)
            fault_point("rename", path)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        _flush_folder(path.parent)


def render_json(value: object) -> bytes:
    """The bytes that `write_json` writes: sorted keys, indent 1, UTF-8, one newline at the end.

    Raises:
        ValueError: for NaN and infinite numbers.
    """
    text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)
    return text.encode("utf-8") + b"\n"


def render_json_line(value: object) -> str:
    """A JSON value on one line, with sorted keys.

    Raises:
        ValueError: for NaN and infinite numbers.
    """
    return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False)


def write_json(path: Path, value: object, *, read_only: bool = False) -> None:
    """Replace a file by a JSON document; equal values give equal bytes.

    Raises:
        ValueError: for NaN and infinite numbers; AccessDenied, CannotWrite: as `write_file`.
    """
    write_file(path, render_json(value), read_only=read_only)


def append_line(path: Path, text: str, *, durable: bool = False) -> None:
    """Add one line to a log; line breaks and other control characters in `text` are written escaped.

    A line that an earlier process left unfinished is ended first.

    Raises:
        AccessDenied, CannotWrite: as `write_file`.
    """
    line = "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with explained("append to it", path):
        fault_point("create", path)
        descriptor = os.open(path, flags, 0o666 & ~_mask)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            _write_all(descriptor, path, (b"\n" if torn else b"") + line.encode("utf-8") + b"\n")
            if durable:
                _flush(descriptor, path)
        finally:
            os.close(descriptor)


def replace_link(link: Path, target: Path) -> None:
    """Point the symbolic link `link` at `target`, relatively and in one step.

    Raises:
        AccessDenied, CannotWrite: as `write_file`, and when `link` is there but is no symbolic link.
    """
    temporary = _temporary_beside(link)
    with explained("replace the link", link):
        if reading.kind_of(link) not in ("nothing", "symbolic link"):
            raise CannotWrite(
                f"{link}: expected a symbolic link, found a {reading.kind_of(link)}. Move it away; then run the command again"
            )
        try:
            fault_point("symlink", temporary)
            os.symlink(os.path.relpath(target, link.parent), temporary)
            fault_point("rename", link)
            os.replace(temporary, link)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        _flush_folder(link.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and the missing ones above it, durably; one that exists is left as it is.

    Raises:
        AccessDenied, CannotWrite: as `write_file`, and when a file is in the way.
    """
    with explained("make the folder", folder):
        missing = []
        current = folder
        while not current.is_dir():
            missing.append(current)
            current = current.parent
        for path in reversed(missing):
            fault_point("mkdir", path)
            try:
                os.mkdir(path, 0o777 & ~_mask)
            except FileExistsError:
                if not path.is_dir():
                    raise CannotWrite(f"{path}: a file is where a folder should be; move it away") from None
            _flush_folder(path.parent)


def rename_folder(source: Path, target: Path) -> None:
    """Rename a folder within one file system, durably; `target` must not exist or be an empty folder.

    Raises:
        AccessDenied, CannotWrite: as `write_file`.
    """
    with explained("rename a folder to it", target):
        fault_point("rename", target)
        os.rename(source, target)
        _flush_folder(target.parent)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's bytes to a new file that must not exist yet; `sync_tree` makes it durable.

    Raises:
        AccessDenied, CannotWrite: as `write_file`.
    """
    with explained("copy a file to it", target), open(source, "rb") as reader:
        fault_point("create", target)
        descriptor = os.open(target, _NEW_FILE, 0o666 & ~_mask)
        try:
            while chunk := reader.read(_CHUNK_BYTES):
                _write_all(descriptor, target, chunk)
        finally:
            os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder`, and itself, and make the files read-only.

    Folders stay writable for their owner: a Fisher may be put beside a finished checkpoint later.

    Raises:
        ArtifactCorrupt: a symbolic link or a device is inside.
        AccessDenied, CannotWrite: as `write_file`.
    """
    for path in _walk_up(folder):
        with explained("flush it to the disk", path):
            kind = reading.kind_of(path)
            if kind == "folder":
                _flush_folder(path, mode=0o777 & ~_mask)
            elif kind == "file":
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    _make_read_only(descriptor, path)
                    _flush(descriptor, path)
                finally:
                    os.close(descriptor)
            else:
                raise ArtifactCorrupt(f"{path}: expected a file or folder, found a {kind}")


def remove_tree(path: Path) -> None:
    """Remove a file, link or folder with all inside; symbolic links are removed, never followed.

    Raises:
        AccessDenied, CannotWrite: as `write_file`.
    """
    with explained("remove it", path):
        if reading.kind_of(path) == "nothing":
            return
        for inner in _walk_up(path):
            fault_point("remove", inner)
            if reading.kind_of(inner) == "folder":
                os.rmdir(inner)
            else:
                os.unlink(inner)


def discard_folder(folder: Path, *, first: Sequence[str] = ()) -> None:
    """Remove a folder so that it is there whole or not at all: it is given a temporary name first.

    What a killed process leaves of it, `sweep` removes. An overlay file system cannot rename a folder of its lower
    layer (EXDEV): there it is removed where it lies.

    Args:
        first: names in it that go before all others, where it cannot be renamed: without them the rest is nothing.

    Raises:
        AccessDenied, CannotWrite: as `write_file`.
    """
    temporary = _temporary_beside(folder)
    try:
        rename_folder(folder, temporary)
    except CannotWrite as error:
        if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EXDEV:
            raise
        for name in first:
            remove_tree(folder / name)
        temporary = folder
    remove_tree(temporary)


def is_temporary(name: str) -> bool:
    """Whether a file name is one that this module, or safetensors, gives to unfinished files."""
    return _TEMPORARY.match(name) is not None


def sweep(folder: Path, *, below: bool = True) -> list[Path]:
    """Remove the unfinished files that killed processes left in a folder, and `below` it; returns their paths.

    Call it with the workspace's lock held: another process's unfinished file looks the same.

    Raises:
        AccessDenied, CannotWrite: as `write_file`.
    """
    with explained("look into it", folder):
        paths = _walk_up(folder) if below else folder.iterdir()
        left_over = sorted(path for path in paths if path != folder and is_temporary(path.name))
    for path in left_over:
        remove_tree(path)
    return left_over


_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def _temporary_beside(path: Path) -> Path:
    # 40 characters of up to 4 bytes keep the name below the usual limit of 255 bytes
    return path.with_name(f".{path.name[:40]}.{os.urandom(6).hex()}.tmp")


def _write_new(path: Path, data: bytes, *, read_only: bool) -> None:
    fault_point("create", path)
    descriptor = os.open(path, _NEW_FILE, 0o666 & ~_mask)
    try:
        _write_all(descriptor, path, data)
        if read_only:
            _make_read_only(descriptor, path)
        _flush(descriptor, path)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, path: Path, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        fault_point("write", path)
        rest = rest[os.write(descriptor, rest[:_CHUNK_BYTES]) :]


def _make_read_only(descriptor: int, path: Path) -> None:
    fault_point("chmod", path)
    os.fchmod(descriptor, 0o444 & ~_mask)


def _flush(descriptor: int, path: Path) -> None:
    fault_point("fsync", path)
    os.fsync(descriptor)


def _flush_folder(folder: Path, *, mode: int | None = None) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if mode is not None:
            fault_point("chmod", folder)
            os.fchmod(descriptor, mode)
        fault_point("fsync", folder)
        try:
            os.fsync(descriptor)
        except OSError as error:
            # some network and FUSE file systems cannot flush a folder, and say so in this way
            if error.errno != errno.EINVAL:
                raise
    finally:
        os.close(descriptor)


def _walk_up(path: Path) -> Iterator[Path]:
    """Everything below a path and then itself, children before parents, in sorted order."""
    if reading.kind_of(path) == "folder":
        for name in sorted(os.listdir(path)):
            yield from _walk_up(path / name)
    yield path
