"""One tag a token: named entities, slots. Its Fisher needs texts alone; a month of it is not built yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import AutoModelForTokenClassification

from pipeline.errors import BadData
from pipeline.feedback import CheckedRows, RawRecord, Row, check_sequences
from pipeline.modeling.batches import MOST_TOKENS, Examples, encode, keyed_sequences
from pipeline.modeling.checkpoint import load_model, longest_text
from pipeline.modeling.soundness import ensure_padding
from pipeline.modeling.tasks.task import Learner, Task

_IGNORED = -100


def _load(checkpoint: Path) -> Learner:
    model, tokenizer = load_model(checkpoint, AutoModelForTokenClassification)
    ensure_padding(model, tokenizer, where=str(checkpoint))
    return Learner(model, tokenizer)


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
    return Examples(tuple(row.id for row in rows), tuple(encoded), (0,) * len(rows))


def keyed_tokens(
    tokenizer: Any, examples: Examples, *, seed: int, max_tokens: int = MOST_TOKENS
) -> Iterator[dict[str, Tensor]]:
    """`keyed_sequences` whose tokens of text alone are scored: -100 at padding and at the tokens that frame a text."""
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    for batch in keyed_sequences(tokenizer, examples, seed=seed, max_tokens=max_tokens):
        ids = batch["input_ids"]
        framing = ids.clone().apply_(lambda token: token in special).bool()
        yield {**batch, "labels": batch["labels"].masked_fill(framing, _IGNORED)}


TOKEN_CLASSIFICATION = Task(
    name="token classifier, and no tags are read yet",
    architectures=lambda named: any(name.endswith("ForTokenClassification") for name in named),
    load=_load,
    check=_check,
    encoded=_encoded,
    batches=keyed_tokens,
    division=(
        "number of sequences; a sequence is one example, its log-probability the sum over its tokens, and its gradient "
        "squared once"
    ),
    estimators=("auto", "exact", "mc", "lowrank"),
)
