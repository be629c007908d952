"""One optimizer step is the same however its rows are cut, and the penalty stands apart from the task loss."""

import itertools
import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.config import TrainSection
from pipeline.errors import TrainingDiverged
from pipeline.ewc.penalty import penalty
from pipeline.modeling.batches import Examples
from pipeline.modeling.metrics import Metric
from pipeline.modeling.penalty_callback import Consolidation
from pipeline.modeling.prediction import mean_loss, predict
from pipeline.modeling.task import Learner
from pipeline.modeling.training import Objective, Replay, Training, TrainingResult
from tests import toy
from tests.modeling.conftest import LABELS, tokenised

Make = Callable[..., Learner]
NONE = Examples((), (), ())
ROWS = toy.toy_stream().launch
LAMBDA = 5.0


@dataclass(frozen=True)
class Validation:
    new: Examples = NONE
    prior: Examples = NONE


def settings(**changes: Any) -> TrainSection:
    values: dict[str, Any] = {
        "layers": "all", "learning_rate": 1e-3, "head_learning_rate": None, "epochs": 1,
        "batch_size": 8, "warmup": 0.0, "precision": "fp32",
    }  # fmt: skip
    return TrainSection(**{**values, **changes})


def train(
    classifier: Learner,
    rows: list[toy.Row],
    *,
    consolidation: Consolidation | None = None,
    validation: Validation | None = None,
    seed: int = 0,
    autocast: torch.dtype | None = None,
    replay: Replay | None = None,
    **changes: Any,
) -> TrainingResult:
    return Training(
        classifier,
        tokenised(classifier, rows),
        validation or Validation(),
        settings=settings(**changes),
        objective=Objective(consolidation),
        seed=seed,
        autocast=autocast,
        replay=replay,
    ).run()


def parameters(classifier: Learner) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in classifier.model.named_parameters()}


def away(classifier: Learner, distance: float = 0.1) -> Consolidation:
    """A penalty whose anchor lies `distance` from each weight, so that it pulls from the first step on."""
    anchor = {name: p + distance for name, p in parameters(classifier).items()}
    generator = torch.Generator().manual_seed(1)
    weights = {name: torch.rand(p.shape, generator=generator) for name, p in anchor.items()}
    return Consolidation(anchor, weights, LAMBDA)


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max((one[name] - other[name]).abs().max().item() for name in one)


def steps(result: TrainingResult) -> list[Metric]:
    return [metric for metric in result.metrics if metric.task_loss is not None]


