"""Feedback rows: what a month's labelled row must be, and why a row is refused."""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Literal, cast

from pipeline.floods import Flood, flooding_users, over_the_cap
from pipeline.former_labels import FormerLabels
from pipeline.label_changes import NO_CHANGES, LabelChanges
from pipeline.labels import LabelSet, why_unknown
from pipeline.moments import moment_of
from pipeline.months import Month
from pipeline.near import NearTexts
from pipeline.near_duplicates import NearPolicy, without_near_duplicates
from pipeline.normal_text import normalise
from pipeline.repeated_ids import repeated_ids, repeated_texts
from pipeline.reviewed import NO_DECISIONS, Decisions, decision_on
from pipeline.row_policies import Policy, Spelling, losers, spellings
from pipeline.row_task import MAX_TEXT_CHARACTERS, ONE_LABEL, TEXT_ALONE, RowTask, plain, shown
from pipeline.rows import CheckedRows, Kind, RawRecord, Rejection, Row, UserCap

FEEDBACK_KINDS = ("correction", "escalation", "catalog")

_Rows = list[tuple[RawRecord, Row]]


class _RowProblem(Exception):
    """Why one row is refused."""

    def __init__(self, reason: str, code: str = "fields") -> None:
        super().__init__(reason)
        self.code = code


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
    conflicts: Policy | None = "newest",
    duplicates: Literal["report", "refuse"] = "report",
    near_duplicates: NearPolicy = "ignore",
    cap: UserCap | None = None,
    near: NearTexts | None = None,
    refuse_near: bool = False,
    kept: Callable[[str], str] = str,
    decisions: Decisions = NO_DECISIONS,
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
        conflicts: which rows are kept of a text that has several labels; None for all.
        duplicates: whether a text that occurs again with its label is refused but once.
        near_duplicates: what is done about texts of one label that are nearly the same.
        cap: of one user's rows, where records say whose they are; None for none.
        near: the golden texts, to find rows that are nearly one of them; None to leave that.
        refuse_near: refuse such rows, instead of counting them.
        kept: what is kept of a text, such as without personal data; golden texts must have been through it, too.
        decisions: of a person's review, about rows as their files have them.
    """
    rows: _Rows = []
    texts: dict[str, str] = {}  # to the form in which they are compared
    rejected: list[Rejection] = []
    corrected, left_out = set[tuple[str, int]](), set[tuple[str, int]]()
    nearly_golden, passed_over = set[str](), 0
    former = FormerLabels(changes, labels)
    for record in records:
        try:
            raw = _feedback_row(record, task, month=month)
            row = _keeping(raw, kept) if raw is not None else None
            text = normalise(row.text) if row is not None else ""
            if row is None or (set_aside and text in set_aside):
                passed_over += 1
                continue
            _refuse_golden(row, text, golden_texts, golden_alike)
            decision = decision_on(raw, decisions)
            if decision is not None and not decision.keep:
                left_out.add((record.file, record.line))
                rows.append((record, row))  # so that no older row of its id comes in its place
                continue
            if decision is not None and decision.label is not None:
                corrected.add((record.file, record.line))
                row = _called(row, decision.label)
            nearest = near.nearest_normal(text) if near is not None else None
            if nearest is not None and refuse_near:
                raise _RowProblem(f"is nearly the golden row {shown(nearest)}", "near_golden")
            row = _called(row, _present_label(former(row.label), changes))
            if nearest is not None:
                nearly_golden.add(row.text)
        except _RowProblem as problem:
            rejected.append(_refused(record, problem))
            continue
        rows.append((record, row))
        texts[row.text] = text
    rows = _each_id_once(rows, rejected)
    out = _RowProblem("a person's review leaves it out", "reviewed_out")
    rejected += [_refused(each, out) for each, _ in rows if (each.file, each.line) in left_out]
    rows = [pair for pair in rows if (pair[0].file, pair[0].line) not in left_out]
    rows, spelled = _spelled(rows, former.live, task)
    only_catalog = "only a catalog row may bring a new label"
    brought = labels.extended(_brought(rows, task))
    rows = _known(rows, brought, rejected, task, only_catalog)
    rows, repeated = _without_conflicts(rows, rejected, texts, conflicts, duplicates)
    rows, near_rejected, nearly = without_near_duplicates(rows, texts, near_duplicates)
    rejected += near_rejected
    known = labels.extended(_brought(rows, task))  # without what lost all its rows to another label
    rows = _known(rows, known, rejected, task, only_catalog)
    rows, floods = _within(cap, rows, rejected) if cap is not None else (rows, ())
    ordered = tuple(sorted(rejected, key=lambda r: (r.file, r.line)))
    return CheckedRows(
        tuple(row for _, row in rows),
        known,
        ordered,
        (*former.told, *spelled),
        repeated,
        passed_over,
        sum(row.text in nearly_golden for _, row in rows),
        floods,
        nearly,
        sum((record.file, record.line) in corrected for record, _ in rows),
    )


def _within(cap: UserCap, rows: _Rows, rejected: list[Rejection]) -> tuple[_Rows, tuple[Flood, ...]]:
    """The rows that users may give, and who gave more."""
    given = [record.fields.get("user") if record.fields is not None else None for record, _ in rows]
    users = [None if user in (None, "") else str(user) for user in given]
    floods = tuple(flooding_users(users, cap.share))
    if not floods or not cap.refuses:
        return rows, floods
    beyond = over_the_cap(users, [row.id for _, row in rows], cap.share, seed=cap.seed)
    for place in beyond:
        why = f"user {users[place]!r} gave more than {100 * cap.share:g}% of the month's rows"
        rejected.append(_refused(rows[place][0], _RowProblem(why, "flood")))
    return [pair for place, pair in enumerate(rows) if place not in beyond], floods


def _brought(rows: Iterable[tuple[RawRecord, Row]], task: RowTask) -> Iterator[str]:
    return (name for _, row in rows if row.kind == "catalog" for name in task.labels(row.label))


def _known(
    rows: Iterable[tuple[RawRecord, Row]],
    labels: LabelSet,
    rejected: list[Rejection],
    task: RowTask,
    why: str,
) -> _Rows:
    """The rows whose labels are among these; the others are added to the refused ones."""
    kept = []
    answers = {row.label for _, row in rows}
    known = {answer for answer in answers if all(name in labels for name in task.labels(answer))}
    for record, row in rows:
        if row.label in known:
            kept.append((record, row))
        else:
            rejected.append(
                _refused(record, _RowProblem(f"unknown label {row.label!r}: {why}", "unknown_label"))
            )
    return kept


def _present_label(label: str, changes: LabelChanges) -> str:
    retirement = changes.retired(label)
    if retirement is not None:
        raise _RowProblem(
            f"retired label {label!r}: it is not trained on since {retirement.since}", "retired_label"
        )
    return changes.name_of(label)


def check_launch(
    records: Iterable[RawRecord],
    *,
    month: Month,
    golden_texts: Collection[str],
    golden_alike: Collection[str] = (),
    labels: LabelSet | None = None,
    task: RowTask = ONE_LABEL,
    conflicts: Policy = "newest",
    duplicates: Literal["report", "refuse"] = "report",
    near_duplicates: NearPolicy = "ignore",
    kept: Callable[[str], str] = str,
) -> CheckedRows:
    """Turn raw launch records (`text`, `label`, `id` optional) into rows.

    Args:
        golden_texts, golden_alike: as for `check_feedback`.
        labels: the label set of an adopted checkpoint; None when the rows define it (sorted by name).
        task, conflicts, duplicates, near_duplicates, kept: as for `check_feedback`.
    """
    rows: _Rows = []
    texts: dict[str, str] = {}  # to the form in which they are compared
    rejected: list[Rejection] = []
    for record in records:
        try:
            fields = _fields(record)
            row = _keeping(_row(fields, task, kind="launch", created_at=_written(month.start)), kept)
            text = normalise(row.text)
            _refuse_golden(row, text, golden_texts, golden_alike)
        except _RowProblem as problem:
            rejected.append(_refused(record, problem))
            continue
        rows.append((record, row))
        texts[row.text] = text
    rows = _each_id_once(rows, rejected)
    rows, spelled = _spelled(rows, labels or LabelSet(()), task)
    if labels is not None:
        rows = _known(rows, labels, rejected, task, why_unknown(labels))
    rows, repeated = _without_conflicts(rows, rejected, texts, conflicts, duplicates)
    rows, near_rejected, nearly = without_near_duplicates(rows, texts, near_duplicates)
    rejected += near_rejected
    named = (name for _, row in rows for name in task.labels(row.label))
    known = labels if labels is not None else LabelSet(()).extended(named)
    ordered = tuple(sorted(rejected, key=lambda r: (r.file, r.line)))
    return CheckedRows(
        tuple(row for _, row in rows), known, ordered, spelled, repeated, near_duplicates=nearly
    )


def _refused(record: RawRecord, problem: _RowProblem) -> Rejection:
    return Rejection(record.file, record.line, str(problem), record.fields, problem.code)


def _spelled(rows: _Rows, known: LabelSet, task: RowTask) -> tuple[_Rows, tuple[Spelling, ...]]:
    """The rows under the spelling of their labels that counts, and the spellings that were read as another."""
    named = [row.label for _, row in rows if task.labels(row.label) == (row.label,)]
    right = spellings(named, known)
    counts = Counter(named)
    told = tuple(sorted(Spelling(wrong, label, counts[wrong]) for wrong, label in right.items()))
    return [(record, _called(row, right.get(row.label, row.label))) for record, row in rows], told


def _keeping(row: Row, kept: Callable[[str], str]) -> Row:
    text = kept(row.text)
    return row if text == row.text else replace(row, text=text)


def _called(row: Row, label: str) -> Row:
    return row if label == row.label else replace(row, label=label)


def _without_conflicts(
    rows: _Rows,
    rejected: list[Rejection],
    normal: Mapping[str, str],
    conflicts: Policy | None,
    duplicates: Literal["report", "refuse"],
) -> tuple[_Rows, int]:
    """The rows without those that lose against another label of the same text, and how many of them come again."""
    texts = [normal[row.text] for _, row in rows]
    lost = dict(
        losers(
            range(len(rows)),
            text=lambda place: texts[place],
            label=lambda place: rows[place][1].label,
            moment=lambda place: rows[place][1].created_at,
            policy=conflicts,
        )
    )
    rejected += [_refused(rows[place][0], _RowProblem(why, "conflict")) for place, why in lost.items()]
    left = [place for place in range(len(rows)) if place not in lost]
    again = repeated_texts([rows[place][1] for place in left], [texts[place] for place in left])
    if duplicates == "report":
        return [rows[place] for place in left], len(again)
    for place, kept in again.items():
        other = rows[left[kept]][0]
        where = f"the same text and label as {other.file} line {other.line}"
        rejected.append(_refused(rows[left[place]][0], _RowProblem(where, "duplicate")))
    return [rows[of] for place, of in enumerate(left) if place not in again], 0


def check_sequences(records: Iterable[RawRecord], *, task: RowTask = TEXT_ALONE) -> CheckedRows:
    """Turn raw records (what the task asks for, `id` optional) into rows without a month, for a Fisher by hand."""
    rows: _Rows = []
    rejected: list[Rejection] = []
    for record in records:
        try:
            fields = _fields(record)
            text, answer = _content(fields, task)
            row = Row(_row_id(fields, text), "", "launch", text, answer)
        except _RowProblem as problem:
            rejected.append(_refused(record, problem))
            continue
        rows.append((record, row))
    rows = _each_id_once(rows, rejected)
    ordered = tuple(sorted(rejected, key=lambda r: (r.file, r.line)))
    return CheckedRows(tuple(row for _, row in rows), LabelSet(()), ordered)


def _feedback_row(record: RawRecord, task: RowTask, *, month: Month) -> Row | None:
    fields = _fields(record)
    moment = _created_at(fields)
    if moment is not None and moment not in month:
        if not record.of_one_month:
            return None
        raise _RowProblem(f"created_at {_written(moment)} is outside {month} (UTC)", "month")
    if moment is None and not record.of_one_month:
        raise _RowProblem("created_at is absent, and the source's path does not name the month", "month")
    kind = fields.get("kind")
    if kind not in FEEDBACK_KINDS:
        raise _RowProblem(f"kind: expected one of {', '.join(FEEDBACK_KINDS)}, found {shown(kind)}")
    return _row(fields, task, kind=cast(Kind, kind), created_at=_written(moment or month.start))


def written_row(record: RawRecord, *, month: Month, task: RowTask = ONE_LABEL) -> Row | None:
    """A row just as its file has it, before anything is judged; None for a record that is no row of the month."""
    try:
        return _feedback_row(record, task, month=month)
    except _RowProblem:
        return None


def _fields(record: RawRecord) -> Mapping[str, object]:
    if record.fields is None:
        raise _RowProblem(record.problem, record.code)
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
    try:
        return moment_of(value)
    except ValueError as problem:
        raise _RowProblem(f"created_at: {problem}, found {shown(value)}") from None


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def texts_of(records: Iterable[RawRecord]) -> list[str]:
    """The texts of raw records, as rows would have them; those of records that cannot be a row are left out."""
    texts = [record.fields.get("text") for record in records if record.fields is not None]
    return [plain(text) for text in texts if isinstance(text, str) and len(text) <= MAX_TEXT_CHARACTERS]


def _refuse_golden(row: Row, text: str, golden_texts: Collection[str], golden_alike: Collection[str]) -> None:
    if text in golden_texts:
        raise _RowProblem("the text is a golden row; training on it would spoil the test", "golden")
    if row.text in golden_alike:
        raise _RowProblem(
            "the text is a golden row to the model, which reads the same tokens; training on it would spoil the test",
            "golden",
        )


def _each_id_once(rows: _Rows, rejected: list[Rejection]) -> _Rows:
    """The rows of which no other with the same id is kept instead; those are added to the refused ones."""
    repeated = repeated_ids([row for _, row in rows])
    for place, kept in repeated.items():
        (record, row), (first, _) = rows[place], rows[kept]
        given = record.fields is not None and record.fields.get("id") not in (None, "")
        what = f"id {row.id!r}" if given else "the same row without an id"
        problem = _RowProblem(f"{what} repeats {first.file} line {first.line}", "repeated_id")
        rejected.append(_refused(record, problem))
    return [pair for place, pair in enumerate(rows) if place not in repeated]
