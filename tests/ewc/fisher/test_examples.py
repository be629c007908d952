import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ewc.fisher.examples import padded_right, scored_logits, single_examples

from .models import build
from .samples import texts, token_labels, without_labels


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 3))
def test_left_padding_turns_into_the_same_tokens_on_the_left_edge(lengths: list[int], spare: int) -> None:
    right, left = texts(lengths), texts(lengths, left=True)
    wide = {
        name: torch.nn.functional.pad(tensor, (0, spare)) if tensor.dim() == 2 else tensor
        for name, tensor in left.items()
    }
    turned = padded_right(wide)
    assert turned.keys() == right.keys()
    for name, tensor in right.items():
        assert torch.equal(
            turned[name] * (turned["attention_mask"] if tensor.dim() == 2 else 1),
            tensor * (right["attention_mask"] if tensor.dim() == 2 else 1),
        )


def test_a_hole_in_the_mask_stays_where_it_was() -> None:
    mask = torch.tensor([[0, 1, 0, 1, 0]])
    turned = padded_right({"input_ids": torch.tensor([[9, 5, 6, 7, 9]]), "attention_mask": mask})
    assert turned["input_ids"].tolist() == [[5, 6, 7]]
    assert turned["attention_mask"].tolist() == [[1, 0, 1]]


def test_labels_of_a_decoder_stay_when_the_encoder_turns() -> None:
    batch = {**texts([2, 4], left=True), "labels": torch.tensor([[1, 2, 3, 4], [5, 6, 7, -100]])}
    assert torch.equal(padded_right(batch, labels_follow_input=False)["labels"], batch["labels"])
    assert padded_right(batch)["labels"][0].tolist()[:2] == [3, 4]


def test_single_examples_have_no_padding() -> None:
    ones = list(single_examples(texts([3, 5], left=True)))
    assert [one["input_ids"].shape for one in ones] == [(1, 3), (1, 5)]
    assert all(bool(one["attention_mask"].all()) for one in ones)


def test_a_causal_model_scores_the_tokens_before_real_ones() -> None:
    model, batch = build("gpt2"), texts([4, 2])
    logits = torch.zeros(2, 4, 40)
    unlabelled = scored_logits(model, without_labels(batch), logits)
    assert unlabelled.mask.tolist() == [[True, True, True, False], [True, False, False, False]]
    labelled = token_labels(batch)
    labelled["labels"][0, :2] = -100  # a prompt that is not learned from
    scored = scored_logits(model, labelled, logits)
    assert scored.mask.tolist() == [[False, True, True, False], [True, False, False, False]]
    assert scored.labels is not None
    assert scored.labels[0, 1:3].tolist() == batch["input_ids"][0, 2:].tolist()


def test_a_decoder_scores_its_labels_in_place() -> None:
    labels = torch.tensor([[4, 5, -100]])
    scored = scored_logits(build("t5"), {**texts([4]), "labels": labels}, torch.zeros(1, 3, 40))
    assert scored.mask.tolist() == [[True, True, False]]
