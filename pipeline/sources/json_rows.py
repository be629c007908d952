"""JSON: an object a line, an array of objects, or what a labelling tool wraps around one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import BadData
from pipeline.masking import shortened
from pipeline.sources.table import LINE_LIMIT_BYTES, Dialect, Table, TableRow
from pipeline.sources.text import NOT_UTF_8, decoded, is_text
from pipeline.store import strict_json


def read_json_lines(path: Path, data: bytes, dialect: Dialect) -> Table:
    """One strict JSON object a line; blank lines and a byte order mark are passed over. An array is read as one, too."""
    text, encoding = decoded(path, data, dialect.encoding)
    if text.lstrip()[:1] == "[" and text.rstrip()[-1:] == "]" and _is_array(text):
        return read_json(path, data, dialect)
    told = () if encoding == "utf-8" else (f"its encoding is {encoding}",)
    return Table(list(_lines(text)), told)


def read_json(path: Path, data: bytes, dialect: Dialect) -> Table:
    """An array of objects, an object with one in it (Rasa's training data), or an object a line.

    Raises:
        BadData: it is none of these.
    """
    text, _ = decoded(path, data, dialect.encoding)
    start = text.lstrip()[:1]
    if start == "{" and not _is_one_object(text):
        return read_json_lines(path, data, dialect)
    try:
        value = strict_json.parse(text) if is_text(text) else None
    except ValueError as error:
        raise BadData(f"{path}: {error}") from None
    if value is None and not is_text(text):
        raise BadData(f"{path}: is {NOT_UTF_8}")
    told: tuple[str, ...] = ()
    if isinstance(value, dict):
        value, told = _wrapped(path, value, dialect)
    if not isinstance(value, list):
        raise BadData(
            f"{path}: expected an array of objects or an object a line, found {type(value).__name__}"
        )
    rows = [
        TableRow(n, item if isinstance(item, dict) else f"expected an object, found {type(item).__name__}")
        for n, item in enumerate(value, start=1)
    ]
    return Table(rows, told)


def _is_array(text: str) -> bool:
    try:
        return isinstance(strict_json.parse(text), list) and "{" in text
    except ValueError:
        return False


def _wrapped(path: Path, value: dict[str, object], dialect: Dialect) -> tuple[object, tuple[str, ...]]:
    rasa = value.get("rasa_nlu_data")
    if isinstance(rasa, dict):
        return rasa.get("common_examples"), ("it is Rasa's training data: intents are the labels",)
    if isinstance(value.get("data"), list):
        return value["data"], ('its rows are under the key "data"',)
    if "text" in value or "fields" in value:
        return [value], ()
    raise BadData(
        f"{path}: expected an array of objects, found an object with the keys "
        f"{shortened(dialect.quoted(', '.join(value)), 80)}"
    )


def _is_one_object(text: str) -> bool:
    first, _, rest = text.strip().partition("\n")
    if not rest.strip():
        return True
    try:
        strict_json.parse(first)
    except ValueError:
        return True
    return False


def _lines(text: str) -> Iterator[TableRow]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield TableRow(number, json_record(line))


def json_record(line: str) -> dict[str, object] | str:
    """The object that a line holds, or why there is none."""
    if len(line) > LINE_LIMIT_BYTES:
        return f"a line of {len(line)} characters; at most {LINE_LIMIT_BYTES} are read"
    if not is_text(line):
        return NOT_UTF_8
    try:
        value = strict_json.parse(line)
    except ValueError as error:
        return str(error)
    if not isinstance(value, dict):
        return f"expected a JSON object, found {type(value).__name__}"
    return value
