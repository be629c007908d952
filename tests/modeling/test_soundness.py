"""Checkpoints whose parts do not belong together are refused with what is wrong, and odd ones are read as they are."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BartConfig,
    BartForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    T5Config,
    T5ForSequenceClassification,
    XLMConfig,
    XLMForSequenceClassification,
    XLNetConfig,
)

from pipeline.errors import ArtifactCorrupt, BadConfig, NoInput
from pipeline.labels import LabelSet
from pipeline.modeling.batches import encode
from pipeline.modeling.checkpoint import longest_text, save_learner
from pipeline.modeling.head import head_features, logits_of
from pipeline.modeling.prediction import logits
from pipeline.modeling.task import Learner
from pipeline.modeling.tasks import SEQUENCE_CLASSIFICATION
from pipeline.modeling.tasks.sequence_classification import load_classifier, new_classifier
from pipeline.modeling.trained import layer_parameters, layer_stack
from tests import toy

LABELS = LabelSet(("a", "b", "c"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_base(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    """A classifier of three labels."""
    classifier = new_classifier(str(base), LABELS, seed=0)
    target = tmp_path / "checkpoint"
    target.mkdir()
    save_learner(classifier, target)
    return target


def change(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in (content | values).items() if v is not ...}))


def decoder(tokenizer: Any, *, pad: int | None) -> Learner:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=32,
        n_embd=16,
        n_layer=2,
        n_head=2,
        num_labels=3,
        pad_token_id=pad,
    )
    return Learner(GPT2ForSequenceClassification(config).eval(), tokenizer, LABELS, SEQUENCE_CLASSIFICATION)


def test_the_features_are_those_of_the_token_that_a_decoder_reads_where_padding_is_its_end(
    base: Path,
) -> None:
    tokenizer = new_classifier(str(base), LABELS, seed=0).tokenizer
    tokenizer.pad_token = tokenizer.sep_token  # which the tokenizer appends to every text
    classifier = decoder(tokenizer, pad=tokenizer.pad_token_id)
    rows = encode(tokenizer, ["my parcel today", "question about the invoice and fee"], 16)
    assert torch.allclose(
        logits_of(classifier.model, head_features(classifier, rows)), logits(classifier, rows), atol=1e-6
    )


def test_a_model_that_pads_otherwise_than_its_tokenizer_reads_as_the_tokenizer_pads(
    base: Path, tmp_path: Path
) -> None:
    tokenizer = new_classifier(str(base), LABELS, seed=0).tokenizer
    target = tmp_path / "decoder"
    target.mkdir()
    classifier = decoder(tokenizer, pad=5)
    classifier.model.config.label2id, classifier.model.config.id2label = (
        LABELS.ids,
        dict(enumerate(LABELS.names)),
    )
    save_learner(classifier, target)
    loaded = load_classifier(target)
    rows = encode(loaded.tokenizer, ["my parcel today", "question about the invoice and fee i have"], 16)
    alone = torch.cat([logits(loaded, [row]) for row in rows])
    assert torch.allclose(logits(loaded, rows), alone, atol=1e-6)


@pytest.mark.parametrize("count", [3, 5])
def test_a_base_with_a_head_of_its_own_gets_a_new_one(folder: Path, count: int) -> None:
    labels = LabelSet(tuple("vwxyz"[:count]))
    old = load_classifier(folder).model
    model = new_classifier(str(folder), labels, seed=1).model
    assert model.classifier.weight.shape == (count, 32)
    if count == 3:
        assert not torch.equal(model.classifier.weight, old.classifier.weight)
    assert torch.equal(
        model.classifier.weight, new_classifier(str(folder), labels, seed=1).model.classifier.weight
    )
    assert torch.equal(
        model.bert.embeddings.word_embeddings.weight, old.bert.embeddings.word_embeddings.weight
    )


def test_labels_are_read_from_either_table(folder: Path) -> None:
    change(folder / "config.json", label2id=...)
    assert load_classifier(folder).labels == LABELS
    change(folder / "config.json", label2id={"a": "0", "b": "1", "c": "2"}, id2label=...)
    assert load_classifier(folder).labels == LABELS


def quantized(folder: Path) -> None:
    change(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})


def endless(folder: Path) -> None:
    change(folder / "config.json", num_hidden_layers=10**7)


def without_head(folder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    model.bert.save_pretrained(folder)
    change(folder / "config.json", label2id=LABELS.ids, id2label=dict(enumerate(LABELS.names)))


def foreign_tokenizer(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary[max(vocabulary, key=vocabulary.get)] = 5000
    (folder / "tokenizer.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (quantized, r"the weights are quantized \(gptq\)"),
        (endless, "num_hidden_layers is 10000000, expected at most 10000"),
        (without_head, "has no classification head .* Name it as model.base"),
        (foreign_tokenizer, r"the tokenizer has ids up to 5000, the model embeddings for \d+ tokens"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    folder: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(folder)
    with pytest.raises(ArtifactCorrupt, match=message):
        load_classifier(folder)


def loaded(folder: Path) -> str:
    """`loaded`, or the project's message; any other exception is a fault."""
    try:
        load_classifier(folder)
    except (ArtifactCorrupt, NoInput, BadConfig) as error:
        return str(error)
    return "loaded"


