"""A Fisher file is bound to its checkpoint and data, and any damage to it is found."""

import math
import stat
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from pipeline.errors import ArtifactCorrupt, NoInput
from pipeline.store.fisher_file import (
    FisherMetadata,
    check_binding,
    check_values,
    fingerprint,
    read_fisher,
    read_fisher_metadata,
    write_fisher,
)

from .samples import digest

AGAIN = r"Run: fisher compute CHECKPOINT --force"


def diagonal(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "classifier.weight": torch.rand(3, 4, generator=generator, dtype=dtype),
        "classifier.bias": torch.rand(3, generator=generator, dtype=dtype),
        "scale": torch.tensor(0.0, dtype=dtype),
        "empty": torch.zeros(0, 2, dtype=dtype),
    }


def metadata(tensors: dict[str, Tensor], **changes: object) -> FisherMetadata:
    values: dict[str, object] = {
        "checkpoint_sha256": digest("a"),
        "data_sha256": digest("b"),
        "estimator": "exact",
        "requested": 1000,
        "draws": 270,
        "examples": 90,
        "months": ("2026-01", "2026-02"),
        "gamma": 1.0,
        "seed": 0,
        "trace": 4.5,
        "trace_standard_error": None,
        "division": "number of examples",
        "settings": {"estimator": "auto", "samples": 1000},
        "fingerprint": fingerprint(tensors),
    }
    return FisherMetadata.model_validate({**values, **changes})


def write(path: Path) -> bytes:
    tensors = diagonal()
    write_fisher(path, tensors, metadata(tensors))
    return path.read_bytes()


def shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_fisher_survives_the_round_trip(tmp_path: Path, dtype: torch.dtype) -> None:
    path, tensors = tmp_path / "fisher.safetensors", diagonal(dtype)
    write_fisher(path, tensors, metadata(tensors))
    found, about = read_fisher(path)
    assert about == metadata(tensors) == read_fisher_metadata(path)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == dtype
        assert torch.equal(found[name], tensor)


def test_equal_fishers_are_equal_bits_and_read_only(tmp_path: Path) -> None:
    first = write(tmp_path / "a")
    tensors = dict(reversed(diagonal().items()))
    write_fisher(tmp_path / "b", tensors, metadata(tensors))
    assert (tmp_path / "b").read_bytes() == first
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o400


def test_views_shared_and_gradient_tensors_are_written_as_values(tmp_path: Path) -> None:
    base = torch.rand(4, 3, requires_grad=True)
    tensors = {"a": base.t(), "b": base}
    write_fisher(tmp_path / "f", tensors, metadata(tensors))
    found = read_fisher(tmp_path / "f")[0]
    assert torch.equal(found["a"], base.detach().t())
    assert torch.equal(found["b"], base.detach())


def test_the_header_has_one_metadata_key(tmp_path: Path) -> None:
    write(tmp_path / "f")
    with safetensors.safe_open(tmp_path / "f", framework="pt") as file:
        assert list(file.metadata()) == ["fisher"]


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "f"
    whole = write(path)
    path.chmod(0o600)
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(ArtifactCorrupt, match=f"{path}: .*{AGAIN}"):
            read_fisher(path)


def test_every_cut_tail_is_found(tmp_path: Path) -> None:
    path = tmp_path / "f"
    whole = write(path)
    path.chmod(0o600)
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ArtifactCorrupt, match=f"{path}: .*{AGAIN}"):
            read_fisher(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ArtifactCorrupt, match=str(path)):
        read_fisher(path)


def test_changed_values_are_told_with_both_hashes(tmp_path: Path) -> None:
    path = tmp_path / "f"
    whole = bytearray(write(path))
    whole[-2] ^= 1
    path.chmod(0o600)
    path.write_bytes(whole)
    with pytest.raises(
        ArtifactCorrupt, match=r"damaged: recorded with the hash [0-9a-f]{64}, has [0-9a-f]{64}"
    ):
        read_fisher(path)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "has no metadata of a Fisher"),
        ({"other": "{}"}, "has no metadata of a Fisher"),
        ({"fisher": "[]"}, "has no metadata of a Fisher"),
        ({"fisher": "{"}, "its header is damaged: not JSON"),
        ({"fisher": '{"metadata": {"version": 2}}'}, "metadata is damaged or of another version: version"),
        ({"fisher": "{}"}, "metadata is damaged or of another version: the whole"),
    ],
)
def test_a_safetensors_file_that_is_no_fisher_is_refused(
    tmp_path: Path, header: dict[str, str] | None, reason: str
) -> None:
    path = tmp_path / "f"
    path.write_bytes(safetensors.torch.save({"a": torch.ones(2)}, header))
    with pytest.raises(ArtifactCorrupt, match=f"{path}: {reason}.*{AGAIN}"):
        read_fisher(path)
    with pytest.raises(ArtifactCorrupt, match=reason):
        read_fisher_metadata(path)


