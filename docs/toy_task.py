"""A classifier small enough to see all of: its tasks, its training, and its whole Fisher matrix."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.ewc.fisher import fisher_diagonal
from pipeline.ewc.penalty import penalty

WIDTH, HIDDEN, CLASSES = 12, 16, 6
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Task:
    """Points x [N, WIDTH], float64, and their classes y [N]."""

    x: Tensor
    y: Tensor

    def only(self, *classes: int) -> "Task":
        """The points of some classes."""
        chosen = torch.isin(self.y, torch.tensor(classes))
        return Task(self.x[chosen], self.y[chosen])


class Classifier(nn.Module):
    """Two linear layers with tanh between; takes `inputs_embeds` as the Fisher engine feeds them."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.hidden = nn.Linear(WIDTH, HIDDEN, dtype=torch.float64)
        self.head = nn.Linear(HIDDEN, CLASSES, dtype=torch.float64)

    def forward(self, inputs_embeds: Tensor) -> Tensor:
        """Logits [N, CLASSES]."""
        logits: Tensor = self.head(torch.tanh(self.hidden(inputs_embeds)))
        return logits


def task(shift: float = 0.0, *, rows: int = 60, seed: int = 0, noise: float = 0.9) -> Task:
    """`rows` points a class around six centres; `shift` moves the centres, each its own way."""
    fixed = torch.Generator().manual_seed(7)
    centres = torch.randn(CLASSES, WIDTH, generator=fixed, dtype=torch.float64)
    ways = torch.randn(CLASSES, WIDTH, generator=fixed, dtype=torch.float64)
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(CLASSES).repeat_interleave(rows)
    spread = noise * torch.randn(len(y), WIDTH, generator=draw, dtype=torch.float64)
    return Task(1.0 + (centres + shift * ways)[y] + spread, y)  # inputs with a mean, as real features have


def weights_of(model: nn.Module) -> Weights:
    """A copy of the parameters, name to tensor."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def with_weights(weights: Mapping[str, Tensor]) -> Classifier:
    """The classifier with these parameters."""
    model = Classifier()
    model.load_state_dict(dict(weights))
    return model


def loss(weights: Mapping[str, Tensor], data: Task) -> float:
    """Mean cross-entropy in nats."""
    with torch.no_grad():
        return F.cross_entropy(with_weights(weights)(data.x), data.y).item()


def diagonal(model: nn.Module, data: Task, estimator: str = "exact", **options: int) -> Weights:
    """The Fisher diagonal by the project's engine."""
    batch = {"inputs_embeds": data.x, "labels": data.y}
    return fisher_diagonal(model, [batch], estimator=estimator, **options).diagonal  # type: ignore[arg-type]


def train(
    start: Mapping[str, Tensor],
    data: Task,
    *,
    steps: int = 300,
    rate: float = 0.01,
    anchors: tuple[tuple[Mapping[str, Tensor], Mapping[str, Tensor]], ...] = (),
    lambda_: float = 0.0,
) -> Weights:
    """Full-batch Adam from `start` on the task loss and lambda times the penalty of each (anchor, importance)."""
    model = with_weights(start)
    named = dict(model.named_parameters())
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        total = F.cross_entropy(model(data.x), data.y)
        for anchor, importance in anchors:
            total = total + penalty(named, anchor, importance, lambda_)
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return weights_of(model)


def flat(weights: Mapping[str, Tensor]) -> Tensor:
    """All entries in one vector [P], in the model's order."""
    return torch.cat([weights[name].flatten() for name, _ in Classifier().named_parameters()])


def unflat(vector: Tensor) -> Weights:
    """The inverse of `flat`."""
    shapes = {name: p.shape for name, p in Classifier().named_parameters()}
    ends = [0, *torch.tensor([s.numel() for s in shapes.values()]).cumsum(0).tolist()]
    return {n: vector[a:b].reshape(s) for (n, s), (a, b) in zip(shapes.items(), pairwise(ends), strict=True)}


def full_fisher(model: Classifier, data: Task) -> Tensor:
    """The whole Fisher matrix [P, P]: mean over x of J^T (diag p - p p^T) J."""
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def logits(parameters: Weights, x: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(model, parameters, (x.unsqueeze(0),))[0]
        return result

    jacobian = torch.func.vmap(torch.func.jacrev(logits), in_dims=(None, 0))(weights, data.x)
    j = torch.cat([jacobian[name].flatten(2) for name in weights], dim=2)
    p = model(data.x).detach().softmax(-1)
    middle = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    return torch.einsum("ncp,ncd,ndq->pq", j, middle, j) / len(data.x)


def divergence(before: Mapping[str, Tensor], after: Mapping[str, Tensor], data: Task) -> float:
    """Mean over x of KL(p_before(.|x) || p_after(.|x)), in nats."""
    with torch.no_grad():
        p = with_weights(before)(data.x).log_softmax(-1)
        q = with_weights(after)(data.x).log_softmax(-1)
        return F.kl_div(q, p, reduction="batchmean", log_target=True).item()
