"""Which task a checkpoint is of, and the Fisher of one that tags tokens."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForTokenClassification

from pipeline.errors import UsageError
from pipeline.modeling.tasks import TASKS, task_of
from pipeline.modeling.tasks.token_classification import TOKEN_CLASSIFICATION
from tests import toy
from tests.conftest import call

TEXTS = ("my password account today", "parcel courier", "please help with invoice charge")


@pytest.fixture
def tagger(base: Path, tmp_path: Path) -> Path:
    """A random BERT of one layer with three tags, as a checkpoint folder."""
    folder = tmp_path / "tagger"
    tokenizer = AutoTokenizer.from_pretrained(base)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32, num_labels=3, pad_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    BertForTokenClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def by_hand(folder: Path) -> dict[str, torch.Tensor]:
    """The exact Fisher, from autograd: over each token's own distribution, the tokens of one text independent."""
    model = BertForTokenClassification.from_pretrained(folder).double().eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for text in TEXTS:
        batch = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        log_p = model(**batch).logits[0, 1:-1].log_softmax(-1)  # without the tokens that frame the text
        for position in log_p:
            for entry in position:
                grads = torch.autograd.grad(
                    entry, list(model.parameters()), retain_graph=True, allow_unused=True
                )
                for (name, _), grad in zip(model.named_parameters(), grads, strict=True):
                    if grad is not None:
                        total[name] += entry.detach().exp() * grad.square()
    return {name: tensor / len(TEXTS) for name, tensor in total.items()}


def test_a_token_classifiers_fisher_is_the_sum_over_its_text_tokens(tagger: Path, tmp_path: Path) -> None:
    from pipeline.store.fisher_file import read_fisher

    rows = toy.write_jsonl(tmp_path / "rows.jsonl", [{"text": text} for text in TEXTS])
    done = call("fisher", "compute", tagger, "--data", rows, "--estimator", "exact", "--device", "cpu")
    assert done.code == 0, done.err
    diagonal, metadata = read_fisher(tagger / "fisher.safetensors")
    assert metadata.examples == 3
    assert "sum over its tokens" in metadata.division
    expected = by_hand(tagger)
    assert diagonal.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(diagonal[name].double(), tensor, rtol=1e-4, atol=1e-9)
    assert call("fisher", "verify", tagger / "fisher.safetensors", "--checkpoint", tagger).code == 0


def test_an_estimator_that_needs_tags_is_refused(tagger: Path, tmp_path: Path) -> None:
    assert task_of(tagger) is TOKEN_CLASSIFICATION
    with pytest.raises(
        UsageError, match=r"empirical: is not for .*token classifier.* Take exact or mc or lowrank"
    ):
        TOKEN_CLASSIFICATION.estimator("empirical", tagger)


def test_the_last_task_takes_what_no_other_does(tagger: Path) -> None:
    config = json.loads((tagger / "config.json").read_text())
    del config["architectures"]
    (tagger / "config.json").write_text(json.dumps(config))
    assert task_of(tagger) is TASKS[-1]
    assert [task.architectures(["BertForSequenceClassification"]) for task in TASKS] == [False, False, True]
    assert [task.architectures(["LlamaForCausalLM"]) for task in TASKS] == [True, False, True]
