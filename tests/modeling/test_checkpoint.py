"""Checkpoints are loaded strictly: only safetensors, no code, every weight where it belongs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipeline.errors import ArtifactCorrupt, BadConfig, NoInput
from pipeline.labels import LabelSet
from pipeline.modeling.checkpoint import require_length, save_learner
from pipeline.modeling.task import Learner
from pipeline.modeling.tasks import task_of
from pipeline.modeling.tasks.causal_lm import CAUSAL_LM, load_language_model
from pipeline.modeling.tasks.sequence_classification import (
    SEQUENCE_CLASSIFICATION,
    load_classifier,
    new_classifier,
)
from pipeline.store.base_models import base_location
from tests import language_models
from tests.modeling.conftest import LABELS

Make = Callable[..., Learner]


@pytest.fixture
def folder(make: Make, tmp_path: Path) -> Path:
    """A saved checkpoint."""
    save_learner(make(), tmp_path)
    return tmp_path


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_what_is_saved_is_loaded_bit_for_bit(make: Make, folder: Path) -> None:
    loaded, original = load_classifier(folder), make()
    assert loaded.labels == LABELS
    assert not loaded.model.training
    for name, tensor in original.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor), name


def test_saving_twice_gives_the_same_bytes(
    make: Make, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    save_learner(make(), other)
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == {
        f.name: f.read_bytes() for f in other.iterdir()
    }


def test_the_seed_decides_the_new_head(plain_base: Path) -> None:
    one, again, other = (new_classifier(str(plain_base), LABELS, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.model.classifier.weight, again.model.classifier.weight)
    assert not torch.equal(one.model.classifier.weight, other.model.classifier.weight)


def test_a_folder_without_a_checkpoint_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(NoInput, match=r"expected a checkpoint folder, found no config\.json"):
        load_classifier(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_that_comes_with_a_checkpoint_is_never_run(folder: Path, name: str) -> None:
    edit(folder / name, auto_map={"AutoConfig": "evil.Config"})
    with pytest.raises(ArtifactCorrupt, match="asks to run code that comes with the checkpoint"):
        load_classifier(folder)


def test_pickled_weights_are_not_read(folder: Path) -> None:
    weights = folder / "model.safetensors"
    torch.save({"x": torch.zeros(1)}, folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(NoInput, match=r"found pytorch_model\.bin: pickled weights can run code"):
        load_classifier(folder)


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_a_cut_weights_file_is_corrupt(folder: Path, keep: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(ArtifactCorrupt, match=r"model\.safetensors"):
        load_classifier(folder)


def rewritten(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_missing_weight_is_corrupt_and_not_made_up(folder: Path) -> None:
    rewritten(folder, lambda tensors: tensors.__delitem__("classifier.weight"))
    with pytest.raises(ArtifactCorrupt, match=r"missing keys: classifier\.weight"):
        load_classifier(folder)


def test_a_surplus_weight_is_corrupt(folder: Path) -> None:
    rewritten(folder, lambda tensors: tensors.update({"adapter.weight": torch.zeros(2)}))
    with pytest.raises(ArtifactCorrupt, match=r"unexpected keys: adapter\.weight"):
        load_classifier(folder)


def test_a_weight_of_another_shape_is_corrupt(folder: Path) -> None:
    rewritten(folder, lambda tensors: tensors.update({"classifier.weight": torch.zeros(6, 31)}))
    with pytest.raises(ArtifactCorrupt):
        load_classifier(folder)


@pytest.mark.parametrize("label2id", [{"a": 0, "b": 0}, {"a": 1, "b": 2}])
def test_labels_that_do_not_fit_the_head_are_corrupt(folder: Path, label2id: dict[str, int]) -> None:
    edit(folder / "config.json", label2id=label2id)
    with pytest.raises(ArtifactCorrupt):
        load_classifier(folder)


def test_a_configuration_that_is_no_json_is_corrupt(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(ArtifactCorrupt, match=r"config\.json: not readable as JSON"):
        load_classifier(folder)


def test_labels_with_odd_names_survive(plain_base: Path, tmp_path: Path) -> None:
    labels = LabelSet(("reverted_card_payment?", "Ärger & Öl", "a b"))
    save_learner(new_classifier(str(plain_base), labels, seed=0), tmp_path)
    assert load_classifier(tmp_path).labels == labels


def test_a_base_may_be_a_folder_relative_to_the_workspace(plain_base: Path, tmp_path: Path) -> None:
    shutil.copytree(plain_base, tmp_path / "models" / "base")
    assert base_location("models/base", tmp_path) == str((tmp_path / "models/base").resolve())
    assert base_location(str(plain_base), tmp_path) == str(plain_base.resolve())


def test_a_base_that_is_no_folder_is_taken_as_a_hub_name(tmp_path: Path) -> None:
    assert (
        base_location("sentence-transformers/all-MiniLM-L6-v2", tmp_path)
        == "sentence-transformers/all-MiniLM-L6-v2"
    )


def test_a_base_may_lie_in_a_python_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "small_model_package"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model" / "config.json").write_text("{}")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert base_location("package:small_model_package/model", tmp_path) == str(package / "model")
    with pytest.raises(NoInput, match=r"holds no config\.json"):
        base_location("package:small_model_package/absent", tmp_path)


@pytest.mark.parametrize("base", ["package:absent_package/model", "package:../x/model", "package:/model"])
def test_a_package_that_is_not_installed_is_no_input(base: str, tmp_path: Path) -> None:
    with pytest.raises(NoInput, match="is not installed"):
        base_location(base, tmp_path)


@pytest.mark.parametrize("kind", language_models.KINDS)
def test_a_language_model_is_told_from_a_classifier_by_its_config(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    language_model = language_models.write_language_model(tmp_path / kind, kind)
    assert task_of(language_model) is CAUSAL_LM
    assert task_of(folder) is SEQUENCE_CLASSIFICATION
    with pytest.raises(NoInput, match=r"expected a checkpoint folder, found no config.json"):
        task_of(tmp_path / "absent")


def test_a_language_model_without_a_padding_token_can_be_padded(tmp_path: Path) -> None:
    folder = language_models.write_language_model(tmp_path / "gpt2", "gpt2")
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config.pop("eos_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    loaded = load_language_model(folder)
    assert loaded.tokenizer.pad_token_id == 0
    assert not loaded.model.training


@pytest.mark.parametrize(("architecture", "longest"), [("bert", 32), ("distilbert", 32), ("roberta", 39)])
def test_the_longest_text_is_as_long_as_the_model_has_positions(
    make: Make, architecture: str, longest: int
) -> None:
    model = make(architecture).model

    def read(tokens: int) -> None:
        model(input_ids=torch.full((1, tokens), 7), attention_mask=torch.ones(1, tokens, dtype=torch.int64))

    require_length(model, longest)
    read(longest)
    with pytest.raises(BadConfig, match=f"reads at most {longest} tokens"):
        require_length(model, longest + 1)
    with pytest.raises((RuntimeError, IndexError)):
        read(longest + 1)


@pytest.mark.parametrize(
    "named", ["model.bin", "../model.safetensors", "/model.safetensors", "absent.safetensors"]
)
def test_an_index_names_only_safetensors_inside_the_folder(folder: Path, named: str) -> None:
    index = folder / "model.safetensors.index.json"
    (folder / "model.bin").write_bytes(b"pickled")
    shutil.copy(folder / "model.safetensors", folder.parent / "model.safetensors")
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"classifier.bias": named}}))
    with pytest.raises(ArtifactCorrupt, match=f"index.json: names '{named}', expected"):
        load_classifier(folder)


def test_an_index_over_a_sound_file_is_read(make: Make, folder: Path) -> None:
    model = make().model
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    places = dict.fromkeys(model.state_dict(), "part.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert torch.equal(load_classifier(folder).model.classifier.weight, model.classifier.weight)


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_a_head_of_another_kind_is_refused(folder: Path, problem: str) -> None:
    edit(folder / "config.json", problem_type=problem)
    with pytest.raises(ArtifactCorrupt, match=f"problem_type is '{problem}', expected single_label"):
        load_classifier(folder)


def test_names_that_disagree_are_refused(folder: Path) -> None:
    names = json.loads((folder / "config.json").read_text())["id2label"]
    edit(folder / "config.json", id2label={**names, "0": names["1"], "1": names["0"]})
    with pytest.raises(ArtifactCorrupt, match="label2id and id2label disagree: label 0 is"):
        load_classifier(folder)


def test_weights_that_are_no_numbers_are_refused(make: Make, tmp_path: Path) -> None:
    classifier = make()
    with torch.no_grad():
        classifier.model.classifier.weight[0, 0] = float("nan")
    save_learner(classifier, tmp_path)
    with pytest.raises(ArtifactCorrupt, match=r"'classifier\.weight' holds NaN or infinite values"):
        load_classifier(tmp_path)


def test_a_folder_without_a_tokenizer_is_refused(folder: Path) -> None:
    for file in [*folder.glob("tokenizer*"), *folder.glob("vocab*")]:
        file.unlink()
    with pytest.raises(ArtifactCorrupt, match="holds no tokenizer"):
        load_classifier(folder)


def test_an_adapter_is_told_for_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(NoInput, match=r"is an adapter \(adapter_config\.json\), expected a whole model"):
        load_classifier(tmp_path)


@pytest.mark.parametrize("name", ["spm.model", "spiece.model", "source.spm"])
def test_a_tokenizer_of_sentencepiece_alone_names_the_packages_that_read_it(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: object, **__: object) -> None:
        raise ValueError("`tiktoken` is required to read a `tiktoken` file.")

    monkeypatch.setattr("pipeline.modeling.checkpoint.AutoTokenizer.from_pretrained", unreadable)
    monkeypatch.setattr("pipeline.modeling.checkpoint.find_spec", lambda package: None)
    (folder / "tokenizer.json").unlink()
    (folder / name).write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    with pytest.raises(BadConfig, match="pip install sentencepiece tiktoken protobuf"):
        load_classifier(folder)
