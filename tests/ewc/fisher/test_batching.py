import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ewc.fisher import activation_bytes, batches_by_length, tokens_that_fit

from .models import build
from .samples import texts


@given(
    lengths=st.lists(st.integers(1, 30), max_size=40),
    max_tokens=st.integers(1, 200),
    max_examples=st.integers(1, 9),
    seed=st.none() | st.integers(0, 5),
)
def test_every_example_is_in_one_batch_within_the_limits(
    lengths: list[int], max_tokens: int, max_examples: int, seed: int | None
) -> None:
    batches = batches_by_length(lengths, max_tokens=max_tokens, max_examples=max_examples, seed=seed)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= max_examples
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= max_tokens


def test_the_longest_come_first_unless_shuffled() -> None:
    lengths = [3, 9, 4, 8, 3, 3, 5, 7]
    assert batches_by_length(lengths, max_tokens=18, max_examples=2) == [[1, 3], [7, 6], [2, 0], [4, 5]]
    shuffled = batches_by_length(lengths, max_tokens=18, max_examples=2, seed=1)
    assert shuffled != batches_by_length(lengths, max_tokens=18, max_examples=2)
    assert shuffled == batches_by_length(lengths, max_tokens=18, max_examples=2, seed=1)


def test_tokens_that_fit_is_never_nothing() -> None:
    assert tokens_that_fit(10_000, bytes_per_token=300) == 33
    assert tokens_that_fit(10, bytes_per_token=300) == 1


@pytest.mark.parametrize("name", ["bert", "gpt2 classifier"])
def test_activations_are_counted_by_the_token(name: str) -> None:
    model = build(name)
    one, four = (activation_bytes(model, texts([8] * count)) for count in (1, 4))
    assert one > 8 * 16 * 8 * 10  # ten float64 vectors for each of the eight tokens, at least
    assert 3.5 * one < four < 4.5 * one
    top = [n for n, _ in model.named_parameters() if n.startswith(("classifier", "score"))]
    assert activation_bytes(model, texts([8]), parameters=top) < one / 4
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_counting_needs_no_labels() -> None:
    batch = {name: tensor for name, tensor in texts([4]).items() if name in ("input_ids", "attention_mask")}
    assert activation_bytes(build("bert"), batch) == activation_bytes(build("bert"), texts([4]))
    assert torch.equal(batch["attention_mask"], torch.ones(1, 4, dtype=torch.long))
