"""Rasa's NLU training data in YAML: intents with examples."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import BadData
from pipeline.masking import shortened
from pipeline.sources.table import Dialect, Table, TableRow
from pipeline.sources.text import NOT_UTF_8, decoded, is_text

_ENTITY = re.compile(r"\[([^\]]+)\](?:\([^)]*\)|\{[^}]*\})")
"""How an example marks an entity: `[Rome](city)` is read as `Rome`."""


class _NoAliases(yaml.SafeLoader):
    """Without aliases: a few lines of them stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("holds an alias, which training data does not need")
        return super().compose_node(parent, index)


def read_rasa(path: Path, data: bytes, dialect: Dialect) -> Table:
    """Each example as a row with its intent as the label; the line is the row's number.

    Raises:
        BadData: it is no Rasa NLU file.
    """
    text, _ = decoded(path, data, dialect.encoding)
    if not is_text(text):
        raise BadData(f"{path}: is {NOT_UTF_8}")
    try:
        content = yaml.load(text, Loader=_NoAliases)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadData(f"{path}: not YAML: {shortened(dialect.quoted(str(error)), 200)}") from None
    blocks = content.get("nlu") if isinstance(content, dict) else None
    if not isinstance(blocks, list):
        raise BadData(f"{path}: expected Rasa's NLU data (a list under nlu), found none")
    rows: list[TableRow] = []
    others = 0
    for block in blocks:
        if not isinstance(block, dict) or "intent" not in block:
            others += 1  # synonyms, lookups, regular expressions
            continue
        for example in _examples(block.get("examples")):
            plain = _ENTITY.sub(r"\1", example) if isinstance(example, str) else example
            intent = block["intent"]
            rows.append(TableRow(len(rows) + 1, {"text": plain, "intent": intent, "label": intent}))
    told = ["it is Rasa's training data: intents are the labels"]
    if others:
        told.append(f"{others} block(s) of synonyms and the like are no rows")
    return Table(rows, tuple(told))


def _examples(value: object) -> list[object]:
    if isinstance(value, str):
        return [line.strip().removeprefix("-").strip() for line in value.splitlines() if line.strip()]
    if isinstance(value, list):
        return [item.get("text") if isinstance(item, dict) else item for item in value]
    return []
