"""Texts become token ids, and token ids padded batches that lose nothing."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.modeling.batches import Examples, encode, keyed_batches, pad, padded_batches
from pipeline.modeling.task import Learner
from tests import toy
from tests.modeling.conftest import tokenised

Make = Callable[..., Learner]


class Padding:
    pad_token_id = 0


rows = st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=12), min_size=1, max_size=40)


@given(rows)
def test_padding_keeps_every_token_and_marks_the_rest(given_rows: list[list[int]]) -> None:
    batch = pad(Padding(), given_rows)
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    for row, ids, mask in zip(given_rows, batch["input_ids"], batch["attention_mask"], strict=True):
        assert ids[mask.bool()].tolist() == row
        assert not ids[~mask.bool()].any()


@given(rows, st.integers(1, 7))
def test_batches_hold_every_row_once(given_rows: list[list[int]], size: int) -> None:
    found: dict[int, list[int]] = {}
    for positions, batch in padded_batches(Padding(), given_rows, batch_size=size):
        assert 0 < len(positions) <= size
        for position, ids, mask in zip(positions, batch["input_ids"], batch["attention_mask"], strict=True):
            assert position not in found
            found[position] = ids[mask.bool()].tolist()
    assert [found[i] for i in range(len(given_rows))] == given_rows


def test_encoding_adds_special_tokens_and_cuts_to_the_length(make: Make) -> None:
    tokenizer = make().tokenizer
    short, long = encode(tokenizer, ["my invoice", "my invoice " * 30], 8)
    assert short[0] == long[0] == tokenizer.cls_token_id
    assert short[-1] == long[-1] == tokenizer.sep_token_id
    assert (len(short), len(long)) == (4, 8)
    assert encode(tokenizer, [], 8) == []


@pytest.mark.parametrize("seed", [0, 1])
def test_an_examples_key_and_label_do_not_depend_on_where_it_stands(make: Make, seed: int) -> None:
    classifier = make()
    table = toy.toy_stream().launch[:20]

    def keys(table: list[toy.Row], seed: int) -> dict[tuple[int, ...], tuple[int, int]]:
        examples = tokenised(classifier, table)
        return {
            tuple(ids[mask.bool()].tolist()): (int(key), int(label))
            for batch in keyed_batches(classifier.tokenizer, examples, seed=seed, max_tokens=40)
            for ids, mask, key, label in zip(
                batch["input_ids"],
                batch["attention_mask"],
                batch["example_keys"],
                batch["labels"],
                strict=True,
            )
        }

    first, second = keys(table, 0), keys(table[::-1], seed)
    assert len(first) == 20
    assert first == second
    assert len({key for key, _ in first.values()}) == 20


def test_a_batch_of_the_fisher_holds_no_more_tokens_than_allowed(make: Make) -> None:
    classifier = make()
    examples = tokenised(classifier, toy.toy_stream().launch)
    sizes = [
        b["input_ids"].numel() for b in keyed_batches(classifier.tokenizer, examples, seed=0, max_tokens=40)
    ]
    assert max(sizes) <= 40


def test_a_sequences_labels_are_its_tokens_and_nothing_at_the_padding(make: Make) -> None:
    classifier = make()
    rows = tokenised(classifier, toy.toy_stream().launch[:6])
    examples = Examples(rows.ids, rows.encoded, tuple(map(tuple, rows.encoded)), per_token=True)
    for batch in keyed_batches(classifier.tokenizer, examples, seed=0):
        present = batch["attention_mask"].bool()
        assert torch.equal(batch["labels"][present], batch["input_ids"][present])
        assert (batch["labels"][~present] == -100).all()
        assert not present.all()


def test_examples_are_joined_in_order() -> None:
    one, other = Examples.of_labels(("a",), ([1],), (0,)), Examples.of_labels(("b", "c"), ([2], [3]), (1, 0))
    joined = one + other
    assert (joined.ids, joined.encoded, joined.label_ids) == (("a", "b", "c"), ([1], [2], [3]), (0, 1, 0))
    assert len(joined) == 3
    assert torch.tensor(joined.label_ids).tolist() == [0, 1, 0]


def test_rows_to_have_again_stand_under_ids_of_their_own() -> None:
    rows = Examples.of_labels(("a", "b", "c"), ([1], [2], [3]), (0, 1, 2))
    more, positions = rows.again([2, 0, 1])
    assert more == Examples.of_labels(("a\0" + "0", "a\0" + "1", "c\0" + "0"), ([1], [1], [3]), (0, 0, 2))
    assert positions == [0, 0, 2]
