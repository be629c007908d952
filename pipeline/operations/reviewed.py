"""Take back the sheet of a review: its decisions, kept where ingest reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pipeline.labels import LabelSet
from pipeline.normal_text import normalise
from pipeline.operations.review_rows import RowsUnderReview, rows_under_review
from pipeline.operations.review_sheet import Returned, read_sheet, refuse
from pipeline.recorded.decisions import decisions_file, read_decisions, write_decisions
from pipeline.reviewed import Decision
from pipeline.row_policies import spellings
from pipeline.row_task import shown
from pipeline.rows import Row
from pipeline.stages.links import shown_path
from pipeline.stages.stage import RunContext


@dataclass(frozen=True)
class TakenBack:
    """What a month's decisions are after a sheet was taken back.

    Attributes:
        file: where they lie, seen from the workspace.
        rows: of the sheet.
        corrected, left_out: rows of the month that get another label, and that are not learned.
        changed: whether they are others than before.
    """

    file: str
    rows: int
    corrected: int
    left_out: int
    changed: bool


def take_back(context: RunContext, sheet: Path) -> TakenBack:
    """Take over what a sheet says of a month's rows, all of it or nothing; what it does not name stays as decided before.

    Raises:
        NoInput: there is no such sheet, or no feedback.
        BadData: it names a row, label or month that is not there, or contradicts itself.
    """
    returned = read_sheet(sheet)
    month = rows_under_review(context)
    rows = {row.id: row for row in month.rows}
    problems: list[str] = []
    said: dict[str, tuple[str | None, bool]] = {}
    for one in returned:
        problem = _problem(context, one, rows.get(one.id))
        label = None
        if problem is None and one.corrected:
            label, problem = _label(context, month, one.corrected)
        if problem is not None:
            problems.append(f"line {one.line}: {problem}")
            continue
        # of a row that is left out no label is learned
        decided = (label if one.keep and label != rows[one.id].label else None, one.keep)
        if said.setdefault(one.id, decided) != decided:
            problems.append(f"line {one.line}: id {shown(one.id)} stands twice, and is decided differently")
    refuse(sheet, problems)
    file = decisions_file(context.workspace, context.config, context.month)
    before = read_decisions(file)
    after = dict(before)
    for row_id, (label, keep) in said.items():
        after.pop(row_id, None)
        if label is not None or not keep:
            after[row_id] = Decision(row_id, month.fingerprints[row_id], label, keep)
    refuse(sheet, _labels_lost(month, after))
    if after != before:
        write_decisions(file, after.values())
    return TakenBack(
        file=shown_path(context.workspace, file),
        rows=len(returned),
        corrected=sum(decision.keep for decision in after.values()),
        left_out=sum(not decision.keep for decision in after.values()),
        changed=after != before,
    )


def _problem(context: RunContext, one: Returned, row: Row | None) -> str | None:
    """Why a row of a sheet is not about a row of the month; None where it is."""
    if one.month != str(context.month):
        return f"month: expected {context.month}, found {shown(one.month)}: is it another month's review?"
    if row is None:
        return f"id {shown(one.id)} is no row of {context.month} that can be learned"
    if normalise(one.text) != normalise(row.text):
        return f"text of id {shown(one.id)}: expected {shown(row.text)}, as the feedback has it, found {shown(one.text)}"
    if one.label != row.label:
        return (
            f"label of id {shown(one.id)}: expected {shown(row.label)}, as the feedback has it, found {shown(one.label)}; "
            "another label belongs in corrected_label"
        )
    return None


def _label(context: RunContext, month: RowsUnderReview, written: str) -> tuple[str | None, str | None]:
    """The label that a person means, or why there is none."""
    label = context.label_changes.name_of(written)
    label = spellings([label], LabelSet(month.labels)).get(label, label)
    if label in month.labels:
        return label, None
    near = get_close_matches(written, month.labels, n=1)
    meant = f"; the nearest is {near[0]!r}" if near else f", such as {', '.join(map(repr, month.labels[:3]))}"
    return (
        None,
        f"corrected_label: expected one of the {len(month.labels)} labels{meant}; found {shown(written)}",
    )


def _labels_lost(month: RowsUnderReview, decisions: Mapping[str, Decision]) -> Sequence[str]:
    """The rows that nobody could learn any more, as the decisions take away what brings their label."""
    earlier = {(r.file, r.line) for r in month.judge(conflicts=None).rejected}
    after = month.judge(conflicts=None, decisions=decisions).rejected
    return [
        f"{r.file} line {r.line}: {r.reason}, and the review leaves none"
        for r in after
        if r.code == "unknown_label" and (r.file, r.line) not in earlier
    ]
