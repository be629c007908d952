"""The next token, at every position: a causal language model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from pipeline.errors import BadData
from pipeline.feedback import CheckedRows, RawRecord, Row, check_sequences
from pipeline.modeling.batches import Examples, encode, keyed_sequences
from pipeline.modeling.checkpoint import load_language_model, require_length
from pipeline.modeling.tasks.task import Learner, Task

_CAUSAL = frozenset(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())


def _load(checkpoint: Path) -> Learner:
    found = load_language_model(checkpoint)
    return Learner(found.model, found.tokenizer)


def _check(records: Iterable[RawRecord], checkpoint: Path) -> CheckedRows:
    return check_sequences(records)


def _encoded(learner: Learner, rows: Sequence[Row], max_length: int) -> Examples:
    require_length(learner.model, max_length)
    encoded = encode(learner.tokenizer, [row.text for row in rows], max_length)
    for row, ids in zip(rows, encoded, strict=True):
        if len(ids) < 2:
            raise BadData(
                f"row {row.id!r}: expected at least two tokens, so that there is one to predict, found {len(ids)}: "
                f"{row.text[:40]!r}"
            )
    return Examples(tuple(row.id for row in rows), tuple(encoded), (0,) * len(rows))


CAUSAL_LM = Task(
    name="language model, of which every token has a whole vocabulary of labels",
    architectures=lambda named: bool(_CAUSAL.intersection(named)),
    load=_load,
    check=_check,
    encoded=_encoded,
    batches=keyed_sequences,
    division=(
        "number of sequences; a sequence is one example, its loss summed over its tokens after the first, each given "
        "those before it, and its gradient squared once"
    ),
    estimators=("mc", "empirical"),
    draws=1,
    reason="a language model: mc, one token drawn from its own distribution at each position",
)
