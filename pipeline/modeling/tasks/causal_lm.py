"""The next token, at every position: a causal language model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from transformers import AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from pipeline.errors import BadData
from pipeline.feedback import check_sequences
from pipeline.labels import NO_LABELS
from pipeline.modeling.batches import Examples, encode
from pipeline.modeling.checkpoint import load_model, require_length
from pipeline.modeling.soundness import ensure_padding
from pipeline.modeling.task import Learner, Task
from pipeline.row_task import TEXT_ALONE
from pipeline.rows import CheckedRows, RawRecord, Row

_CAUSAL = frozenset(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())


def load_language_model(folder: Path) -> Learner:
    """A causal language model from its folder, in fp32 and eval mode.

    Raises:
        NoInput: when the folder holds no checkpoint.
        ArtifactCorrupt: when weights are damaged, missing or surplus.
    """
    model, tokenizer = load_model(folder, AutoModelForCausalLM)
    if tokenizer.pad_token is None and tokenizer.eos_token is None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)  # masked, so any token will do
    ensure_padding(model, tokenizer, where=str(folder))
    return Learner(model, tokenizer, NO_LABELS, CAUSAL_LM)


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
    return Examples(tuple(row.id for row in rows), tuple(encoded), tuple(map(tuple, encoded)), per_token=True)


CAUSAL_LM = Task(
    name="language model, of which every token has a whole vocabulary of labels",
    architectures=lambda named: bool(_CAUSAL.intersection(named)),
    load=load_language_model,
    rows=TEXT_ALONE,
    check=_check,
    encoded=_encoded,
    division=(
        "number of sequences; a sequence is one example, its loss summed over its tokens after the first, each given "
        "those before it, and its gradient squared once"
    ),
    estimators=("mc", "empirical"),
    draws=1,
    reason="a language model: mc, one token drawn from its own distribution at each position",
)
