"""Feedback rows: what a month's labelled row must be, and why a row is refused."""

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, cast

from pipeline.label_changes import NO_CHANGES, LabelChanges
from pipeline.labels import LabelSet
from pipeline.months import Month
from pipeline.row_task import MAX_TEXT_CHARACTERS, ONE_LABEL, TEXT_ALONE, RowTask, shown

Kind = Literal["correction", "escalation", "catalog", "launch"]
FEEDBACK_KINDS = ("correction", "escalation", "catalog")
_MEANT = "%#&@"
"""Punctuation, by its category, that says something: 5% is not 5, C# not C."""

_UNSEEN = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0}.union(
        range(0x180B, 0x1810), range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0)
    )
)
"""What no reader sees, beside the format characters (Cf): fillers, joiners and variation selectors."""


class _Seen(dict[int, str | None]):
    """For `str.translate`: drops the characters that nobody sees, found when they are first met."""

    def __missing__(self, code: int) -> str | None:
        unseen = code in _UNSEEN or unicodedata.category(chr(code)) == "Cf"
        self[code] = None if unseen else chr(code)
        return self[code]


class _Spaced(dict[int, str]):
    """For `str.translate`: makes spaces of punctuation, controls and separators, found when they are first met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        meant = category[0] not in "CZP" or character in _MEANT
        self[code] = character if meant else " "
        return self[code]


_SEEN, _SPACED = _Seen(), _Spaced()
_DECIMAL, _MINUS = "\N{DECIMAL SEPARATOR KEY SYMBOL}", "\N{MINUS SIGN}"
"""Stand for the marks that make another number; both are symbols, which stay."""
_FRACTION = re.compile(r"(?<![\d.,])(\d+)[.,](?=\d+(?![.,]?\d))|(?<![\w.,])\.(?=\d+(?![.,]?\d))")
_NEGATIVE = re.compile(r"(?<![\w.,])[-\u2010-\u2015](?=\.?\d)")


@dataclass(frozen=True, slots=True)
class Row:
    """A text and the answer to it, a label. `created_at` is ISO 8601 in UTC; `kind` is `launch` for launch data."""

    id: str
    created_at: str
    kind: Kind
    text: str
    label: str

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same row in another month: id and text; exports may number each month from 1."""
        return self.id, self.text


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One raw row as it was read.

    Attributes:
        file: as messages name it.
        fields: None where it could not be read; `problem` says why.
        of_one_month: whether its file is one month's alone. Where it is not, rows of other months are passed
            over instead of refused, and a row without a time is refused.
    """

    file: str
    line: int
    fields: Mapping[str, object] | None
    problem: str = ""
    of_one_month: bool = True


@dataclass(frozen=True, slots=True)
class Rejection:
    """A refused row: where it stands and why; `retired` where it is sound but for a label that is retired."""

    file: str
    line: int
    reason: str
    fields: Mapping[str, object] | None = None
    retired: bool = False


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """The rows that can be used, the label set with what they bring, and the refused ones."""

    rows: tuple[Row, ...]
    labels: LabelSet
    rejected: tuple[Rejection, ...]


class _RowProblem(Exception):
    """Why one row is refused."""


class _RetiredLabel(_RowProblem):
    """The row is sound, but its label is retired."""


def normalise(text: str) -> str:
    """A text as compared with golden rows: what a reader would call the same text is the same.

    NFKC, casefolded, without characters that nobody sees (zero-width, soft hyphens, directions, variation selectors),
    punctuation as spaces, single spaces. Letters' marks and symbols stay, as "5 + 3" is not "5 3" and a vowel sign makes
    another word. So do the marks of a number: -5 is not 5, nor 3.5 the same as 3 5, while 3,5 is 3.5; marks that only
    group digits, as in dates, times, versions and millions, are punctuation. A text of nothing but punctuation stays as
    it is.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    seen = unicodedata.normalize("NFKC", folded.translate(_SEEN))
    numbers = _FRACTION.sub(rf"\g<1>{_DECIMAL}", _NEGATIVE.sub(_MINUS, seen))
    spaced = unicodedata.normalize("NFKC", numbers.translate(_SPACED))
    return " ".join(spaced.split()) or text.strip()


