import pytest
import torch
from torch import Tensor, nn

from pipeline.ewc.fisher import fisher_diagonal, fisher_diagonal_by_loop

from .models import build
from .samples import texts


class Logistic(nn.Module):
    """Two classes, told apart by the mean of an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 3)
        self.classifier = nn.Linear(3, 2)

    def features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.unsqueeze(-1)
        return (self.embedding(input_ids) * mask).sum(1) / mask.sum(1)  # type: ignore[no-any-return]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.classifier(self.features(input_ids, attention_mask))  # type: ignore[no-any-return]


@pytest.mark.parametrize("way", [fisher_diagonal, fisher_diagonal_by_loop])
def test_fisher_of_a_classifier_weight_is_p_times_one_minus_p_times_h_squared(way) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model, batch = Logistic().double(), texts([3, 5, 4, 6])
    h = model.features(batch["input_ids"], batch["attention_mask"]).detach()
    p = model.classifier(h).softmax(-1).detach()
    found = way(model, [batch], estimator="exact")
    spread = p[:, :1] * p[:, 1:]
    expected = (spread * h.square()).mean(0).expand(2, 3)
    torch.testing.assert_close(found.diagonal["classifier.weight"], expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(
        found.diagonal["classifier.bias"], spread.mean(0).expand(2), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize(("estimator", "draws"), [("mc", 1), ("mc", 4), ("lowrank", 1), ("lowrank", 3)])
def test_sampled_estimators_converge_to_exact(estimator: str, draws: int) -> None:
    model, one = build("bert"), texts([5])
    copies = 1500
    many = {name: tensor.repeat(copies, *[1] * (tensor.dim() - 1)) for name, tensor in one.items()}
    many["example_keys"] = torch.arange(copies)
    exact = fisher_diagonal(model, [one], estimator="exact")
    found = fisher_diagonal(model, [many], estimator=estimator, draws=draws)
    assert abs(found.trace - exact.trace) < 4.5 * found.trace_standard_error
    assert found.trace_standard_error < 0.1 * exact.trace
    heavy = {n: f for n, f in exact.diagonal.items() if float(f.sum()) > 0.01 * exact.trace}
    assert len(heavy) > 3
    for name, expected in heavy.items():
        assert float(found.diagonal[name].sum()) == pytest.approx(float(expected.sum()), rel=0.25), name
