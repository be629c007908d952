"""A month's rows as a review sees them: all that could be learned, whatever the team's policies leave out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from pipeline.feedback import check_feedback, texts_of, written_row
from pipeline.label_changes import LabelChanges
from pipeline.labels import LabelSet
from pipeline.masking import Masking
from pipeline.near import NearTexts
from pipeline.normal_text import normalise
from pipeline.recorded.checkpoint_labels import checkpoint_labels
from pipeline.recorded.golden_sets import read_golden
from pipeline.reviewed import fingerprint
from pipeline.rows import CheckedRows, Row
from pipeline.sources.table import dialect_of
from pipeline.stages.as_tokens import models_eye
from pipeline.stages.feedback_files import feedback_files, patterns_of, read_records
from pipeline.stages.ingest import golden_of
from pipeline.stages.stage import RunContext


@dataclass(frozen=True)
class RowsUnderReview:
    """The rows of one month's own files.

    Attributes:
        rows: under present names and as they are kept, in file order; conflicts and repetitions included.
        users: who gave each, where the files say so.
        fingerprints: of each row as its file has it, by id.
        labels: what a row may be labelled: what the model knows and catalog rows bring, without closed labels.
        golden: the golden rows, to find rows that are nearly one of them; None without any.
        judge: `check_feedback` of the same records, with policies of one's own.
    """

    rows: tuple[Row, ...]
    users: tuple[str | None, ...]
    fingerprints: dict[str, str]
    labels: tuple[str, ...]
    golden: NearTexts | None
    judge: Callable[..., CheckedRows]


def rows_under_review(context: RunContext) -> RowsUnderReview:
    """Read and judge a month's own files, without the policies that choose among sound rows.

    Raises:
        NoInput: there are none. BadData: one cannot be read, or a golden set is damaged.
    """
    assert context.base is not None
    workspace, config, month = context.workspace, context.config, context.month
    changes = context.label_changes
    known = changes.renamed(checkpoint_labels(workspace.root / context.base.path))
    dialect = replace(dialect_of(config), label_names=known.names)
    records = [
        record
        for file, of_one_month in feedback_files(workspace, patterns_of(config), month).items()
        for record in read_records(
            file,
            name=workspace.name_of(file),
            of_one_month=of_one_month,
            dialect=dialect,
            required=(*context.task.fields, "kind"),
        )
    ]
    kept = Masking(config.ingest.mask)
    sets = [
        read_golden(file, name=str(of), task=context.task, dialect=dialect_of(config))
        for of, file in golden_of(context).items()
    ]
    tested = [kept(row.text) for each in sets for row in each.rows]
    judge: Callable[..., CheckedRows] = partial(
        check_feedback,
        records,
        month=month,
        labels=known,
        golden_texts={normalise(text) for text in tested},
        golden_alike=models_eye(context).same(map(kept, texts_of(records)), tested),
        changes=changes,
        task=context.task,
        kept=kept,
    )
    sound = judge(conflicts=None)
    written: dict[str, list[tuple[Row, str | None]]] = {}
    for record in records:
        row = written_row(record, month=month, task=context.task)
        if row is not None and record.fields is not None:
            user = record.fields.get("user")
            named = None if user in (None, "") else str(user)
            written.setdefault(row.id, []).append((row, named))
    own = [_counting(row, written[row.id], kept, changes) for row in sound.rows]
    return RowsUnderReview(
        rows=sound.rows,
        users=tuple(user for _, user in own),
        fingerprints={row.id: fingerprint(row) for row, _ in own},
        labels=_open(context, sound.labels),
        golden=NearTexts(tested) if tested else None,
        judge=judge,
    )


def _counting(
    row: Row, written: list[tuple[Row, str | None]], kept: Callable[[str], str], changes: LabelChanges
) -> tuple[Row, str | None]:
    """Of the rows that files have of one id the one that counts, and whose it is; the others were refused."""
    same = [
        pair for pair in written if (kept(pair[0].text), pair[0].created_at) == (row.text, row.created_at)
    ]
    return min(same, key=lambda pair: (pair[0].kind, changes.name_of(pair[0].label)))


def _open(context: RunContext, labels: LabelSet) -> tuple[str, ...]:
    return tuple(name for name in labels.names if name not in context.label_changes.closed)
