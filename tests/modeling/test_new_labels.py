"""Rows for new labels are imprinted and fitted; nothing else moves."""

from collections.abc import Callable

import pytest
import torch

from pipeline.modeling.batches import Examples
from pipeline.modeling.head import head_features, head_linear
from pipeline.modeling.new_labels import PROBE_DECAY, with_new_labels
from pipeline.modeling.prediction import logits
from pipeline.modeling.task import Learner
from tests import toy
from tests.modeling.conftest import LABELS

Make = Callable[..., Learner]
GROWN = LABELS.extended(["roaming"])
NONE = Examples((), (), ())
STREAM = toy.toy_stream()


def examples(classifier: Learner, rows: list[toy.Row]) -> Examples:
    from pipeline.modeling.batches import encode

    return Examples.of_labels(
        tuple(row["id"] for row in rows),
        tuple(encode(classifier.tokenizer, [row["text"] for row in rows], 16)),
        tuple(GROWN.ids[row["label"]] for row in rows),
    )


def grown_by(classifier: Learner, new: Examples, old: Examples, *, probe: bool) -> Learner:
    features = head_features(classifier, new.encoded + old.encoded)
    share = 0.5 if len(old) else 1.0
    return with_new_labels(
        classifier, GROWN, new, old, features, probe=probe, log_prior=None, new_share=share
    )


@pytest.mark.parametrize("probe", [False, True])
def test_old_rows_and_the_encoder_stay_bit_for_bit(make: Make, probe: bool) -> None:
    classifier = make()
    before = {name: tensor.clone() for name, tensor in classifier.model.state_dict().items()}
    new, old = examples(classifier, STREAM.feedback["2026-02"]), examples(classifier, STREAM.launch)
    grown = grown_by(classifier, new, old, probe=probe)
    head, _ = head_linear(grown.model)
    for name, tensor in grown.model.state_dict().items():
        assert torch.equal(tensor[:6] if name.startswith(f"{head}.") else tensor, before[name]), name


def test_without_new_labels_nothing_happens(make: Make) -> None:
    classifier = make()
    new = examples(classifier, STREAM.launch)
    features = head_features(classifier, new.encoded)
    same = with_new_labels(classifier, LABELS, new, NONE, features, probe=True, log_prior=None)
    assert same is classifier


@pytest.mark.parametrize("replayed", [False, True])
def test_the_probe_finds_the_new_label_better_than_the_imprint_alone(make: Make, replayed: bool) -> None:
    losses = []
    for probe in (False, True):
        classifier = make()
        new = examples(classifier, STREAM.feedback["2026-02"])
        old = examples(classifier, STREAM.launch) if replayed else NONE
        grown = grown_by(classifier, new, old, probe=probe)
        said = logits(grown, new.encoded)
        losses.append(torch.nn.functional.cross_entropy(said, torch.tensor(new.label_ids)).item())
    assert losses[1] < losses[0]


@pytest.mark.parametrize("bias", [True, False])
def test_the_probe_ends_where_the_loss_of_the_new_rows_is_flat(make: Make, bias: bool) -> None:
    slopes, start = [], None
    for probe in (False, True):
        classifier = make()
        name, linear = head_linear(classifier.model)
        if not bias:
            without = torch.nn.Linear(linear.in_features, linear.out_features, bias=False)
            without.weight = linear.weight
            classifier.model.set_submodule(name, without)
        new, old = examples(classifier, STREAM.feedback["2026-02"]), examples(classifier, STREAM.launch)
        features = head_features(classifier, new.encoded + old.encoded)
        grown = grown_by(classifier, new, old, probe=probe)
        weight = head_linear(grown.model)[1].weight.detach().clone().requires_grad_(True)
        offset = head_linear(grown.model)[1].bias if bias else None
        start = weight.detach()[6:] if start is None else start
        each = torch.nn.functional.cross_entropy(
            torch.nn.functional.linear(features, weight, offset),
            torch.tensor(new.label_ids + old.label_ids),
            reduction="none",
        )
        loss = (each[: len(new)].mean() + each[len(new) :].mean()) / 2
        (slope,) = torch.autograd.grad(loss + PROBE_DECAY * (weight[6:] - start).square().sum(), weight)
        slopes.append(slope[6:].norm().item())
    assert slopes[1] < 0.02 * slopes[0]


def test_the_probe_is_the_same_every_time(make: Make) -> None:
    rows = []
    for _ in range(2):
        classifier = make()
        new = examples(classifier, STREAM.feedback["2026-02"])
        grown = grown_by(classifier, new, NONE, probe=True)
        rows.append(head_linear(grown.model)[1].weight.detach().clone())
    assert torch.equal(*rows)


def test_a_new_label_whose_rows_were_all_held_out_still_gets_a_row(make: Make) -> None:
    classifier = make()
    new = examples(classifier, [row for row in STREAM.feedback["2026-02"] if row["label"] != "roaming"])
    grown = grown_by(classifier, new, NONE, probe=False)
    weight = head_linear(grown.model)[1].weight
    assert weight.shape[0] == 7
    assert bool(weight[6].isfinite().all())
