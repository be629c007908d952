"""An adopted checkpoint answers as transformers.pipeline does, or is refused."""

import json
from pathlib import Path

import pytest
import torch
from transformers import FNetConfig, FNetForSequenceClassification, GPT2Config, GPT2ForSequenceClassification

from pipeline.errors import ArtifactCorrupt, NoInput
from pipeline.labels import LabelSet
from pipeline.modeling.adoption import require_served_alike
from pipeline.modeling.batches import Examples, encode, keyed_batches, padded_batches
from pipeline.modeling.checkpoint import save_learner
from pipeline.modeling.closed_labels import close_rows_
from pipeline.modeling.prediction import logits
from pipeline.modeling.task import Learner
from pipeline.modeling.tasks import SEQUENCE_CLASSIFICATION
from pipeline.modeling.tasks.sequence_classification import load_classifier, new_classifier
from tests import toy

LABELS = LabelSet(("a", "b", "c"))
TEXTS = [row["text"] for row in toy.toy_stream().launch] + [
    "my parcel",
    "i have a broken screen problem today",
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_base(tmp_path_factory.mktemp("base") / "base")


def saved(classifier: Learner, folder: Path) -> Path:
    classifier.model.config.id2label = dict(enumerate(LABELS.names))
    classifier.model.config.label2id = LABELS.ids
    folder.mkdir()
    save_learner(classifier, folder)
    return folder


def test_a_sound_checkpoint_is_taken(base: Path, tmp_path: Path) -> None:
    require_served_alike(saved(new_classifier(str(base), LABELS, seed=0), tmp_path / "sound"), TEXTS, 16)


def test_labels_that_a_server_does_not_find_are_refused(base: Path, tmp_path: Path) -> None:
    folder = saved(new_classifier(str(base), LABELS, seed=0), tmp_path / "nameless")
    config = json.loads((folder / "config.json").read_text())
    del config["id2label"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactCorrupt, match=r"config\.json: expected id2label beside label2id, found none"):
        require_served_alike(folder, TEXTS, 16)


def test_a_decoder_that_pads_otherwise_than_its_tokenizer_is_refused(base: Path, tmp_path: Path) -> None:
    tokenizer = new_classifier(str(base), LABELS, seed=0).tokenizer
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=32, n_embd=16, n_layer=2, n_head=2, num_labels=3, pad_token_id=5,
        initializer_range=0.5,
    )  # fmt: skip
    folder = saved(
        Learner(GPT2ForSequenceClassification(config), tokenizer, LABELS, SEQUENCE_CLASSIFICATION),
        tmp_path / "decoder",
    )
    with pytest.raises(ArtifactCorrupt, match=r"\d+ of 32 answers differ .* 8 at a time"):
        require_served_alike(folder, TEXTS, 16)


def test_a_tokenizer_that_knows_none_of_the_texts_is_refused(base: Path, tmp_path: Path) -> None:
    folder = saved(new_classifier(str(base), LABELS, seed=0), tmp_path / "foreign")
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {
        (word if word.startswith("[") else f"@{number}"): number for word, number in vocabulary.items()
    }
    file.write_text(json.dumps(content))
    with pytest.raises(ArtifactCorrupt, match="makes the same tokens of all 2 launch texts"):
        require_served_alike(folder, ["help me", "thank you"], 16)


@pytest.fixture
def fnet(base: Path, tmp_path: Path) -> Path:
    """A model whose answers depend on padding."""
    tokenizer = new_classifier(str(base), LABELS, seed=0).tokenizer
    torch.manual_seed(0)
    config = FNetConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, intermediate_size=32,
        max_position_embeddings=32, num_labels=3, initializer_range=0.5, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return saved(
        Learner(FNetForSequenceClassification(config), tokenizer, LABELS, SEQUENCE_CLASSIFICATION),
        tmp_path / "fnet",
    )


def test_a_model_whose_answers_depend_on_padding_is_read_in_batches_of_equal_length(
    fnet: Path, caplog: pytest.LogCaptureFixture
) -> None:
    classifier = load_classifier(fnet)
    assert "padding changes its answers" in caplog.text
    rows = encode(classifier.tokenizer, ["my parcel", *TEXTS[:20]], 16)
    assert len({len(row) for row in rows}) > 1
    alone = torch.cat([logits(classifier, [row]) for row in rows])
    assert torch.allclose(logits(classifier, rows), alone, atol=1e-5)
    examples = Examples.of_labels(tuple(map(str, range(len(rows)))), tuple(rows), (0,) * len(rows))
    for batch in keyed_batches(classifier.tokenizer, examples, seed=0):
        assert batch["attention_mask"].all()
    require_served_alike(fnet, TEXTS, 16)


def test_a_model_whose_answers_do_not_depend_on_padding_is_batched_as_ever(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    classifier = load_classifier(saved(new_classifier(str(base), LABELS, seed=0), tmp_path / "sound"))
    assert "padding" not in caplog.text
    rows = encode(classifier.tokenizer, ["my parcel", *TEXTS[:20]], 16)
    assert len(list(padded_batches(classifier.tokenizer, rows))) == 1


def test_a_head_with_rows_that_another_workspace_closed_is_refused(base: Path, tmp_path: Path) -> None:
    classifier = new_classifier(str(base), LABELS, seed=0)
    close_rows_(classifier.model, [1])
    with pytest.raises(
        ArtifactCorrupt, match="the rows of 'b' are closed, as the label was merged or retired"
    ):
        require_served_alike(saved(classifier, tmp_path / "closed"), TEXTS, 16)


def test_pickled_weights_are_named_and_never_read(base: Path, tmp_path: Path) -> None:
    folder = saved(new_classifier(str(base), LABELS, seed=0), tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    for read in (load_classifier, lambda folder: new_classifier(str(folder), LABELS, seed=0)):
        with pytest.raises(NoInput, match=r"expected model\.safetensors, found pytorch_model\.bin: pickled"):
            read(folder)
