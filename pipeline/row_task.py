"""What the rows of a task hold, without a model: what is read, what is to be answered, which labels an answer names.

Ingest, golden sets and replay use this half of a task; the other half, which needs torch, is in `pipeline/modeling/task.py`.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.masking import shortened

MAX_TEXT_CHARACTERS = 20_000
MAX_LABEL_CHARACTERS = 200
MAX_SEQUENCE_CHARACTERS = 1_000_000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
Fields = Mapping[str, object]


@dataclass(frozen=True)
class RowTask:
    """The row half of a task, as a record of functions. A new one writes these and is named in its `Task`.

    Attributes:
        fields: the fields that a row must have, as text that is not empty.
        problem: why a row with these fields cannot be learned; None where it can.
        read: a row without a problem to the text that is read and the answer to it.
        labels: an answer to the labels that it names, which the model must know; () where answers are free text.
    """

    fields: tuple[str, ...]
    problem: Callable[[Fields], str | None]
    read: Callable[[Fields], tuple[str, str]]
    labels: Callable[[str], tuple[str, ...]]

    def group(self, answer: str) -> str:
        """What makes rows alike, so that a memory holds some of each: the labels that their answers name."""
        return "\0".join(self.labels(answer))


def plain(text: str) -> str:
    """A text or label as it is kept: without white space around it, its characters composed (NFC)."""
    return text.strip() if text.isascii() else unicodedata.normalize("NFC", text.strip())


def text_problem(fields: Fields, name: str, limit: int) -> str | None:
    """Why a field cannot be a row's text of at most `limit` characters; None where it can."""
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        return f"{name}: expected text that is not empty, found {shown(value)}"
    if len(value) > limit:
        return f"{name}: {len(value)} characters, at most {limit}"
    return None


def label_problem(label: str) -> str | None:
    """Why a text cannot be a label's name; None where it can."""
    if not label.strip() or label != label.strip():
        return "expected text that is not empty, without white space around it"
    if len(label) > MAX_LABEL_CHARACTERS:
        return f"{len(label)} characters, at most {MAX_LABEL_CHARACTERS}"
    if _CONTROL.search(label) or "\n" in label or "\t" in label:
        return "holds a control character"
    return None


def shown(value: object) -> str:
    """A value as messages show it, at most 60 characters."""
    return shortened(repr(value), 60)


def _one_label_problem(fields: Fields) -> str | None:
    problem = text_problem(fields, "text", MAX_TEXT_CHARACTERS) or text_problem(
        fields, "label", MAX_LABEL_CHARACTERS
    )
    if problem is not None:
        return problem
    problem = label_problem(str(fields["label"]).strip())
    return None if problem is None else f"label: {problem}"


ONE_LABEL = RowTask(
    fields=("text", "label"),
    problem=_one_label_problem,
    read=lambda fields: (plain(str(fields["text"])), plain(str(fields["label"]))),
    labels=lambda answer: (answer,),
)
"""`text` and one `label` of a set that catalog rows extend."""

TEXT_ALONE = RowTask(
    fields=("text",),
    problem=lambda fields: text_problem(fields, "text", MAX_SEQUENCE_CHARACTERS),
    read=lambda fields: (plain(str(fields["text"])), ""),
    labels=lambda answer: (),
)
"""`text` that a language model or a tagger reads: enough for a Fisher, whose answers are drawn from the model."""
