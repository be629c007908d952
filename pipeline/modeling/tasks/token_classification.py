"""One tag a token: named entities, slots. Its Fisher needs texts alone; a month of it is not built yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from transformers import AutoModelForTokenClassification

from pipeline.errors import BadData
from pipeline.feedback import check_sequences
from pipeline.labels import NO_LABELS
from pipeline.modeling.batches import IGNORED, Examples, encode
from pipeline.modeling.checkpoint import load_model, longest_text
from pipeline.modeling.soundness import ensure_padding
from pipeline.modeling.task import Learner, Task
from pipeline.row_task import TEXT_ALONE
from pipeline.rows import CheckedRows, RawRecord, Row


def _load(checkpoint: Path) -> Learner:
    model, tokenizer = load_model(checkpoint, AutoModelForTokenClassification)
    ensure_padding(model, tokenizer, where=str(checkpoint))
    return Learner(model, tokenizer, NO_LABELS, TOKEN_CLASSIFICATION)


def _check(records: Iterable[RawRecord], checkpoint: Path) -> CheckedRows:
    return check_sequences(records)


def _encoded(learner: Learner, rows: Sequence[Row], max_length: int) -> Examples:
    length = min(max_length, longest_text(learner.model) or max_length)
    encoded = encode(learner.tokenizer, [row.text for row in rows], length)
    special = set(learner.tokenizer.all_special_ids) - {learner.tokenizer.unk_token_id}
    for row, ids in zip(rows, encoded, strict=True):
        if special.issuperset(ids):
            raise BadData(
                f"row {row.id!r}: expected at least one token to tag, found none: {row.text[:40]!r}"
            )
    # the tag itself is not read yet: a Fisher draws it
    targets = tuple(tuple(IGNORED if token in special else token for token in ids) for ids in encoded)
    return Examples(tuple(row.id for row in rows), tuple(encoded), targets, per_token=True)


TOKEN_CLASSIFICATION = Task(
    name="token classifier, and no tags are read yet",
    architectures=lambda named: any(name.endswith("ForTokenClassification") for name in named),
    load=_load,
    rows=TEXT_ALONE,
    check=_check,
    encoded=_encoded,
    division=(
        "number of sequences; a sequence is one example, its log-probability the sum over its tokens, and its gradient "
        "squared once"
    ),
    estimators=("auto", "exact", "mc", "lowrank"),
)
