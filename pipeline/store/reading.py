"""Reading what lies on the disk: regular files only, and JSON strictly."""

import errno
import os
import stat
from pathlib import Path
from typing import Literal

from pipeline.errors import ArtifactCorrupt, NoInput
from pipeline.store import strict_json
from pipeline.store.refusals import explained

Kind = Literal["nothing", "file", "folder", "symbolic link", "device"]
_JSON_LIMIT_BYTES = 64 * 2**20


def kind_of(path: Path) -> Kind:
    """What lies at a path; a symbolic link is a link, wherever it leads, and a pipe or socket is a device.

    Raises:
        AccessDenied, CannotWrite: the operating system does not tell.
    """
    with explained("look at it", path):
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return "nothing"
    return _KINDS.get(stat.S_IFMT(mode), "device")


_KINDS: dict[int, Kind] = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "symbolic link"}


def read_file(path: Path, *, limit_bytes: int | None = None, follow_links: bool = False) -> bytes:
    """Read a regular file; folders and devices are refused, and symbolic links, which the store itself never makes.

    Args:
        path: the file.
        limit_bytes: the most that it may hold.
        follow_links: read what a link leads to, as for a team's own files.

    Raises:
        NoInput: there is no such file, or a link leads nowhere.
        ArtifactCorrupt: it is not a regular file, or larger than `limit_bytes`.
        AccessDenied, CannotWrite: the operating system refuses, or the disk fails.
    """
    with explained("read it", path):
        try:
            stay = 0 if follow_links else os.O_NOFOLLOW
            descriptor = os.open(path, os.O_RDONLY | stay | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            broken = kind_of(path) == "symbolic link"
            raise NoInput(
                f"{path}: {'the symbolic link leads to no file' if broken else 'there is no such file'}"
            ) from None
        except OSError as error:
            if error.errno == errno.ELOOP:
                circle = " that leads in a circle" if follow_links else ""
                raise ArtifactCorrupt(f"{path}: expected a file, found a symbolic link{circle}") from None
            raise
        try:
            facts = os.fstat(descriptor)
            kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "device")
            if kind != "file":
                raise ArtifactCorrupt(f"{path}: expected a file, found a {kind}")
            if limit_bytes is not None and facts.st_size > limit_bytes:
                raise ArtifactCorrupt(f"{path}: {facts.st_size} bytes, at most {limit_bytes} are expected")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(descriptor)


def read_json(path: Path, *, follow_links: bool = False) -> object:
    """Read a JSON document strictly.

    Args:
        path: the file.
        follow_links: as for `read_file`.

    Raises:
        NoInput: there is no such file.
        ArtifactCorrupt: duplicate keys, NaN, infinite numbers, absurd nesting, broken text, or no regular file.
    """
    data = read_file(path, limit_bytes=_JSON_LIMIT_BYTES, follow_links=follow_links)
    try:
        return strict_json.parse(data)
    except ValueError as error:
        raise ArtifactCorrupt(f"{path}: {error}") from None
