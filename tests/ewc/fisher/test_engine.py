"""The engine against one unpadded example at a time, in float64."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from pipeline.errors import NoInput, TrainingDiverged, UsageError
from pipeline.ewc.fisher import fisher_diagonal, fisher_diagonal_by_loop

from .models import build, double_norms
from .samples import largest_difference, texts, token_labels, without_labels

ORACLE = 1e-12
LENGTHS = [[7, 4, 5], [3, 6]]
SHARED_BIAS_OF_T5 = (
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
)


def batches(**options: Any) -> list[dict[str, Tensor]]:
    return [texts(lengths, seed=i, first_key=10 * i, **options) for i, lengths in enumerate(LENGTHS)]


@pytest.mark.parametrize(("estimator", "draws"), [("exact", 1), ("mc", 2), ("lowrank", 3), ("empirical", 1)])
@pytest.mark.parametrize(
    "name", ["bert", "distilbert", "roberta", "gpt2 classifier", "llama classifier"]
)  # fmt: skip
def test_fisher_of_a_classifier_matches_one_example_at_a_time(
    name: str, estimator: str, draws: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    double_norms(monkeypatch)
    model = build(name)
    ours = fisher_diagonal(model, batches(), estimator=estimator, draws=draws)
    expected = fisher_diagonal_by_loop(model, batches(), estimator=estimator, draws=draws)
    assert largest_difference(ours.diagonal, expected.diagonal) <= ORACLE
    assert ours.fallback_parameters == ()
    assert ours.examples == 5
    assert ours.trace == pytest.approx(sum(float(f.sum()) for f in ours.diagonal.values()), rel=1e-10)
    assert ours.trace_standard_error == pytest.approx(expected.trace_standard_error, rel=1e-8)


@pytest.mark.parametrize(("estimator", "draws"), [("exact", 1), ("mc", 2), ("lowrank", 3), ("empirical", 1)])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_fisher_of_a_language_model_matches_one_sequence_at_a_time(
    name: str, estimator: str, draws: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    double_norms(monkeypatch)
    model = build(name)
    whole = [token_labels(batch) for batch in batches()]
    data = whole if estimator != "exact" else [token_labels(texts([4, 3]))]  # a column for each token's words
    ours = fisher_diagonal(model, data, estimator=estimator, draws=draws)
    expected = fisher_diagonal_by_loop(model, data, estimator=estimator, draws=draws)
    assert largest_difference(ours.diagonal, expected.diagonal) <= ORACLE
    assert ours.fallback_parameters == ()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("estimator", "draws"), [("mc", 2), ("lowrank", 2), ("empirical", 1)])
def test_fisher_of_t5_matches_with_its_shared_position_bias_done_one_at_a_time(
    estimator: str, draws: int, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    double_norms(monkeypatch)
    model = build("t5", attention="eager", tie_word_embeddings=tied)
    data = [
        {**texts(lengths, seed=i), "labels": torch.randint(4, 40, (len(lengths), 4))}
        for i, lengths in enumerate(LENGTHS)
    ]
    ours = fisher_diagonal(model, data, estimator=estimator, draws=draws)
    expected = fisher_diagonal_by_loop(model, data, estimator=estimator, draws=draws)
    assert largest_difference(ours.diagonal, expected.diagonal) <= ORACLE
    assert ours.fallback_parameters == SHARED_BIAS_OF_T5


@pytest.mark.parametrize(
    ("name", "alone", "tolerance"),
    [
        ("albert", 0, ORACLE),  # one layer, used twice
        ("opt", 1, ORACLE),  # lists all tokens of all examples in its feed-forward layers
        ("gemma", 0, 1e-6),  # scaled embedding, norms of 1 + weight in float32
        ("deberta", 6, ORACLE),  # repeats what its examples share by itself
    ],
)
def test_fisher_of_unusual_models_matches_with_few_parameters_done_alone(
    name: str, alone: int, tolerance: float
) -> None:
    data = [token_labels(batch) if name in ("opt", "gemma") else batch for batch in batches()]
    model = build(name, attention="sdpa" if name in ("albert", "opt") else "eager")
    ours = fisher_diagonal(model, data, estimator="lowrank", draws=2)
    expected = fisher_diagonal_by_loop(model, data, estimator="lowrank", draws=2)
    assert largest_difference(ours.diagonal, expected.diagonal) <= tolerance
    assert len(ours.fallback_parameters) == alone, ours.fallback_parameters


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # asked by peft
def test_fisher_of_lora_adapters_matches() -> None:
    torch.manual_seed(0)
    adapted = get_peft_model(
        build("bert"),
        LoraConfig(
            r=2, target_modules=["query", "value"], modules_to_save=["classifier"], task_type="SEQ_CLS"
        ),
    ).double()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:  # zero at first, where the other half would have no gradient
                parameter.normal_()
    trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    ours = fisher_diagonal(adapted, batches(), estimator="exact", parameters=trained)
    expected = fisher_diagonal_by_loop(adapted, batches(), estimator="exact", parameters=trained)
    assert any("lora_A" in name for name in trained)
    assert largest_difference(ours.diagonal, expected.diagonal) <= ORACLE
    assert ours.fallback_parameters == ()
    assert all(float(ours.diagonal[name].sum()) > 0 for name in trained)


class Repeating(nn.Module):
    """Uses one linear layer, one norm and one embedding twice each, and a weight of its own once."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 6)
        self.linear = nn.Linear(6, 6)
        self.norm = nn.LayerNorm(6)
        self.scale = nn.Parameter(torch.randn(6))
        self.unused = nn.Linear(6, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.embedding(input_ids) + self.embedding((input_ids + 3) % 40)
        x = self.norm(self.linear(self.norm(self.linear(x)).tanh())) * self.scale
        return self.head((x * attention_mask.unsqueeze(-1)).sum(1))  # type: ignore[no-any-return]


def test_contributions_of_a_module_used_twice_are_added_before_squaring() -> None:
    torch.manual_seed(0)
    model = Repeating().double()
    ours = fisher_diagonal(model, batches(), estimator="exact")
    expected = fisher_diagonal_by_loop(model, batches(), estimator="exact")
    assert largest_difference(ours.diagonal, expected.diagonal) <= ORACLE
    assert ours.fallback_parameters == ("scale",)
    assert float(ours.diagonal["unused.weight"].abs().sum()) == 0


class WeightBorrowed(nn.Module):
    """Uses a linear layer's weight a second time behind the layer's back."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 6)
        self.linear = nn.Linear(6, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.linear(self.embedding(input_ids)).tanh() @ self.linear.weight
        return self.head((x * attention_mask.unsqueeze(-1)).sum(1))  # type: ignore[no-any-return]


def test_a_weight_used_outside_its_module_is_noticed_and_done_one_example_at_a_time() -> None:
    torch.manual_seed(0)
    model = WeightBorrowed().double()
    ours = fisher_diagonal(model, batches(), estimator="exact")
    expected = fisher_diagonal_by_loop(model, batches(), estimator="exact")
    assert ours.fallback_parameters == ("linear.weight",)
    assert largest_difference(ours.diagonal, expected.diagonal) <= ORACLE


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2 classifier", "llama classifier"])
def test_left_padding_right_padding_and_attention_kernel_do_not_matter(
    name: str, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    double_norms(monkeypatch)
    model = build(name, attention=attention)
    right = fisher_diagonal(model, batches(), estimator="exact")
    left = fisher_diagonal(model, batches(left=True), estimator="exact")
    assert largest_difference(left.diagonal, right.diagonal) <= ORACLE
    other = fisher_diagonal(build(name), batches(), estimator="exact")
    in_float32 = attention == "eager" and name != "bert"  # where the softmax of these models is taken
    assert largest_difference(other.diagonal, right.diagonal) <= (1e-5 if in_float32 else ORACLE)


@settings(max_examples=10, deadline=None)
@given(
    order=st.permutations(range(6)),
    cuts=st.sets(st.integers(1, 5)),
    estimator=st.sampled_from(["exact", "mc", "lowrank", "empirical"]),
)
def test_batch_size_and_example_order_do_not_matter(order: list[int], cuts: set[int], estimator: str) -> None:
    model, whole = build("bert"), texts([3, 8, 5, 5, 7, 4])
    edges = [0, *sorted(cuts), 6]
    shuffled = [
        {name: tensor[order[start:end]] for name, tensor in whole.items()} for start, end in pairwise(edges)
    ]
    once = fisher_diagonal(model, [whole], estimator=estimator, draws=2)
    again = fisher_diagonal(model, shuffled, estimator=estimator, draws=2)
    assert largest_difference(again.diagonal, once.diagonal) <= 1e-11
    assert all(bool((f >= 0).all()) for f in again.diagonal.values())


def test_shards_weighted_by_their_examples_add_up_to_the_whole() -> None:
    model, shards = build("bert"), batches()
    whole = fisher_diagonal(model, shards, estimator="lowrank", draws=2)
    parts = [fisher_diagonal(model, [shard], estimator="lowrank", draws=2) for shard in shards]
    summed = {
        name: sum((part.diagonal[name] * part.examples for part in parts[1:]), parts[0].diagonal[name] * 3)
        / 5
        for name in whole.diagonal
    }
    assert largest_difference(summed, whole.diagonal) <= ORACLE


def test_example_keys_and_not_positions_decide_the_draws() -> None:
    model, batch = build("bert"), texts([5, 5])
    same = {name: tensor[:1].repeat(2, *[1] * (tensor.dim() - 1)) for name, tensor in batch.items()}
    alike = fisher_diagonal(model, [same], estimator="lowrank", draws=1)
    assert alike.trace_standard_error == pytest.approx(0, abs=1e-6 * alike.trace)
    other = fisher_diagonal(
        model, [{**same, "example_keys": torch.tensor([0, 1])}], estimator="lowrank", draws=1
    )
    assert other.trace_standard_error > 1e-3 * other.trace
    assert fisher_diagonal(model, [same], estimator="lowrank", draws=1, seed=1).trace != alike.trace


def test_restricting_to_parameters_gives_the_same_values_for_them() -> None:
    model = build("bert")
    names = [name for name, _ in model.named_parameters() if "layer.1" in name or "classifier" in name]
    whole = fisher_diagonal(model, batches(), estimator="exact")
    part = fisher_diagonal(model, batches(), estimator="exact", parameters=names)
    assert list(part.diagonal) == names
    assert largest_difference(part.diagonal, {name: whole.diagonal[name] for name in names}) <= ORACLE


def test_bfloat16_autocast_sums_in_float32_and_stays_close() -> None:
    model = build("bert").float()
    plain = fisher_diagonal(model, batches(), estimator="exact")
    mixed = fisher_diagonal(model, batches(), estimator="exact", autocast_dtype=torch.bfloat16)
    assert {f.dtype for f in mixed.diagonal.values()} == {torch.float32}
    assert mixed.trace == pytest.approx(plain.trace, rel=0.05)
    difference = sum(float((mixed.diagonal[n] - f).abs().sum()) for n, f in plain.diagonal.items())
    assert 0 < difference <= 0.1 * plain.trace


def test_float32_models_agree_with_float64() -> None:
    wide = fisher_diagonal(build("bert"), batches(), estimator="exact")
    narrow = fisher_diagonal(build("bert").float(), batches(), estimator="exact")
    difference = sum(float((narrow.diagonal[n] - f).abs().sum()) for n, f in wide.diagonal.items())
    assert 0 < difference <= 1e-5 * wide.trace


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_put_back_as_it_was(fails: bool) -> None:
    model = build("bert").train()
    model.activation_checkpointing_enable()  # type: ignore[operator]
    model.get_submodule("classifier").eval()
    frozen = model.get_parameter("classifier.bias").requires_grad_(False)
    model.get_parameter("classifier.weight").grad = torch.full((5, 16), 3.0, dtype=torch.float64)
    hooks = [len(module._forward_hooks) for module in model.modules()]
    weights = {name: parameter.clone() for name, parameter in model.named_parameters()}

    def data() -> Any:
        yield texts([4, 5])
        if fails:
            raise KeyboardInterrupt
        yield texts([6])

    if fails:
        with pytest.raises(KeyboardInterrupt):
            fisher_diagonal(model, data())
    else:
        fisher_diagonal(model, data())
    assert model.training
    assert not model.get_submodule("classifier").training
    assert not frozen.requires_grad
    assert all(p.requires_grad for p in model.parameters() if p is not frozen)
    assert model.is_activation_checkpointing
    grads = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert grads == {"classifier.weight"}
    assert float(model.get_parameter("classifier.weight").grad.sum()) == 240  # type: ignore[union-attr]
    assert all(torch.equal(weights[name], parameter) for name, parameter in model.named_parameters())
    assert [len(module._forward_hooks) for module in model.modules()] == hooks


def test_dropout_is_off() -> None:
    model = build("bert", hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5).train()
    first = fisher_diagonal(model, batches(), estimator="exact")
    assert (
        largest_difference(fisher_diagonal(model, batches(), estimator="exact").diagonal, first.diagonal) == 0
    )


def test_it_works_inside_no_grad() -> None:
    with torch.no_grad():
        quiet = fisher_diagonal(build("bert"), batches(), estimator="exact")
    assert quiet.trace == fisher_diagonal(build("bert"), batches(), estimator="exact").trace > 0


def test_it_stops_once_the_trace_is_settled() -> None:
    model = build("bert")
    told: list[int] = []

    def advance(count: int = 1, note: str = "") -> None:
        told.append(count)

    data = [texts([4, 6, 5, 7] * 8, seed=i) for i in range(20)]
    stopped = fisher_diagonal(model, data, estimator="exact", stop_at_relative_error=0.2, advance=advance)
    assert 64 <= stopped.examples < 640
    assert stopped.trace_standard_error <= 0.2 * stopped.trace
    assert sum(told) == stopped.examples


def test_what_cannot_be_done_is_refused_with_a_reason() -> None:
    model = build("bert")
    with pytest.raises(
        UsageError, match="expected an estimator of auto, exact, mc, lowrank, empirical, found 'true'"
    ):
        fisher_diagonal(model, batches(), estimator="true")
    with pytest.raises(UsageError, match="no parameter 'nothing'"):
        fisher_diagonal(model, batches(), parameters=["nothing"])
    with pytest.raises(UsageError, match="needs 'labels'"):
        fisher_diagonal(model, [without_labels(b) for b in batches()], estimator="empirical")
    with pytest.raises(UsageError, match="at least two classes, found 1"):
        fisher_diagonal(build("bert", num_labels=1), batches())
    with pytest.raises(UsageError, match="expected 'input_ids' in the batch, found \\['labels'\\]"):
        fisher_diagonal(model, [{"labels": torch.zeros(2)}])
    with pytest.raises(NoInput, match="at least one example, found none"):
        fisher_diagonal(model, [])


def test_damaged_weights_are_refused() -> None:
    model = build("bert")
    with torch.no_grad():
        model.get_parameter("classifier.bias")[0] = float("nan")
    with pytest.raises(TrainingDiverged, match="logits are infinite or not a number"):
        fisher_diagonal(model, batches())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_what_the_cpu_gives() -> None:
    on_cpu = fisher_diagonal(build("bert"), batches(), draws=2, estimator="lowrank")
    on_gpu = fisher_diagonal(build("bert").cuda(), batches(), draws=2, estimator="lowrank")
    moved = {name: tensor.cpu() for name, tensor in on_gpu.diagonal.items()}
    assert largest_difference(moved, on_cpu.diagonal) <= 1e-10
