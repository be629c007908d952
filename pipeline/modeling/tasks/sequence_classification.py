"""One label a text: a classification head over the whole of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.errors import ArtifactCorrupt
from pipeline.feedback import CheckedRows, RawRecord, Row, check_launch
from pipeline.modeling.batches import Examples, encode, keyed_batches
from pipeline.modeling.checkpoint import load_classifier, longest_text
from pipeline.modeling.tasks.task import Learner, Task
from pipeline.months import Month

NO_MONTH = Month(1970, 1)


def _load(checkpoint: Path) -> Learner:
    found = load_classifier(checkpoint)
    return Learner(found.model, found.tokenizer, found.labels)


def _check(records: Iterable[RawRecord], checkpoint: Path) -> CheckedRows:
    return check_launch(records, month=NO_MONTH, golden_texts=(), labels=load_classifier(checkpoint).labels)


def _require(learner: Learner, rows: Sequence[Row]) -> None:
    assert learner.labels is not None
    unknown = sorted({row.label for row in rows} - set(learner.labels.names))
    if unknown:
        raise ArtifactCorrupt(
            f"{learner.model.name_or_path}: the data has labels that the checkpoint's label2id lacks: "
            f"{', '.join(unknown[:3])}. Give the data that this checkpoint was trained on with --data FILE"
        )


def _encoded(learner: Learner, rows: Sequence[Row], max_length: int) -> Examples:
    assert learner.labels is not None
    length = min(max_length, longest_text(learner.model) or max_length)
    return Examples(
        ids=tuple(row.id for row in rows),
        encoded=tuple(encode(learner.tokenizer, [row.text for row in rows], length)),
        label_ids=tuple(learner.labels.ids[row.label] for row in rows),
    )


SEQUENCE_CLASSIFICATION = Task(
    name="text classifier",
    architectures=lambda named: True,  # what no other task takes
    load=_load,
    check=_check,
    require=_require,
    encoded=_encoded,
    batches=keyed_batches,
    division="number of examples; an example's squared gradients are summed over labels weighted by p",
    estimators=("auto", "exact", "mc", "lowrank", "empirical"),
)