ODD: tuple[object, ...] = (None, -1, 0, 10**9, "x", [], {}, 1.5, True)


@pytest.mark.parametrize(
    "key", ["hidden_size", "num_attention_heads", "vocab_size", "model_type", "label2id", "id2label"]
)
@pytest.mark.parametrize("value", ODD, ids=str)
def test_an_odd_configuration_is_an_error_of_the_project_or_harmless(
    folder: Path, key: str, value: object
) -> None:
    change(folder / "config.json", **{key: value})
    outcome = loaded(folder)
    assert outcome == "loaded" or str(folder) in outcome


@pytest.mark.parametrize(
    "key", ["model", "normalizer", "pre_tokenizer", "post_processor", "added_tokens", "version"]
)
@pytest.mark.parametrize("value", ODD, ids=str)
def test_an_odd_tokenizer_is_an_error_of_the_project_or_harmless(
    folder: Path, key: str, value: object
) -> None:
    change(folder / "tokenizer.json", **{key: value})
    outcome = loaded(folder)
    assert outcome == "loaded" or str(folder) in outcome


def test_xlnet_sets_no_limit() -> None:
    config = XLNetConfig(vocab_size=50, d_model=16, n_layer=1, n_head=2, d_inner=16, num_labels=3)
    assert longest_text(AutoModelForSequenceClassification.from_config(config)) is None


def test_the_stack_of_a_small_t5_is_its_blocks() -> None:
    config = T5Config(vocab_size=50, d_model=16, num_layers=2, num_heads=2, d_ff=16, num_labels=3)
    name, stack = layer_stack(T5ForSequenceClassification(config))
    assert (name, len(stack)) == ("transformer.encoder.block", 2)


def test_a_model_whose_layers_lie_in_pieces_has_no_topmost_layers() -> None:
    config = XLMConfig(vocab_size=50, emb_dim=16, n_layers=2, n_heads=2, num_labels=3)
    model = XLMForSequenceClassification(config)
    with pytest.raises(BadConfig, match="has no stack of layers"):
        layer_parameters(model, "top:1")


def test_barts_embedding_norm_is_not_among_the_topmost_layers() -> None:
    config = BartConfig(
        vocab_size=50, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_labels=3,
    )  # fmt: skip
    names = layer_parameters(BartForSequenceClassification(config), "top:1")
    assert not [name for name in names if name.startswith("model.encoder.layernorm_embedding")]
    assert "model.decoder.layernorm_embedding.weight" in names
    assert "classification_head.out_proj.weight" in names


def test_a_configuration_that_is_no_object_is_refused(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "copy")
    (tmp_path / "copy" / "config.json").write_text("[]")
    with pytest.raises(ArtifactCorrupt, match="expected an object, found list"):
        new_classifier(str(tmp_path / "copy"), LABELS, seed=0)
