"""Proof that an adopted checkpoint says the same here as where it is served."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from pipeline.errors import ArtifactCorrupt
from pipeline.ewc.closed_rows import closed_in
from pipeline.modeling.batches import encode, takes_no_padding
from pipeline.modeling.checkpoint import longest_text
from pipeline.modeling.task import Learner
from pipeline.modeling.tasks import load_learner

MOST_TEXTS, BATCH, TOLERANCE = 32, 8, 0.01
"""Texts that are tried, how many at once, and by how much a probability may differ."""


def require_served_alike(folder: Path, texts: Sequence[str], max_length: int) -> None:
    """Compare the product's answers with those of `transformers.pipeline("text-classification")`, singly and batched.

    Args:
        folder: the checkpoint, as it is served.
        texts: some that the model is for; those that hold special tokens, which a server may read otherwise, are left out.
        max_length: tokens kept of each text.

    Raises:
        ArtifactCorrupt: an answer differs, or all texts are the same to the tokenizer, naming how many; or a server cannot
            load it.
    """
    _require_names(folder / "config.json")
    classifier = load_learner(folder)
    _require_open(classifier, folder)
    length = min(max_length, longest_text(classifier.model) or max_length)
    served = _served(folder)
    chosen = [text for text in dict.fromkeys(texts) if text.strip()][:MOST_TEXTS]
    ours_ids = encode(classifier.tokenizer, chosen, length)
    if len(chosen) > 1 and len({tuple(ids) for ids in ours_ids}) == 1:
        raise ArtifactCorrupt(
            f"{folder}: its tokenizer makes the same tokens of all {len(chosen)} launch texts that were tried: it is not the "
            "one that the model was trained with. Save that beside the model"
        )
    if (
        served.tokenizer.pad_token is None
    ):  # a server would have to do the same to answer more than one text at once
        served.tokenizer.pad_token = served.tokenizer.eos_token
        served.model.config.pad_token_id = served.tokenizer.pad_token_id
    theirs_ids = served.tokenizer(chosen, truncation=True, max_length=length)["input_ids"]
    tried = [
        text for text, a, b in zip(chosen, ours_ids, theirs_ids, strict=True) if list(a) == list(b)
    ] or chosen
    ours = classifier.month().answer(classifier, tried, max_length)
    options = {"truncation": True, "max_length": length, "function_to_apply": "softmax"}
    ways = [("one at a time", 1), (f"{BATCH} at a time", BATCH)]
    if takes_no_padding(classifier.tokenizer):
        ways = ways[:1]  # which has been told
    for how, batch in ways:
        theirs = (
            [served(text, **options) for text in tried]
            if batch == 1
            else served(tried, batch_size=batch, **options)
        )
        answers = [item[0] if isinstance(item, list) else item for item in theirs]
        unlike = [
            text
            for text, (label, probability), answer in zip(tried, ours, answers, strict=True)
            if answer["label"] != label or abs(answer["score"] - probability) > TOLERANCE
        ]
        if unlike:
            raise ArtifactCorrupt(
                f"{folder}: {len(unlike)} of {len(tried)} answers differ from those of transformers.pipeline, {how}: its "
                "answers depend on how texts are padded, or its config.json and tokenizer disagree (pad_token_id, labels). "
                "What is measured here would not be what is served"
            )


def _require_names(file: Path) -> None:
    """Refuse labels that are named in label2id alone: a server reads id2label, and answers LABEL_0 without it."""
    content = json.loads(file.read_text(encoding="utf-8"))
    if isinstance(content, dict) and content.get("label2id") and not content.get("id2label"):
        raise ArtifactCorrupt(
            f"{file}: expected id2label beside label2id, found none: transformers.pipeline would answer LABEL_0. Add it, "
            "each id as text with its name"
        )


def _require_open(classifier: Learner, folder: Path) -> None:
    """Refuse a head with rows that were closed: which labels they were is known in the workspace that closed them alone."""
    closed = {i for ids in closed_in(dict(classifier.model.named_parameters())).values() for i in ids}
    if closed:
        names = ", ".join(repr(classifier.labels.names[i]) for i in sorted(closed))
        raise ArtifactCorrupt(
            f"{folder}: the rows of {names} are closed, as the label was merged or retired in the workspace that made it: "
            "they can learn nothing. Go on in that workspace, or launch without --checkpoint"
        )


def _served(folder: Path) -> Any:
    """A checkpoint as a server loads it."""
    try:
        return transformers.pipeline(
            "text-classification", model=str(folder), device="cpu", dtype=torch.float32
        )
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        cause = str(error).strip().splitlines()
        raise ArtifactCorrupt(
            f"{folder}: transformers.pipeline cannot load it: {cause[0][:300] if cause else type(error).__name__}. Save "
            "model and tokenizer anew with save_pretrained"
        ) from None
