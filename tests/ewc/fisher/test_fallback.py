"""Parameters that no rule can be trusted with are found on the first examples and done one at a time."""

import pytest
import torch
from torch import Tensor, nn

from pipeline.ewc.fisher import fisher_diagonal, fisher_diagonal_by_loop

from .samples import largest_difference, texts


class Table(nn.Module):
    """Looks positions up without a batch dimension, as [T, K] or [1, T, K]."""

    def __init__(self, *, leading: bool) -> None:
        super().__init__()
        self.leading = leading
        self.words = nn.Embedding(40, 6)
        self.positions = nn.Embedding(12, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        places = torch.arange(input_ids.shape[1])
        x = self.words(input_ids) + self.positions(places[None] if self.leading else places)
        return self.head((x.tanh() * attention_mask.unsqueeze(-1)).sum(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("first", [[4], [4, 4], [4, 4, 4, 4], [2, 2]])
@pytest.mark.parametrize("leading", [True, False])
def test_a_table_shared_by_all_examples_is_right_even_with_as_many_examples_as_tokens(
    leading: bool, first: list[int]
) -> None:
    torch.manual_seed(0)
    model, data = Table(leading=leading).double(), [texts(first), texts([5, 5, 5, 5, 5], seed=1)]
    ours = fisher_diagonal(model, data, estimator="exact")
    expected = fisher_diagonal_by_loop(model, data, estimator="exact")
    assert largest_difference(ours.diagonal, expected.diagonal) <= 1e-12
    assert ours.fallback_parameters == (() if leading else ("positions.weight",))


class Shuffled(nn.Module):
    """A custom module with the name of a norm that it is not."""

    class WrongRMSNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.eps = nn.Parameter(torch.rand(6)), 1e-6

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(40, 6)
        self.norm = self.WrongRMSNorm()
        self.head = nn.Linear(6, 5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head((self.norm(self.words(input_ids)) * attention_mask.unsqueeze(-1)).sum(1))  # type: ignore[no-any-return]


def test_a_rule_chosen_by_a_misleading_name_is_caught() -> None:
    torch.manual_seed(0)
    model, data = Shuffled().double(), [texts([4, 6])]
    ours = fisher_diagonal(model, data, estimator="exact")
    expected = fisher_diagonal_by_loop(model, data, estimator="exact")
    assert ours.fallback_parameters == ("norm.weight",)
    assert largest_difference(ours.diagonal, expected.diagonal) <= 1e-12


class Wavering(nn.Module):
    """Flattens its tokens from the fourth call on, when the check is long over."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.words = nn.Embedding(40, 6)
        self.middle = nn.Linear(6, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        self.calls += 1
        x = self.words(input_ids)
        if self.calls > 4:
            x = self.middle(x.reshape(2, -1, 6)[:, :, None, :].reshape(-1, 2, 6)).reshape(x.shape)
        else:
            x = self.middle(x)
        return self.head((x.tanh() * attention_mask.unsqueeze(-1)).sum(1))  # type: ignore[no-any-return]


def test_a_shape_that_changes_later_moves_the_parameter_to_the_fallback_from_there_on() -> None:
    torch.manual_seed(0)
    data = [texts([4, 4, 4, 4], seed=i) for i in range(3)]
    model = Wavering().double()
    ours = fisher_diagonal(model, data, estimator="lowrank", draws=1)
    model.calls = -1000
    expected = fisher_diagonal_by_loop(model, data, estimator="lowrank", draws=1)
    assert "middle.weight" in ours.fallback_parameters
    assert largest_difference(ours.diagonal, expected.diagonal) <= 1e-12