def check_feedback(
    records: Iterable[RawRecord],
    *,
    month: Month,
    labels: LabelSet,
    golden_texts: Collection[str],
    golden_alike: Collection[str] = (),
    set_aside: Collection[str] = (),
    changes: LabelChanges = NO_CHANGES,
    task: RowTask = ONE_LABEL,
) -> CheckedRows:
    """Turn a month's raw records into rows, refusing what cannot be trained on.

    A correction or escalation must carry a known label: one of `labels`, or one that a catalog row
    among the same records brings.

    Args:
        records: raw rows in file order.
        month: the month that the rows must lie in.
        labels: the label set of the base checkpoint, under present names.
        golden_texts: normalised golden texts; a row that matches one is refused.
        golden_alike: texts that are golden rows to the model, as their tokens are the same; refused, too.
        set_aside: normalised texts of rows that the month itself made golden; they are passed over.
        changes: of labels; rows under an old name get the present one, rows of retired labels are refused.
        task: what a row must hold.
    """
    rows: list[tuple[RawRecord, Row]] = []
    rejected: list[Rejection] = []
    seen_ids: dict[str, RawRecord] = {}
    for record in records:
        try:
            row = _feedback_row(record, task, month=month)
            if row is None or (set_aside and normalise(row.text) in set_aside):
                continue
            _refuse_golden(row, golden_texts, golden_alike)
            _refuse_repeated(row, record, seen_ids)
            row = replace(row, label=_present_label(row, changes))
        except _RowProblem as problem:
            retired = isinstance(problem, _RetiredLabel)
            rejected.append(Rejection(record.file, record.line, str(problem), record.fields, retired))
            continue
        rows.append((record, row))
    known = labels.extended(
        name for _, row in rows if row.kind == "catalog" for name in task.labels(row.label)
    )
    accepted: list[Row] = []
    for record, row in rows:
        if all(name in known for name in task.labels(row.label)):
            accepted.append(row)
        else:
            rejected.append(
                Rejection(
                    record.file,
                    record.line,
                    f"unknown label {row.label!r}: only a catalog row may bring a new label",
                    record.fields,
                )
            )
    return CheckedRows(tuple(accepted), known, tuple(sorted(rejected, key=lambda r: (r.file, r.line))))


def present_rows(rows: Iterable[Row], changes: LabelChanges) -> list[Row]:
    """Rows of earlier months as they count now: under present names, without those of retired labels."""
    return [
        replace(row, label=changes.name_of(row.label)) for row in rows if changes.retired(row.label) is None
    ]


def _present_label(row: Row, changes: LabelChanges) -> str:
    retirement = changes.retired(row.label)
    if retirement is not None:
        raise _RetiredLabel(f"retired label {row.label!r}: it is not trained on since {retirement.since}")
    return changes.name_of(row.label)


def check_launch(
    records: Iterable[RawRecord],
    *,
    month: Month,
    golden_texts: Collection[str],
    golden_alike: Collection[str] = (),
    labels: LabelSet | None = None,
    task: RowTask = ONE_LABEL,
) -> CheckedRows:
    """Turn raw launch records (`text`, `label`, `id` optional) into rows.

    Args:
        golden_texts, golden_alike: as for `check_feedback`.
        labels: the label set of an adopted checkpoint; None when the rows define it (sorted by name).
        task: what a row must hold.
    """
    rows: list[Row] = []
    rejected: list[Rejection] = []
    seen_ids: dict[str, RawRecord] = {}
    for record in records:
        try:
            fields = _fields(record)
            row = _row(fields, task, kind="launch", created_at=_written(month.start))
            if labels is not None and not all(name in labels for name in task.labels(row.label)):
                raise _RowProblem(f"unknown label {row.label!r}: {_known_instead(labels)}")
            _refuse_golden(row, golden_texts, golden_alike)
            _refuse_repeated(row, record, seen_ids)
        except _RowProblem as problem:
            rejected.append(Rejection(record.file, record.line, str(problem), record.fields))
            continue
        rows.append(row)
    known = (
        labels
        if labels is not None
        else LabelSet(()).extended(name for row in rows for name in task.labels(row.label))
    )
    return CheckedRows(tuple(rows), known, tuple(rejected))


