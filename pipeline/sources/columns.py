"""From a file's own columns to the fields that this project reads."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from pipeline.errors import BadData
from pipeline.rows import Unanswered
from pipeline.sources.presets import PRESETS, Preset
from pipeline.sources.table import AS_FOUND, Dialect, Table, TableRow

_LOOKED_AT = 200
"""Rows whose keys tell what a file is."""
_OTHER_NAMES = {
    "text": ("utterance", "sentence", "query", "message", "content", "question", "input", "body", "title"),
    "label": ("intent", "category", "class", "target", "tag", "answer", "topic", "output"),
    "kind": ("type", "source", "feedback_type"),
}


def as_asked(path: Path, table: Table, dialect: Dialect) -> Table:
    """The table's rows with the fields that this project reads, as the tool that made it and the team name them.

    Raises:
        BadData: a column that the team names is nowhere in the file.
    """
    first = list(islice((row.value for row in table.rows if isinstance(row.value, dict)), _LOOKED_AT))
    keys = list(dict.fromkeys(key for record in first for key in record))
    keys += [c for c in dict.fromkeys(dialect.columns.values()) if c not in keys and _is_anywhere(c, table)]
    preset = None if {"text", "label"} <= _found(keys, dialect).keys() else _preset(keys, first)
    if preset is not None:  # which brings what the tool wraps up
        made = (fields for fields in map(preset.fields, first) if isinstance(fields, dict))
        keys = list(
            dict.fromkeys((*keys, *(key for fields in made for key in fields if fields[key] is not None)))
        )
    columns = _found(keys, dialect)
    told = table.told + _lacking(path, keys, dialect)
    if preset is not None and preset.told not in told and not any("Rasa" in word for word in told):
        told = (*told, preset.told)
    if columns:
        told = (*told, ", ".join(f"{field} is {column!r}" for field, column in columns.items()))
    names = table.label_names or dialect.label_names
    if table.label_names:
        told = (*told, f"its whole-number labels stand for the {len(names)} names that it holds")
    elif names and any(isinstance(record.get(columns.get("label", "label")), int) for record in first):
        told = (*told, f"its whole-number labels are taken for ids of the model's {len(names)} labels")
    rows = [
        row
        if isinstance(row.value, str)
        else TableRow(row.line, _fields(row.value, preset, columns, names, dialect))
        for row in table.rows
    ]
    return Table(rows, told, table.label_names)


def require_fields(
    path: Path, rows: Sequence[TableRow], required: Collection[str], dialect: Dialect = AS_FOUND
) -> None:
    """Refuse a table none of whose rows has a field that each must have.

    Raises:
        BadData: with the columns that were found, and the nearest names among them.
    """
    records = [row.value for row in rows if isinstance(row.value, dict)]
    missing = [name for name in required if records and all(record.get(name) is None for record in records)]
    if not missing:
        return
    found = list(
        dict.fromkeys(key for record in records[:_LOOKED_AT] for key in record if key not in missing)
    )
    raise BadData(f"{path}: {dialect.quoted(_missing(missing, found))}")


def missing_columns(columns: Sequence[str], required: Collection[str], dialect: Dialect) -> str | None:
    """What is wrong with a table of these columns, in words; None where each required field has one.

    Args:
        columns: the table's own names.
        required: the fields that must be there; `kind` only where the dialect has none for all rows.
        dialect: under which other names they may be.
    """
    missing = [
        name
        for name in required
        if name not in columns
        and dialect.columns.get(name) not in columns
        and not (name == "kind" and dialect.kind is not None)
    ]
    return _missing(missing, columns) if missing else None


def _missing(missing: Sequence[str], found: Sequence[str]) -> str:
    settings = []
    for name in missing:
        near = _nearest(name, found)
        if name == "kind":
            settings.append("ingest.kind: correction (or escalation, catalog)")
        else:
            settings.append(f"ingest.columns.{name}: {near or 'COLUMN'}")
    return (
        f"found the columns {', '.join(found) or 'none'}; {' and '.join(missing)} "
        f"{'is' if len(missing) == 1 else 'are'} missing. Set {', '.join(settings)}"
    )


def _is_anywhere(column: str, table: Table) -> bool:
    """Whether any row has it: JSON leaves keys out, and what is found must not depend on the rows' order."""
    return any(column in row.value for row in table.rows if isinstance(row.value, dict))


def _found(keys: Collection[str], dialect: Dialect) -> dict[str, str]:
    """Field to column, of those that the file has under another name."""
    return {field: column for field, column in dialect.columns.items() if column in keys and column != field}


def _lacking(path: Path, keys: Sequence[str], dialect: Dialect) -> tuple[str, ...]:
    """Which columns the team names and the file lacks, in words; one that has the field under its own name lacks none.

    Raises:
        BadData: it is the text's or the label's.
    """
    lacking = [f for f, column in dialect.columns.items() if keys and column not in keys and f not in keys]
    required = [field for field in lacking if field in ("text", "label")]
    named = ", ".join(f"{field}: {dialect.columns[field]}" for field in required or lacking)
    if required:
        raise BadData(
            f"{path}: ingest.columns names {named}, found the columns {dialect.quoted(', '.join(keys))}. Mend ingest.columns"
        )
    return (f"it has none of what ingest.columns names {named}",) if lacking else ()


def _preset(keys: Collection[str], first: list[dict[str, object]]) -> Preset | None:
    return next((preset for preset in PRESETS if preset.found(keys, list(first))), None)


def _fields(
    record: Mapping[str, object],
    preset: Preset | None,
    columns: Mapping[str, str],
    names: Sequence[str],
    dialect: Dialect,
) -> dict[str, object] | str:
    fields = preset.fields(record) if preset is not None else dict(record)
    if isinstance(fields, str):
        return fields
    fields |= {field: record.get(column, fields.get(column)) for field, column in columns.items()}
    label = _one(fields.get("label"))
    if label == []:
        return Unanswered("has no label: its list of labels is empty")
    if isinstance(label, list):
        return f"label: expected one, found {len(label)}"
    if names and isinstance(label, int | float) and not isinstance(label, bool):
        number = int(label) if math.isfinite(label) else -1
        if number != label or not 0 <= number < len(names):
            return f"label: {label} is no id of the {len(names)} labels"
        label = names[number]
    if "label" in fields:
        fields["label"] = label
    if fields.get("kind") is None and dialect.kind is not None:
        fields["kind"] = dialect.kind
    given = fields.get("id")
    if isinstance(given, float) and math.isfinite(given) and given.is_integer():
        fields["id"] = int(given)
    return fields


def _one(value: object) -> object:
    """The only item of a list; other values as they are."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _nearest(name: str, found: Sequence[str]) -> str | None:
    lower = {column.lower(): column for column in found}
    for other in _OTHER_NAMES.get(name, ()):
        if other in lower:
            return lower[other]
    close = get_close_matches(name, list(lower), n=1, cutoff=0.6)
    return lower[close[0]] if close else None
