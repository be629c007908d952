"""One label a text: a classification head over the whole of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from pipeline.errors import ArtifactCorrupt
from pipeline.feedback import check_launch
from pipeline.labels import LabelSet
from pipeline.modeling.batches import Examples, encode
from pipeline.modeling.checkpoint import (
    architectures,
    load_errors,
    load_model,
    load_pretrained,
    longest_text,
    read_as_text,
)
from pipeline.modeling.prediction import mean_loss, predict
from pipeline.modeling.soundness import ensure_padding, require_vocabulary, see_to_padding
from pipeline.modeling.task import Learner, Task, TaskMonth
from pipeline.months import Month
from pipeline.row_task import ONE_LABEL
from pipeline.rows import CheckedRows, RawRecord, Row

logger = logging.getLogger("retrain")
NO_MONTH = Month(1970, 1)


def new_classifier(location: str, labels: LabelSet, *, seed: int) -> Learner:
    """A pretrained encoder with a new, seeded head for the labels, also where it comes with a head of its own.

    Raises:
        NoInput: when the model is neither a folder nor to be had from the Hub.
        ArtifactCorrupt: when it is damaged, or its tokenizer does not belong to it.
    """
    torch.manual_seed(seed)
    model, tokenizer, info = load_pretrained(
        location,
        AutoModelForSequenceClassification,
        num_labels=len(labels),
        id2label=dict(enumerate(labels.names)),
        label2id=labels.ids,
        problem_type="single_label_classification",
    )
    with load_errors(location):
        _renew_head(model, info, location, seed)
    ensure_padding(model, tokenizer, where=location)
    require_vocabulary(model, tokenizer, where=location)
    with load_errors(location):
        see_to_padding(model, tokenizer, longest_text(model), where=location)
    read_as_text(tokenizer)
    return Learner(model, tokenizer, labels, SEQUENCE_CLASSIFICATION)


def _renew_head(model: Any, info: dict[str, Any], location: str, seed: int) -> None:
    """Make the head anew where the base brought one, and refuse an encoder that does not fit its config."""
    encoder = f"{model.base_model_prefix}."
    unfit = sorted(str(item[0]) for item in info["mismatched_keys"] if str(item[0]).startswith(encoder))
    if unfit:
        raise ArtifactCorrupt(
            f"{location}: the weights do not fit config.json: {', '.join(unfit[:3])}{' ...' if len(unfit) > 3 else ''}"
        )
    absent = {str(name) for name in info["missing_keys"]}
    brought = [
        name for name, _ in model.named_parameters() if not name.startswith(encoder) and name not in absent
    ]
    if brought:
        logger.info("%s comes with a head of its own, which is left out: the labels get a new one", location)
        torch.manual_seed(seed)
        fresh = dict(type(model)(model.config).named_parameters())
        with torch.no_grad():
            for name, weights in model.named_parameters():
                if not name.startswith(encoder):
                    weights.copy_(fresh[name])


def load_classifier(folder: Path) -> Learner:
    """A finished checkpoint from its folder, in fp32 and eval mode.

    Raises:
        NoInput: when the folder holds no checkpoint.
        ArtifactCorrupt: when weights are damaged, missing or surplus, or the labels do not fit.
    """
    file = folder / "config.json"
    architectures(folder)  # refuses what is no checkpoint
    labels = LabelSet.from_config(json.loads(file.read_text(encoding="utf-8")), where=str(file))
    model, tokenizer = load_model(
        folder,
        AutoModelForSequenceClassification,
        id2label=dict(enumerate(labels.names)),
        label2id=dict(labels.ids),
    )
    _require_one_label_each(model.config, file)
    ensure_padding(model, tokenizer, where=str(folder))
    with load_errors(str(folder)):
        see_to_padding(model, tokenizer, longest_text(model), where=str(folder))
    read_as_text(tokenizer)
    return Learner(model, tokenizer, labels, SEQUENCE_CLASSIFICATION)


def _require_one_label_each(config: Any, file: Path) -> None:
    """Refuse heads whose answers mean something else than the label of the highest logit."""
    problem = getattr(config, "problem_type", None)
    if problem not in (None, "single_label_classification"):
        raise ArtifactCorrupt(
            f"{file}: problem_type is {problem!r}, expected single_label_classification. Its answers are no single "
            "labels; fine-tune a classifier of one label each"
        )


def _check(records: Iterable[RawRecord], checkpoint: Path) -> CheckedRows:
    return check_launch(records, month=NO_MONTH, golden_texts=(), labels=load_classifier(checkpoint).labels)


def _require(learner: Learner, rows: Sequence[Row]) -> None:
    unknown = sorted({row.label for row in rows} - set(learner.labels.names))
    if unknown:
        raise ArtifactCorrupt(
            f"{learner.model.name_or_path}: the data has labels that the checkpoint's label2id lacks: "
            f"{', '.join(unknown[:3])}. Give the data that this checkpoint was trained on with --data FILE"
        )


def _encoded(learner: Learner, rows: Sequence[Row], max_length: int) -> Examples:
    length = min(max_length, longest_text(learner.model) or max_length)
    return Examples.of_labels(
        (row.id for row in rows),
        encode(learner.tokenizer, [row.text for row in rows], length),
        (learner.labels.ids[row.label] for row in rows),
    )


SEQUENCE_CLASSIFICATION = Task(
    name="text classifier",
    architectures=lambda named: True,  # what no other task takes
    load=load_classifier,
    rows=ONE_LABEL,
    check=_check,
    require=_require,
    encoded=_encoded,
    division="number of examples; an example's squared gradients are summed over labels weighted by p",
    estimators=("auto", "exact", "mc", "lowrank", "empirical"),
    month=TaskMonth(new=new_classifier, answer=predict, measure=mean_loss),
)
