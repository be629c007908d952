"""A text gets the same answer alone and among others."""

import math
from collections.abc import Callable

import pytest
import torch

from pipeline.modeling.prediction import logits, mean_loss, predict
from pipeline.modeling.task import Learner
from tests import toy
from tests.modeling.conftest import tokenised

Make = Callable[..., Learner]
TEXTS = ["invoice", "please help with invoice charge", "why is there a parcel", "x " * 40, "locked", "?"]


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert"])
def test_a_padded_batch_gives_what_single_texts_give(make: Make, architecture: str) -> None:
    classifier = make(architecture)
    encoded = [
        *tokenised(classifier, toy.toy_stream().launch[:30:3]).encoded,
        [2, 3],
        [2, 7, 3] * 5,
    ]
    together = logits(classifier, encoded)
    alone = torch.cat([logits(classifier, [row]) for row in encoded])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_dropout_is_off_and_the_mode_is_left_as_it_was(make: Make) -> None:
    classifier = make()
    for module in classifier.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    classifier.model.train()
    first, second = (predict(classifier, TEXTS, 16) for _ in range(2))
    assert first == second
    assert classifier.model.training


def test_answers_come_in_the_given_order(make: Make) -> None:
    classifier = make()
    forward, backward = predict(classifier, TEXTS, 16), predict(classifier, TEXTS[::-1], 16)
    assert [label for label, _ in forward] == [label for label, _ in backward][::-1]


def test_the_confidence_is_the_probability_of_the_label(make: Make) -> None:
    classifier = make()
    rows = tokenised(classifier, toy.toy_stream().launch[:4])
    probabilities = logits(classifier, rows.encoded).softmax(dim=1)
    said = predict(classifier, [row["text"] for row in toy.toy_stream().launch[:4]], 16)
    for (label, confidence), row in zip(said, probabilities, strict=True):
        assert confidence == pytest.approx(row.max().item(), rel=1e-5)
        assert classifier.labels.ids[label] == int(row.argmax())


def test_the_mean_loss_is_the_mean_of_the_rows_losses(make: Make) -> None:
    classifier = make()
    rows = tokenised(classifier, toy.toy_stream().launch[:10])
    single = [mean_loss(classifier, rows.at([place])) for place in range(len(rows))]
    assert mean_loss(classifier, rows) == pytest.approx(math.fsum(single) / 10, rel=1e-5)


def test_no_texts_give_no_answers(make: Make) -> None:
    assert predict(make(), [], 16) == []


def test_a_text_is_cut_to_the_length_that_is_asked_for(make: Make) -> None:
    classifier = make()
    words = "invoice charge fee payment " * 5
    assert predict(classifier, [words], 8) == predict(classifier, [words + "parcel " * 9], 8)
