"""The online merge: gamma times the older months plus the latest one."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ArtifactCorrupt
from pipeline.ewc.merge import merge_online


@pytest.mark.parametrize("gamma", [0.25, 1.0])
def test_merged_is_gamma_times_older_plus_latest(gamma: float) -> None:
    older, latest = {"w": torch.tensor([4.0, 0.0])}, {"w": torch.tensor([1.0, 2.0])}
    assert merge_online(older, latest, gamma)["w"].tolist() == [gamma * 4.0 + 1.0, 2.0]


def test_rows_of_labels_that_came_since_hold_the_latest_alone() -> None:
    older, latest = {"classifier.weight": torch.ones(2, 3)}, {"classifier.weight": torch.full((3, 3), 2.0)}
    merged = merge_online(older, latest, 1.0)["classifier.weight"]
    assert merged.tolist() == [[3.0] * 3, [3.0] * 3, [2.0] * 3]


def test_inputs_are_left_as_they_are() -> None:
    older, latest = {"w": torch.ones(2)}, {"w": torch.ones(3)}
    merge_online(older, latest, 0.5)
    assert older["w"].tolist() == [1.0, 1.0]
    assert latest["w"].tolist() == [1.0, 1.0, 1.0]


def test_the_latest_decides_type_and_names() -> None:
    merged = merge_online({"w": torch.ones(2, dtype=torch.float64)}, {"w": torch.ones(2)}, 1.0)
    assert merged["w"].dtype is torch.float32


@given(st.lists(st.floats(0, 1e3, width=32), min_size=1, max_size=6), st.floats(0.01, 1.0))
def test_a_merged_fisher_is_never_negative_and_never_below_the_latest(
    values: list[float], gamma: float
) -> None:
    older, latest = torch.tensor(values), torch.tensor(values[::-1])
    assert bool((merge_online({"w": older}, {"w": latest}, gamma)["w"] >= latest).all())


def test_merging_month_by_month_weakens_older_months_by_powers_of_gamma() -> None:
    fisher = {"w": torch.zeros(3)}
    for month in range(3):
        latest = torch.zeros(3)
        latest[month] = 1.0
        fisher = merge_online(fisher, {"w": latest}, 0.5)
    assert fisher["w"].tolist() == [0.25, 0.5, 1.0]


def test_a_fisher_of_another_model_is_refused_and_named() -> None:
    with pytest.raises(
        ArtifactCorrupt, match=r"^runs/x/fisher\.safetensors: 'w' is \(2, 2\), the model has \(2, 3\)"
    ):
        merge_online({"w": torch.ones(2, 2)}, {"w": torch.ones(2, 3)}, 1.0, where="runs/x/fisher.safetensors")
