"""Read a user's table, whatever it is written in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.errors import ArtifactCorrupt, BadData, NoInput
from pipeline.sources.arrow_rows import read_arrow_rows, read_parquet_rows
from pipeline.sources.columns import as_asked
from pipeline.sources.delimited import read_delimited
from pipeline.sources.json_rows import read_json, read_json_lines
from pipeline.sources.rasa import read_rasa
from pipeline.sources.table import AS_FOUND, FILE_LIMIT_BYTES, ROW_LIMIT, Dialect, Table
from pipeline.sources.text import COMPRESSED, uncompressed
from pipeline.sources.xlsx import read_xlsx
from pipeline.store import reading
from pipeline.store.hashing import sha256_bytes, sha256_file, sha256_json
from pipeline.store.refusals import explained
from pipeline.store.tables import changed_input

Reader = Callable[[Path, bytes, Dialect], Table]
FORMATS: dict[str, Reader] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".parquet": read_parquet_rows,
    ".arrow": read_arrow_rows,
    ".feather": read_arrow_rows,
    ".xlsx": read_xlsx,
    ".yml": read_rasa,
    ".yaml": read_rasa,
}
"""Suffix to what reads it. A new format is a module with such a function, and its line here."""
_LOOK_BYTES = 65_536
_SAVED = "state.json"
"""In the folders that `datasets` saves."""


def suffix_of(path: Path) -> str | None:
    """The suffix that says what a file is written in, with its compression's; None where it is no table."""
    last = path.suffix.lower()
    inner = Path(path.stem).suffix.lower() if last in COMPRESSED else last
    return (inner + (last if last in COMPRESSED else "")) if inner in FORMATS else None


def is_table(path: Path) -> bool:
    """Whether a path is a file of a known format, or a folder that `datasets` saved."""
    return is_saved_dataset(path) or (suffix_of(path) is not None and not path.is_dir())


def is_saved_dataset(path: Path) -> bool:
    """Whether a path is a folder that `datasets.Dataset.save_to_disk` made."""
    with explained("look at it", path):
        return path.is_dir() and (path / _SAVED).is_file() and (path / "dataset_info.json").is_file()


def in_another_format(path: Path) -> Path | None:
    """A table beside an absent file that has its name and another format's suffix, or none; None where there is none.

    Raises:
        BadData: there are several.
    """
    if any(sign in path.name for sign in "*?["):
        return None
    stem = path.name
    for _ in range(2):
        last = Path(stem).suffix.lower()
        if last in FORMATS or last in COMPRESSED:
            stem = stem[: -len(last)]
    names = [f"{stem}{suffix}{packed}" for suffix in FORMATS for packed in ("", *COMPRESSED)]
    with explained("look at it", path):
        found = [path.with_name(name) for name in names if path.with_name(name).is_file()]
    folder = path.with_name(stem)
    if is_saved_dataset(folder):
        found.append(folder)
    if len(found) > 1:
        raise BadData(
            f"{path}: is absent, and {', '.join(file.name for file in found)} lie in its place: expected one. Move the "
            "others away, or name all of them in ingest.sources"
        )
    return found[0] if found else None


def table_hash(path: Path) -> str:
    """The SHA-256 of a table's content: of a file, or over the files of a saved folder.

    Raises:
        NoInput: there is none.
    """
    if not is_saved_dataset(path):
        return sha256_file(path)
    return sha256_json([[file.name, sha256_file(file)] for file in _parts(path)])


def read_table(path: Path, *, sha256: str | None = None, dialect: Dialect = AS_FOUND) -> Table:
    """Read a user's table; a bad row is handed back as a reason, a bad file is refused as a whole.

    Args:
        path: a regular file of one of `FORMATS`, compressed or not, or a link to one; or a folder that `datasets` saved.
        sha256: what `table_hash` said, where a record says so already.
        dialect: what the team says of it.

    Raises:
        NoInput: there is no such file.
        AccessDenied, CannotWrite: the operating system refuses, or the disk fails.
        BadData: it is not a regular file, too large, of an unknown kind, not what its name says, or other bytes than
            were recorded.
    """
    if is_saved_dataset(path):
        parts = [(part, _bytes(part)) for part in _parts(path)]
        found = sha256_json([[part.name, sha256_bytes(data)] for part, data in parts])
        if sha256 is not None and found != sha256:
            raise changed_input(path)
        tables = [read_arrow_rows(part, data, dialect) for part, data in parts]
        rows = [row for table in tables for row in table.rows]
        numbered = [row._replace(line=n) for n, row in enumerate(rows, start=1)]
        told = ("it is a folder that datasets saved",)
        names = tables[0].label_names if tables else ()
        return as_asked(path, Table(numbered, told, names), dialect)
    suffix = suffix_of(path)
    if suffix is None:
        raise BadData(
            f"{path}: expected a file that ends in {', '.join(FORMATS)}, with or without {', '.join(COMPRESSED)}"
        )
    data = _bytes(path)
    if sha256 is not None and sha256_bytes(data) != sha256:
        raise changed_input(path)
    reader = FORMATS["." + suffix.split(".")[1]]
    table = reader(path, uncompressed(path, data), dialect)
    if len(table.rows) > ROW_LIMIT:
        raise BadData(
            f"{path}: more than {ROW_LIMIT} rows, which is the most that is read; split it into several"
        )
    return as_asked(path, table, dialect)


def surely_has_rows(path: Path) -> bool:
    """Whether a look at the beginning of a file shows a row, sound or not; False where only reading it tells."""
    lines = {".jsonl": 1, ".ndjson": 1, ".csv": 2, ".tsv": 2}.get(path.suffix.lower())
    if lines is None or reading.kind_of(path) == "device":
        return False
    with explained("read it", path):
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            start = file.read(_LOOK_BYTES)
    filled = [line for line in start.split(b"\n")[:-1] if line.strip(b" \t\r,;|\xef\xbb\xbf")]
    return sum(not line.lower().startswith(b"sep=") for line in filled) >= lines


def _parts(folder: Path) -> list[Path]:
    parts = sorted(folder.glob("*.arrow"))
    if not parts:
        raise NoInput(f"{folder}: holds no .arrow file, expected what datasets saved. Save it again")
    return parts


def _bytes(path: Path) -> bytes:
    try:
        return reading.read_file(path, limit_bytes=FILE_LIMIT_BYTES, follow_links=True)
    except ArtifactCorrupt as error:
        raise BadData(f"{error}. Name a regular file, or split a large one into several") from None
