"""Which rows push hardest against the Fisher."""

from pathlib import Path

import pytest
import torch

from pipeline.labels import LabelSet
from pipeline.modeling.batches import Examples, encode
from pipeline.modeling.row_gradients import pushes
from pipeline.modeling.tasks.sequence_classification import new_classifier
from pipeline.progress import silent


def test_push_is_the_rows_own_squared_gradient_weighed_with_w(base: Path) -> None:
    classifier = new_classifier(str(base), LabelSet(("a", "b", "c")), seed=0)
    texts = ["my parcel charge today", "password locked", "refund"]
    rows = Examples.of_labels(("x", "y", "z"), tuple(encode(classifier.tokenizer, texts, 16)), (0, 1, 2))
    names = ["classifier.weight", "bert.encoder.layer.1.output.dense.weight"]
    parameters = dict(classifier.model.named_parameters())
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.rand(parameters[name].shape, generator=generator) for name in names}
    before = {name: (p.detach().clone(), p.requires_grad) for name, p in parameters.items()}
    with silent("", 3, "row") as advance:
        found = pushes(classifier, rows, weights, advance=advance)
    classifier.model.eval()
    expected = {}
    for row_id, ids, label in zip(rows.ids, rows.encoded, rows.label_ids, strict=True):
        logits = classifier.model(input_ids=torch.tensor([ids])).logits
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([label]))
        gradients = torch.autograd.grad(loss, [parameters[name] for name in names])
        expected[row_id] = sum(
            float((weights[n] * g.square()).sum()) for n, g in zip(names, gradients, strict=True)
        )
    assert [push.id for push in found] == sorted(expected, key=expected.__getitem__, reverse=True)
    for push in found:
        assert push.push == pytest.approx(expected[push.id], rel=1e-4)
        assert 0.0 < push.concentration < 1.0  # W lies between 0 and 1 here, so its mean does
    for name, (value, required) in before.items():
        assert torch.equal(parameters[name], value)
        assert parameters[name].requires_grad == required