def _known_instead(labels: LabelSet) -> str:
    if not labels.unnamed:
        return "the checkpoint's label2id does not have it"
    return (
        f"the checkpoint calls its labels {labels.names[0]} to {labels.names[-1]}. Either nobody named them (write "
        "id2label and label2id into its config.json), or it has no classification head: then name it as model.base and "
        "launch without --checkpoint"
    )


def check_sequences(records: Iterable[RawRecord], *, task: RowTask = TEXT_ALONE) -> CheckedRows:
    """Turn raw records (what the task asks for, `id` optional) into rows without a month, for a Fisher by hand."""
    rows: list[Row] = []
    rejected: list[Rejection] = []
    seen_ids: dict[str, RawRecord] = {}
    for record in records:
        try:
            fields = _fields(record)
            text, answer = _content(fields, task)
            row = Row(_row_id(fields, text), "", "launch", text, answer)
            _refuse_repeated(row, record, seen_ids)
        except _RowProblem as problem:
            rejected.append(Rejection(record.file, record.line, str(problem), record.fields))
            continue
        rows.append(row)
    return CheckedRows(tuple(rows), LabelSet(()), tuple(rejected))


def _feedback_row(record: RawRecord, task: RowTask, *, month: Month) -> Row | None:
    fields = _fields(record)
    moment = _created_at(fields)
    if moment is not None and moment not in month:
        if not record.of_one_month:
            return None
        raise _RowProblem(f"created_at {_written(moment)} is outside {month} (UTC)")
    if moment is None and not record.of_one_month:
        raise _RowProblem("created_at is absent, and the source's path does not name the month")
    kind = fields.get("kind")
    if kind not in FEEDBACK_KINDS:
        raise _RowProblem(f"kind: expected one of {', '.join(FEEDBACK_KINDS)}, found {shown(kind)}")
    return _row(fields, task, kind=cast(Kind, kind), created_at=_written(moment or month.start))


def _fields(record: RawRecord) -> Mapping[str, object]:
    if record.fields is None:
        raise _RowProblem(record.problem)
    return record.fields


def _content(fields: Mapping[str, object], task: RowTask) -> tuple[str, str]:
    problem = task.problem(fields)
    if problem is not None:
        raise _RowProblem(problem)
    return task.read(fields)


def _row(fields: Mapping[str, object], task: RowTask, *, kind: Kind, created_at: str) -> Row:
    text, label = _content(fields, task)
    return Row(_row_id(fields, kind, created_at, text, label), created_at, kind, text, label)


def _row_id(fields: Mapping[str, object], *content: str) -> str:
    """The id that a row brings, or a hash of its content."""
    row_id = fields.get("id")
    if row_id is None or row_id == "":
        row_id = hashlib.sha256("\0".join(content).encode()).hexdigest()[:16]
    if not isinstance(row_id, str | int):
        raise _RowProblem(f"id: expected text, found {shown(row_id)}")
    return str(row_id)


def _created_at(fields: Mapping[str, object]) -> datetime | None:
    value = fields.get("created_at")
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise _RowProblem(f"created_at: expected ISO 8601, found {shown(value)}") from None
    else:
        raise _RowProblem(f"created_at: expected ISO 8601, found {shown(value)}")
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise _RowProblem(f"created_at: {shown(value)} is out of range in UTC") from None


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def texts_of(records: Iterable[RawRecord]) -> list[str]:
    """The texts of raw records, as rows would have them; those of records that cannot be a row are left out."""
    texts = [record.fields.get("text") for record in records if record.fields is not None]
    return [text.strip() for text in texts if isinstance(text, str) and len(text) <= MAX_TEXT_CHARACTERS]


def _refuse_golden(row: Row, golden_texts: Collection[str], golden_alike: Collection[str]) -> None:
    if normalise(row.text) in golden_texts:
        raise _RowProblem("the text is a golden row; training on it would spoil the test")
    if row.text in golden_alike:
        raise _RowProblem(
            "the text is a golden row to the model, which reads the same tokens; training on it would spoil the test"
        )


def _refuse_repeated(row: Row, record: RawRecord, seen: dict[str, RawRecord]) -> None:
    first = seen.setdefault(row.id, record)
    if first is not record:
        assert record.fields is not None
        what = f"id {row.id!r}" if record.fields.get("id") not in (None, "") else "the same row without an id"
        raise _RowProblem(f"{what} repeats {first.file} line {first.line}")
