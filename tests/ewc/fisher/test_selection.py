import pytest
import torch

from pipeline.errors import UsageError
from pipeline.ewc.fisher import fisher_diagonal
from pipeline.ewc.fisher.selection import _odds, _systematic

from .models import build
from .samples import largest_difference, texts, token_labels, without_labels


def uneven_bert() -> torch.nn.Module:
    """Sure of some texts and not of others."""
    model = build("bert")
    with torch.no_grad():
        model.get_parameter("classifier.weight").mul_(100)
    return model


DATA = [without_labels(texts([3, 8, 5, 5, 7, 4] * 4, seed=i, first_key=24 * i)) for i in range(4)]


def test_odds_follow_uncertainty_and_add_up_to_the_count() -> None:
    uncertainty = torch.tensor([0.0, 0.01, 0.02, 0.5, 0.9, 0.3], dtype=torch.float64)
    odds = _odds(uncertainty, 3)
    assert float(odds.sum()) == pytest.approx(3, abs=1e-9)
    assert odds.argsort().tolist() == uncertainty.argsort().tolist()
    assert 0 < float(odds.min()) < float(odds.max()) == 1
    assert _odds(uncertainty, 6).tolist() == [1.0] * 6
    assert float(_odds(torch.zeros(4, dtype=torch.float64), 2).sum()) == pytest.approx(2)


def test_everyone_is_picked_as_often_as_its_odds_say() -> None:
    odds = torch.tensor([0.1, 0.9, 1.0, 0.5, 0.25, 0.25], dtype=torch.float64)
    draws = torch.rand(4000, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    counts = torch.zeros(6, dtype=torch.float64)
    for row in draws:
        picked = _systematic(odds, row)
        assert len(picked) == 3
        counts[picked] += 1
    error = (odds * (1 - odds) / len(draws)).sqrt()
    assert bool(((counts / len(draws) - odds).abs() <= 4.5 * error + 1e-12).all())


def test_picking_everyone_changes_nothing() -> None:
    model = uneven_bert()
    whole = fisher_diagonal(model, DATA, estimator="lowrank", draws=2)
    picked = fisher_diagonal(model, DATA, estimator="lowrank", draws=2, backward_examples=1000)
    assert largest_difference(picked.diagonal, whole.diagonal) <= 1e-11
    assert (picked.examples, picked.picked, whole.picked) == (96, 96, None)
    assert picked.trace_standard_error == pytest.approx(whole.trace_standard_error, rel=1e-9)


def test_picked_examples_stand_for_all_without_bias() -> None:
    model = uneven_bert()
    whole = fisher_diagonal(model, DATA, estimator="exact")
    parts = [fisher_diagonal(model, DATA, estimator="exact", backward_examples=24, seed=s) for s in range(12)]
    traces = torch.tensor([part.trace for part in parts], dtype=torch.float64)
    assert all(part.examples == 96 and abs((part.picked or 0) - 24) <= 1 for part in parts)
    assert abs(float(traces.mean()) - whole.trace) < 4 * float(traces.std()) / 12**0.5
    name = "bert.encoder.layer.0.output.dense.weight"
    means = torch.stack([part.diagonal[name].sum() for part in parts])
    assert abs(float(means.mean() - whole.diagonal[name].sum())) < 4 * float(means.std()) / 12**0.5


def test_picked_examples_tell_more_than_as_many_at_random() -> None:
    model = uneven_bert()
    whole = fisher_diagonal(model, DATA, estimator="exact")

    def error(found: dict[str, torch.Tensor]) -> float:
        return sum(float((f - found[name]).abs().sum()) for name, f in whole.diagonal.items())

    picked = [
        error(fisher_diagonal(model, DATA, estimator="exact", backward_examples=24, seed=s).diagonal)
        for s in range(4)
    ]
    random = [error(fisher_diagonal(model, [batch], estimator="exact").diagonal) for batch in DATA]
    assert sum(picked) < 0.8 * sum(random)


def test_picking_does_not_depend_on_batches_or_padding() -> None:
    model = uneven_bert()
    pieces = [{n: t[i : i + 5] for n, t in batch.items()} for batch in DATA for i in range(0, 24, 5)]
    one = fisher_diagonal(model, DATA, estimator="lowrank", draws=2, backward_examples=20)
    other = fisher_diagonal(model, pieces[::-1], estimator="lowrank", draws=2, backward_examples=20)
    assert largest_difference(other.diagonal, one.diagonal) <= 1e-11


def test_sequences_of_a_language_model_can_be_picked() -> None:
    data = [token_labels(batch) for batch in DATA[:1]]
    found = fisher_diagonal(build("gpt2"), data, estimator="lowrank", draws=1, backward_examples=8)
    assert found.examples == 24
    assert found.picked is not None
    assert abs(found.picked - 8) <= 1


def test_the_bar_moves_once_for_every_example() -> None:
    told: list[int] = []

    def advance(count: int = 1, note: str = "") -> None:
        told.append(count)

    fisher_diagonal(uneven_bert(), DATA, backward_examples=10, advance=advance)
    assert sum(told) == 96


def test_what_excludes_picking_is_refused() -> None:
    with pytest.raises(UsageError, match="backward_examples without the empirical estimator"):
        fisher_diagonal(build("bert"), DATA, estimator="empirical", backward_examples=3)
    with pytest.raises(UsageError, match="backward_examples without stop_at_relative_error"):
        fisher_diagonal(build("bert"), DATA, backward_examples=3, stop_at_relative_error=0.1)
