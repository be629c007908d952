"""What a customer writes is text, also where it looks like a tokenizer's special token."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.modeling.batches import encode
from pipeline.modeling.checkpoint import save_learner
from pipeline.modeling.prediction import predict
from pipeline.modeling.task import Learner
from pipeline.modeling.tasks.sequence_classification import load_classifier, new_classifier
from tests.modeling.conftest import LABELS
from tests.special_texts import SPECIAL, write_bart_base, write_t5_base

BASES = {"bart": write_bart_base, "t5": write_t5_base}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: write(tmp_path_factory.mktemp(kind) / "base") for kind, write in BASES.items()}


def classifier(base: Path) -> Learner:
    return new_classifier(str(base), LABELS, seed=0)


@pytest.mark.parametrize("kind", BASES)
def test_special_tokens_stand_only_in_the_frame(bases: dict[str, Path], kind: str) -> None:
    tokenizer = classifier(bases[kind]).tokenizer
    frame = tokenizer.convert_tokens_to_ids(["<s>", "</s>"] if kind == "bart" else ["</s>"])
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    for ids in encode(tokenizer, [*SPECIAL, "help me"], 32):
        assert [number for number in ids if number in special] == frame
        assert ids[-1] == frame[-1]


@pytest.mark.parametrize("kind", BASES)
def test_texts_with_special_tokens_are_labelled_beside_others(bases: dict[str, Path], kind: str) -> None:
    assert len(predict(classifier(bases[kind]), [*SPECIAL, "help me"], 32)) == len(SPECIAL) + 1


def test_ordinary_texts_are_read_as_ever(make: Callable[..., Learner], bases: dict[str, Path]) -> None:
    texts = ["please help with invoice charge", "!", "5 < 6 > 4", ""]
    for made in (make(), *(classifier(base) for base in bases.values())):
        found = encode(made.tokenizer, texts, 16)
        made.tokenizer.split_special_tokens = False
        assert found == encode(made.tokenizer, texts, 16)


def test_separators_of_bert_are_read_as_letters(make: Callable[..., Learner]) -> None:
    tokenizer = make().tokenizer
    assert encode(tokenizer, ["help [SEP] me"], 16) == encode(tokenizer, ["help [ sep ] me"], 16)


@pytest.mark.parametrize("kind", BASES)
def test_a_saved_tokenizer_reads_as_the_training_did(
    bases: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    save_learner(classifier(bases[kind]), tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).split_special_tokens
    again = load_classifier(tmp_path)
    assert encode(again.tokenizer, SPECIAL, 32) == encode(classifier(bases[kind]).tokenizer, SPECIAL, 32)


def test_the_markers_of_a_language_models_texts_stay(tmp_path: Path) -> None:
    from pipeline.modeling.tasks.causal_lm import load_language_model
    from tests.language_models import write_language_model

    tokenizer: Any = load_language_model(write_language_model(tmp_path / "m", "gpt2")).tokenizer
    assert encode(tokenizer, ["the parcel <end> is late"], 16)[0].count(tokenizer.eos_token_id) == 1


def test_a_text_of_nothing_but_a_marker_is_no_empty_row(bases: dict[str, Path]) -> None:
    made = classifier(bases["t5"])
    made.tokenizer.backend_tokenizer.post_processor = None
    (ids,) = encode(made.tokenizer, ["</s>"], 16)
    assert ids


def test_unlike_numbers_of_ends_are_what_these_models_refuse(bases: dict[str, Path]) -> None:
    """Says why the above matters: should transformers take such texts one day, this fails."""
    made = classifier(bases["t5"])
    end = made.tokenizer.eos_token_id
    with pytest.raises(ValueError, match="same number of <eos>"), torch.no_grad():
        made.model(input_ids=torch.tensor([[3, end, end], [3, 3, end]]))
