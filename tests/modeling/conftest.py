"""Tiny classifiers of three architectures, without dropout, and tokenised toy rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.labels import LabelSet
from pipeline.modeling.batches import Examples, encode
from pipeline.modeling.task import Learner
from pipeline.modeling.tasks import SEQUENCE_CLASSIFICATION
from pipeline.modeling.tasks.sequence_classification import new_classifier
from tests import toy

LABELS = LabelSet(tuple(sorted(toy.LAUNCH_WORDS)))


@pytest.fixture(scope="session")
def plain_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base model without dropout: what it learns does not depend on how batches are cut."""
    from pipeline.modeling.checkpoint import quiet_libraries

    quiet_libraries()
    return toy.write_base(tmp_path_factory.mktemp("plain base") / "base", dropout=0.0)


def small_model(architecture: str, labels: int, vocabulary: int) -> Any:
    """A random classifier of another architecture than BERT, 2 layers, without dropout."""
    from transformers import (
        DistilBertConfig,
        DistilBertForSequenceClassification,
        RobertaConfig,
        RobertaForSequenceClassification,
    )

    torch.manual_seed(0)
    if architecture == "distilbert":
        config = DistilBertConfig(
            vocab_size=vocabulary, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=32,
            dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0, num_labels=labels, pad_token_id=0,
        )  # fmt: skip
        return DistilBertForSequenceClassification(config).eval()
    roberta = RobertaConfig(
        vocab_size=vocabulary, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=40, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        num_labels=labels, pad_token_id=0, type_vocab_size=1,
    )  # fmt: skip
    return RobertaForSequenceClassification(roberta).eval()


@pytest.fixture
def make(plain_base: Path) -> Callable[..., Learner]:
    """Makes a new classifier over the launch labels, the same one each time."""

    def made(architecture: str = "bert") -> Learner:
        bert = new_classifier(str(plain_base), LABELS, seed=0)
        bert.model.eval()
        if architecture == "bert":
            return bert
        model = small_model(architecture, len(LABELS), len(bert.tokenizer))
        return Learner(model, bert.tokenizer, LABELS, SEQUENCE_CLASSIFICATION)

    return made


def tokenised(classifier: Learner, rows: list[toy.Row]) -> Examples:
    """Toy rows as examples."""
    return Examples.of_labels(
        ids=tuple(row["id"] for row in rows),
        encoded=tuple(encode(classifier.tokenizer, [row["text"] for row in rows], 16)),
        label_ids=tuple(classifier.labels.ids[row["label"]] for row in rows),
    )