def test_an_absent_file_and_a_link_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NoInput, match="there is no such file"):
        read_fisher(tmp_path / "none")
    write(tmp_path / "f")
    (tmp_path / "link").symlink_to(tmp_path / "f")
    with pytest.raises(ArtifactCorrupt, match="expected a file, found a symbolic link"):
        read_fisher(tmp_path / "link")


def test_a_fisher_of_another_checkpoint_or_other_data_is_refused_with_both_hashes() -> None:
    about = metadata(diagonal())
    check_binding(about, checkpoint_sha256=digest("a"))
    check_binding(about, checkpoint_sha256=digest("a"), data_sha256=digest("b"))
    expected = (
        f"x/f: was computed for the checkpoint {digest('a')}, the checkpoint here is {digest('c')}. {AGAIN}"
    )
    with pytest.raises(ArtifactCorrupt, match=expected):
        check_binding(about, checkpoint_sha256=digest("c"), where="x/f")
    expected = f"was computed for the data {digest('b')}, the data here is {digest('d')}. {AGAIN}"
    with pytest.raises(ArtifactCorrupt, match=expected):
        check_binding(about, checkpoint_sha256=digest("a"), data_sha256=digest("d"))


def test_values_that_fit_the_model_pass() -> None:
    check_values(diagonal(), shapes(diagonal()))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"classifier.bias": None}, r"'classifier.bias' is missing, the model has it"),
        ({"extra": torch.ones(1)}, "holds 'extra', which the model does not have"),
        ({"classifier.weight": torch.ones(2, 4)}, r"'classifier.weight' is \(2, 4\), the model has \(3, 4\)"),
        (
            {"classifier.bias": torch.ones(3, dtype=torch.float16)},
            "'classifier.bias' is torch.float16, expected torch.float32 or torch.float64",
        ),
        ({"classifier.bias": torch.tensor([1.0, math.nan, 1.0])}, "'classifier.bias' holds NaN or infinite"),
        ({"classifier.bias": torch.tensor([1.0, math.inf, 1.0])}, "'classifier.bias' holds NaN or infinite"),
        ({"classifier.bias": torch.tensor([1.0, -math.inf, 1.0])}, "'classifier.bias' holds NaN or infinite"),
        (
            {"classifier.bias": torch.tensor([1.0, -0.5, 1.0])},
            "'classifier.bias' holds -0.5, a Fisher is never",
        ),
        (
            {"classifier.bias": torch.zeros(3), "classifier.weight": torch.zeros(3, 4)},
            "every value is zero, so nothing would be protected",
        ),
    ],
)
def test_what_is_no_fisher_of_the_model_is_refused(change: dict[str, Tensor | None], reason: str) -> None:
    tensors = {name: tensor for name, tensor in {**diagonal(), **change}.items() if tensor is not None}
    with pytest.raises(ArtifactCorrupt, match=f"^x/f: .*{reason}.*{AGAIN}$"):
        check_values(tensors, shapes(diagonal()), where="x/f")


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 0.0])
def test_what_is_no_fisher_is_never_written(tmp_path: Path, value: float) -> None:
    tensors = {"a": torch.full((2,), value)}
    with pytest.raises(ArtifactCorrupt, match=AGAIN):
        write_fisher(tmp_path / "f", tensors, metadata(tensors))
    assert not (tmp_path / "f").exists()


def test_metadata_of_other_tensors_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ArtifactCorrupt, match="names, types or shapes differ: recorded with the fingerprint"):
        write_fisher(tmp_path / "f", diagonal(), metadata({"a": torch.ones(1)}))
    assert not (tmp_path / "f").exists()


def test_the_fingerprint_follows_names_types_and_shapes() -> None:
    one = torch.ones(2, 3)
    prints = [{"a": one}, {"b": one}, {"a": one.double()}, {"a": one.t()}, {"a": one, "b": one}]
    assert len({fingerprint(tensors) for tensors in prints}) == 5
    assert fingerprint({"a": one}) == fingerprint({"a": one * 2})
