"""Older tensors fit a head that has grown; nothing else is made to fit."""

import pytest
import torch

from pipeline.errors import ArtifactCorrupt
from pipeline.ewc.growth import aligned_rows

WHERE = "fisher.safetensors"


def test_old_rows_stay_bit_for_bit_and_new_rows_are_zero() -> None:
    old = {"classifier.weight": torch.rand(3, 5), "classifier.bias": torch.rand(3)}
    shapes: dict[str, tuple[int, ...]] = {"classifier.weight": (5, 5), "classifier.bias": (5,)}
    grown = aligned_rows(old, shapes, where=WHERE)
    for name, shape in shapes.items():
        assert tuple(grown[name].shape) == shape
        assert torch.equal(grown[name][:3], old[name])
        assert not grown[name][3:].any()


def test_what_fits_already_is_not_copied() -> None:
    tensor = torch.rand(2, 2)
    assert aligned_rows({"w": tensor}, {"w": (2, 2)}, where=WHERE)["w"] is tensor


def test_the_type_is_kept() -> None:
    grown = aligned_rows({"w": torch.rand(1, 2, dtype=torch.float64)}, {"w": (2, 2)}, where=WHERE)
    assert grown["w"].dtype is torch.float64


@pytest.mark.parametrize(
    ("found", "wanted"),
    [((12, 384), (14, 256)), ((14, 384), (12, 384)), ((3,), (3, 1)), ((), (1,)), ((3, 1), (3,))],
)
def test_another_shape_is_refused_with_both(found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    with pytest.raises(ArtifactCorrupt) as caught:
        aligned_rows({"classifier.weight": torch.zeros(found)}, {"classifier.weight": wanted}, where=WHERE)
    assert str(caught.value) == (
        f"{WHERE}: 'classifier.weight' is {found}, the model has {wanted}. Run: fisher compute CHECKPOINT --force"
    )


def test_missing_and_surplus_names_are_told_together() -> None:
    old = {name: torch.zeros(1) for name in ("a", "b", "c", "d", "kept")}
    with pytest.raises(ArtifactCorrupt, match=r"missing new, surplus a, b, c and 1 more"):
        aligned_rows(old, {"kept": (1,), "new": (1,)}, where=WHERE)