@pytest.fixture
def sgd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps in proportion to gradients: Adam would hide a gradient that is four times too large."""

    def plain(groups: Any, **_: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, lr=1e-3)

    monkeypatch.setattr(torch.optim, "AdamW", plain)


@pytest.mark.usefixtures("sgd")
@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("count", [8, 21], ids=["one full step", "an uneven last micro-batch"])
def test_accumulation_1_and_4_give_the_same_step(make: Make, architecture: str, count: int) -> None:
    results = []
    for accumulation in (1, 4):
        classifier = make(architecture)
        before = parameters(classifier)
        train(
            classifier, ROWS[:count], gradient_accumulation=accumulation, learning_rate=0.5, max_grad_norm=0
        )
        results.append(parameters(classifier))
        moved = difference(before, results[-1])
    assert moved > 1e-3
    assert difference(*results) < 1e-3 * moved


@pytest.mark.parametrize("accumulation", [1, 2, 4])
def test_the_logged_task_loss_is_the_mean_over_the_rows(make: Make, accumulation: int) -> None:
    classifier = make()
    rows = tokenised(classifier, ROWS[:21])
    expected = mean_loss(classifier, rows)
    result = train(
        classifier, ROWS[:21], gradient_accumulation=accumulation, learning_rate=1e-12, batch_size=24
    )
    assert result.steps == 1
    assert result.final_task_loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("sgd")
@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("clip", [0.0, 1e-12])
def test_the_penalty_is_not_scaled_by_accumulation_or_clipping(
    make: Make, accumulation: int, clip: float
) -> None:
    rate = 1e-3
    moves = []
    for strength in (0.0, LAMBDA):
        classifier = make()
        pull = away(classifier)
        before = parameters(classifier)
        pull = Consolidation(pull.anchor, pull.weights, strength)
        words: dict[str, Any] = {
            "gradient_accumulation": accumulation,
            "max_grad_norm": clip,
            "learning_rate": rate,
        }
        train(classifier, ROWS[:8], consolidation=pull, **words)
        moves.append({name: p - before[name] for name, p in parameters(classifier).items()})
    for name in moves[0]:
        by_penalty = moves[1][name] - moves[0][name]
        expected = -rate * 2 * LAMBDA * pull.weights[name] * (before[name] - pull.anchor[name])
        torch.testing.assert_close(by_penalty, expected, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_the_logged_penalty_is_the_one_of_the_formula(make: Make, accumulation: int) -> None:
    classifier = make()
    pull = away(classifier)
    expected = penalty(parameters(classifier), pull.anchor, pull.weights, LAMBDA).item()
    result = train(classifier, ROWS[:8], consolidation=pull, gradient_accumulation=accumulation)
    assert [metric.penalty for metric in steps(result)] == [pytest.approx(expected, rel=1e-5)]


def test_the_penalty_is_in_neither_the_task_loss_nor_the_validation_loss(make: Make) -> None:
    classifier = make()
    held_out = tokenised(classifier, ROWS[30:50])
    result = train(
        classifier, ROWS[:8], consolidation=away(classifier, 10.0), validation=Validation(held_out, held_out)
    )
    (last,) = [metric for metric in result.metrics if metric.new_validation_loss is not None]
    assert steps(result)[0].penalty > 1e3  # type: ignore[operator]
    assert steps(result)[0].task_loss < 20  # type: ignore[operator]
    expected = mean_loss(classifier, held_out)
    assert last.new_validation_loss == last.prior_validation_loss == pytest.approx(expected, rel=1e-6)


def test_a_strong_penalty_keeps_the_weights_at_the_anchor(make: Make) -> None:
    moved = []
    for strength in (0.0, 1000.0):
        classifier = make()
        anchor = parameters(classifier)
        pull = Consolidation(anchor, {name: torch.ones_like(p) for name, p in anchor.items()}, strength)
        train(classifier, ROWS[:32], consolidation=pull, epochs=4)
        moved.append(
            sum((p - anchor[name]).square().sum().item() for name, p in parameters(classifier).items())
        )
    assert moved[1] < 0.2 * moved[0]


@pytest.mark.usefixtures("sgd")
def test_the_proximal_form_pulls_after_the_step_at_its_learning_rate(make: Make) -> None:
    plain, pulled = make(), make()
    rate, pull = 1e-3, away(plain)
    train(plain, ROWS[:8])
    result = train(
        pulled, ROWS[:8], consolidation=Consolidation(pull.anchor, pull.weights, 100.0, "proximal")
    )
    for (name, free), (_, held) in zip(
        plain.model.named_parameters(), pulled.model.named_parameters(), strict=True
    ):
        w = 2 * rate * 100.0 * pull.weights[name]
        torch.testing.assert_close(held, (free + w * pull.anchor[name]) / (1 + w), rtol=1e-4, atol=1e-6)
    expected = penalty(parameters(pulled), pull.anchor, pull.weights, 100.0).item()
    assert [metric.penalty for metric in steps(result)] == [pytest.approx(expected, rel=1e-5)]


def test_the_head_is_pulled_at_its_own_learning_rate(make: Make) -> None:
    moved = {}
    for head_rate in (1e-6, 1e-2):
        classifier = make()
        anchor = {name: p + 0.1 for name, p in parameters(classifier).items()}
        ones = {name: torch.ones_like(p) for name, p in anchor.items()}
        held = Consolidation(anchor, ones, 1e9, "proximal")
        train(classifier, ROWS[:8], learning_rate=1e-13, head_learning_rate=head_rate, consolidation=held)
        moved[head_rate] = difference(parameters(classifier), anchor)
        head = dict(classifier.model.named_parameters())["classifier.weight"].detach()
        torch.testing.assert_close(head, anchor["classifier.weight"], rtol=1e-3, atol=1e-4)
    assert all(distance == pytest.approx(0.1, rel=0.01) for distance in moved.values())  # the encoder stays


@pytest.mark.parametrize("strength", [1e3, 1e9, 1e30])
def test_a_proximal_training_is_stable_at_any_strength(make: Make, strength: float) -> None:
    classifier = make()
    anchor = parameters(classifier)
    held = Consolidation(
        anchor, {name: torch.ones_like(p) for name, p in anchor.items()}, strength, "proximal"
    )
    train(classifier, ROWS[:32], consolidation=held, epochs=2)
    assert difference(parameters(classifier), anchor) < 2e-3


def test_only_the_named_layers_change(make: Make) -> None:
    classifier = make()
    before = parameters(classifier)
    train(classifier, ROWS[:16], layers="top:1")
    changed = {name for name, p in parameters(classifier).items() if not torch.equal(p, before[name])}
    assert changed
    assert all(name.startswith(("bert.encoder.layer.1.", "bert.pooler.", "classifier.")) for name in changed)
    frozen = {name for name, p in classifier.model.named_parameters() if not p.requires_grad}
    assert frozen.isdisjoint(changed)
    assert {"bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.output.dense.bias"} <= frozen


def test_training_learns_the_toy_task(make: Make) -> None:
    classifier = make()
    train(classifier, ROWS, epochs=8, learning_rate=3e-3, batch_size=16)
    golden = toy.toy_stream().golden["2026-01"]
    said = [label for label, _ in predict(classifier, [row["text"] for row in golden], 16)]
    assert sum(a == row["label"] for a, row in zip(said, golden, strict=True)) >= 54


def test_bf16_autocast_trains_and_keeps_fp32_weights(make: Make) -> None:
    classifier = make()
    rows = tokenised(classifier, ROWS)
    before = mean_loss(classifier, rows)
    train(classifier, ROWS, epochs=6, learning_rate=3e-3, batch_size=16, autocast=torch.bfloat16)
    assert mean_loss(classifier, rows) < 0.5 * before
    assert {p.dtype for p in classifier.model.parameters()} == {torch.float32}


def test_bf16_gives_other_bits_than_fp32(make: Make) -> None:
    results = []
    for autocast in (None, torch.bfloat16):
        classifier = make()
        train(classifier, ROWS[:16], autocast=autocast)
        results.append(parameters(classifier))
    assert difference(*results) > 0


@pytest.mark.parametrize("count", [8, 60], ids=["before anything is logged", "in a long run"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_training(make: Make, count: int, value: float) -> None:
    classifier = make()
    with torch.no_grad():
        classifier.model.classifier.weight[0, 0] = value
    with pytest.raises(TrainingDiverged, match="nothing was promoted"):
        train(classifier, ROWS[:count])


def test_a_penalty_that_is_not_finite_stops_the_training(make: Make) -> None:
    classifier = make()
    pull = away(classifier)
    pull.weights["classifier.weight"][0, 0] = math.inf
    with pytest.raises(TrainingDiverged, match=r"penalty is inf.*lower the lambda"):
        train(classifier, ROWS[:8], consolidation=pull)


def test_equal_runs_give_equal_bits_whatever_was_drawn_before(make: Make) -> None:
    results = []
    for draws in (0, 17):
        classifier = make()
        torch.rand(draws)
        train(classifier, ROWS[:24], epochs=2)
        results.append(parameters(classifier))
    assert difference(*results) == 0


def test_the_order_of_the_table_does_not_matter(make: Make) -> None:
    results = []
    for rows in (ROWS[:24], ROWS[:24][::-1]):
        classifier = make()
        train(classifier, rows, epochs=2)
        results.append(parameters(classifier))
    assert difference(*results) == 0


@pytest.mark.parametrize("change", ["seed", "ids"])
def test_seed_and_ids_decide_the_order_of_the_rows(make: Make, change: str) -> None:
    results = []
    for again in (False, True):
        classifier = make()
        rows = (
            [{**row, "id": f"other {row['id']}"} for row in ROWS[:24]]
            if again and change == "ids"
            else ROWS[:24]
        )
        train(classifier, rows, seed=int(again and change == "seed"))
        results.append(parameters(classifier))
    assert difference(*results) > 0


def seen(classifier: Learner, rows: list[toy.Row], **words: Any) -> list[list[tuple[int, ...]]]:
    """The token ids of every training batch, without padding, in the order in which the model saw them."""
    batches: list[list[tuple[int, ...]]] = []

    def note(module: Any, args: Any, inputs: dict[str, Tensor]) -> None:
        if module.training:
            pairs = zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
            batches.append([tuple(ids[mask.bool()].tolist()) for ids, mask in pairs])

    handle = classifier.model.register_forward_pre_hook(note, with_kwargs=True)
    train(classifier, rows, **words)
    handle.remove()
    return batches


def test_every_epoch_shows_every_row_once_in_an_order_of_its_own(make: Make) -> None:
    classifier = make()
    rows = sorted(tuple(ids) for ids in tokenised(classifier, ROWS[:20]).encoded)
    batches = seen(classifier, ROWS[:20], epochs=3, batch_size=8)
    assert [len(batch) for batch in batches] == [8, 8, 4] * 3
    epochs = [list(itertools.chain(*batches[start : start + 3])) for start in (0, 3, 6)]
    assert all(sorted(epoch) == rows for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_an_epochs_order_does_not_depend_on_how_many_there_are(make: Make) -> None:
    three, five = (seen(make(), ROWS[:20], epochs=epochs, batch_size=8) for epochs in (3, 5))
    assert five[: len(three)] == three


@pytest.mark.parametrize("accumulation", [1, 4])
def test_replayed_rows_join_every_step(make: Make, accumulation: int) -> None:
    classifier = make()
    old = tokenised(classifier, ROWS[30:40])
    batches = seen(
        classifier, ROWS[:24], replay=Replay(old, 4), batch_size=8, gradient_accumulation=accumulation
    )
    per_step = [
        list(itertools.chain(*batches[i : i + accumulation])) for i in range(0, len(batches), accumulation)
    ]
    memory = {tuple(ids) for ids in old.encoded}
    assert [len(step) for step in per_step] == [12, 12, 12]
    assert [sum(row in memory for row in step) for step in per_step] == [4, 4, 4]


@pytest.mark.parametrize(("warmup", "halfway"), [(0.0, 5e-4), (0.5, 1e-3)])
def test_the_learning_rate_rises_and_then_falls_to_zero(make: Make, warmup: float, halfway: float) -> None:
    result = train(make(), ROWS[:40], epochs=2, batch_size=8, warmup=warmup, learning_rate=1e-3)
    rates = [metric.learning_rate for metric in steps(result)]
    assert result.steps == 10
    assert rates == [pytest.approx(halfway, abs=2.1e-4), pytest.approx(0.0, abs=2.1e-4)]


@pytest.mark.usefixtures("sgd")
def test_the_task_gradient_is_clipped_to_its_limit(make: Make) -> None:
    classifier = make()
    before = parameters(classifier)
    train(classifier, ROWS[:8], learning_rate=1.0, max_grad_norm=0.01)
    moved = sum((p - before[name]).square().sum().item() for name, p in parameters(classifier).items())
    assert moved**0.5 == pytest.approx(0.01, rel=1e-3)


PROCESS = """
import sys
import torch
torch.set_num_threads(1)
torch.optim.AdamW = lambda groups, **_: torch.optim.SGD(groups, lr=1e-3)
from tests.modeling.test_training import distributed_training
distributed_training(*sys.argv[1:])
"""


def distributed_training(base: str, target: str) -> None:
    """What each of two processes does: half of the rows of every step."""
    from pipeline.modeling.checkpoint import quiet_libraries
    from pipeline.modeling.tasks.sequence_classification import new_classifier

    quiet_libraries()
    classifier = new_classifier(base, LABELS, seed=0)
    classifier.model.eval()
    train(
        classifier,
        ROWS[:32],
        consolidation=away(classifier),
        batch_size=4,
        learning_rate=0.5,
        epochs=2,
        max_grad_norm=0.1,
    )
    if os.environ["RANK"] == "0":
        torch.save(parameters(classifier), target)
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("sgd")
def test_two_processes_give_the_same_result_as_one(make: Make, plain_base: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    target = tmp_path / "parameters.pt"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, plain_base, target],
            env={
                **os.environ, "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port, "TRANSFORMERS_VERBOSITY": "error",
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    try:
        for process in processes:
            _, said = process.communicate(timeout=300)
            assert process.returncode == 0, said
    finally:
        for process in processes:
            process.kill()
    alone = make()
    before = parameters(alone)
    train(
        alone,
        ROWS[:32],
        consolidation=away(alone),
        batch_size=8,
        learning_rate=0.5,
        epochs=2,
        max_grad_norm=0.1,
    )
    together = torch.load(target, weights_only=True)
    moved = difference(before, parameters(alone))
    assert moved > 1e-2
    assert difference(parameters(alone), together) < 1e-3 * moved
