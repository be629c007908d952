"""What a month's penalty is made of: which Fishers, around which weights."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.config_loading import load_config
from pipeline.ewc.growth import aligned_rows
from pipeline.ewc.penalty import penalty
from pipeline.modeling.tasks.sequence_classification import load_classifier
from pipeline.month.run import month_context
from pipeline.months import Month
from pipeline.stages.preparation import Prepared, prepare
from pipeline.store.fisher_file import read_fisher
from pipeline.store.workspace import Workspace
from tests import toy
from tests.conftest import call

SEPARATE = ("-o", "arm=ewc", "-o", "ewc.months=separate", "-o", "ewc.scale=raw")
LAUNCH, FEBRUARY = (f"runs/{month}/001/finetune/checkpoint" for month in ("2026-01", "2026-02"))


def prepared(root: Path, month: Month, *overrides: str) -> Prepared:
    config = load_config(root / "retrain.yaml", overrides=[*overrides])
    context = month_context(Workspace(root), config, month)
    file = root / context.base.path / "fisher.safetensors" if context.base is not None else None
    return prepare(context, file)


def prepared_without_fisher(root: Path, month: Month, *overrides: str) -> Prepared:
    config = load_config(root / "retrain.yaml", overrides=[*overrides])
    return prepare(month_context(Workspace(root), config, month), None)


def metrics(root: Path, month: str) -> list[dict[str, float]]:
    lines = (root / f"runs/{month}/001/finetune/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def gradient(
    parts: list[tuple[dict[str, Tensor], dict[str, Tensor]]], theta: dict[str, Tensor]
) -> list[Tensor]:
    """Of the sum of penalties, weights and anchor of each given, at theta; in float64."""
    leaves = {name: tensor.double().requires_grad_() for name, tensor in theta.items()}
    terms = [
        penalty(
            leaves, {n: t.double() for n, t in anchor.items()}, {n: t.double() for n, t in w.items()}, 1.0
        )
        for w, anchor in parts
    ]
    return list(torch.autograd.grad(torch.stack(terms).sum(), list(leaves.values())))


@pytest.fixture
def separate(promoted: Path) -> Path:
    """A workspace whose March ran with a penalty of each month around its own weights."""
    done = call("run", "--month", "2026-03", "-w", promoted, *SEPARATE)
    assert done.code == 0, done.err
    return promoted


def test_every_month_pulls_to_its_own_weights(separate: Path) -> None:
    ready = prepared(separate, Month(2026, 3), *SEPARATE[1::2])
    held = ready.penalties.consolidation(1.0)
    assert held is not None
    theta = {name: ready.penalties.anchor[name] + 0.1 for name in held.weights}
    months = []
    for folder in (LAUNCH, FEBRUARY):
        fisher = read_fisher(separate / folder / "fisher.safetensors")[0]
        weights = dict(load_classifier(separate / folder).model.named_parameters())
        shapes = {name: tuple(theta[name].shape) for name in fisher}
        own = {name: weights[name].detach() for name in fisher}
        months.append((aligned_rows(fisher, shapes, where="F"), aligned_rows(own, shapes, where="theta")))
    expected = gradient(months, theta)
    for found, wanted in zip(gradient([(held.weights, held.anchor)], theta), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-9)
    assert any(not torch.equal(held.anchor[name], ready.penalties.anchor[name]) for name in held.anchor)


def test_the_files_of_all_months_are_recorded_and_checked(separate: Path) -> None:
    record = json.loads((separate / "runs/2026-03/001/fisher/fisher.json").read_text(encoding="utf-8"))
    assert record["path"] == f"{FEBRUARY}/fisher.safetensors"
    assert list(record["older"]) == [f"{LAUNCH}/fisher.safetensors"]
    inputs = json.loads((separate / "runs/2026-03/001/finetune/record.json").read_text("utf-8"))["inputs"]
    assert inputs[f"fisher {LAUNCH}/fisher.safetensors"] in record["older"].values()
    again = call("run", "--month", "2026-03", "-w", separate, *SEPARATE)
    assert (again.code, "runs (" in again.err) == (0, False)
    file = separate / LAUNCH / "fisher.safetensors"
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    damaged = call("run", "--month", "2026-03", "-w", separate, *SEPARATE)
    assert (damaged.code, "damaged" in damaged.err) == (5, True)


def test_the_l2sp_arm_holds_the_champions_weights_alike_and_new_rows_not_at_all(launched: Path) -> None:
    done = call("run", "--month", "2026-02", "-w", launched, "-o", "arm=l2sp", "-o", "l2sp.lambda=0.2")
    assert done.code == 0, done.err
    assert "all weights held alike, lambda 0.2" in done.err
    ready = prepared_without_fisher(launched, Month(2026, 2), "arm=l2sp", "l2sp.lambda=0.2")
    held = ready.penalties.of_recipe()
    assert held is not None
    assert held.lambda_ == 0.2
    assert set(held.weights) == set(ready.penalties.anchor)
    head = held.weights["classifier.bias"]
    assert (head[:6].tolist(), head[6:].tolist()) == ([1.0] * 6, [0.0])
    others = [w for name, w in held.weights.items() if not name.startswith("classifier.")]
    assert others
    assert all(bool((w == 1.0).all()) for w in others)
    penalties = [row["penalty"] for row in metrics(launched, "2026-02") if "penalty" in row]
    assert any(value > 0 for value in penalties)


def test_a_launch_has_no_penalty_whatever_the_arm(new_workspace: Path) -> None:
    words = ("--data", new_workspace / "launch.jsonl", "--month", "2026-01", "-w", new_workspace)
    done = call("launch", *words, "-o", "arm=l2sp", "-o", "launch.epochs=1")
    assert done.code == 0, done.err
    assert all(row.get("penalty", 0.0) == 0.0 for row in metrics(new_workspace, "2026-01"))


def test_after_one_month_separate_and_online_are_the_same(promoted: Path) -> None:
    one, other = (
        prepared(promoted, Month(2026, 2), "arm=ewc", f"ewc.months={months}").penalties.consolidation(1.0)
        for months in ("separate", "online")
    )
    assert one is not None
    assert other is not None
    assert one.lambda_ == other.lambda_
    for name in other.weights:
        assert torch.equal(one.weights[name], other.weights[name])
        matters = other.weights[name] > 0
        assert torch.equal(one.anchor[name][matters], other.anchor[name][matters])


def test_the_joint_arm_learns_every_row_though_each_month_numbers_its_own_from_nought(launched: Path) -> None:
    file = launched / "feedback/2026-02.jsonl"
    same_id = [{**row, "id": f"launch-{n}"} for n, row in enumerate(toy.read_jsonl(file))]
    toy.write_jsonl(file, same_id)
    assert call("ingest", "--month", "2026-02", "-w", launched).code == 0
    ready = prepared_without_fisher(launched, Month(2026, 2), "arm=joint")
    assert len(ready.rows.train) == 54 + 27


@pytest.mark.parametrize("months", ["latest", "separate"])
def test_a_closed_row_is_not_held_and_the_rest_of_the_head_is(launched: Path, months: str) -> None:
    assert call("labels", "retire", "login", "-w", launched).code == 0
    options = ("arm=ewc", f"ewc.months={months}")
    words = [word for option in options for word in ("-o", option)]
    assert call("run", "--month", "2026-02", "--until", "fisher", "-w", launched, *words).code == 0
    fisher = prepared(launched, Month(2026, 2), *options).penalties.fisher
    assert fisher is not None
    for name in ("classifier.weight", "classifier.bias"):
        held = fisher[name].reshape(7, -1).any(dim=1).tolist()
        assert held == [True, True, False, True, True, True, False]  # login is retired, roaming new


def ingested(root: Path, month: str, *overrides: str) -> Prepared:
    """The month, ready to be trained, without its Fisher."""
    assert call("ingest", "--month", month, "-w", root).code == 0
    return prepared_without_fisher(root, Month.parse(month), "ewc.replay_lambda=0", *overrides)


def test_half_of_the_replayed_rows_go_by_how_far_the_months_labels_pull_at_them(launched: Path) -> None:
    ready = ingested(launched, "2026-02")
    count = len(ready.rows.remembered)
    ids = ready.rows.memory.ids
    assert ids[:count] == tuple(row.id for row in ready.rows.remembered)
    assert len(set(ids)) == len(ids)
    again = [name.partition("\0")[0] for name in ids[count:]]
    assert count / 2 <= len(again) <= count  # less by what the bound takes away
    with torch.no_grad():
        logits = torch.cat(
            [
                ready.classifier.model.eval()(torch.tensor([row])).logits
                for row in ready.rows.memory.encoded[:count]
            ]
        )
    taught = sorted(set(ready.rows.train.label_ids))
    pulled = {
        name: sum(share for label, share in enumerate(row) if label in taught and label != own)
        for name, own, row in zip(
            ids, ready.rows.memory.label_ids, logits.softmax(dim=1).tolist(), strict=False
        )
    }
    strongest = sorted(pulled, key=pulled.__getitem__)[-5:]
    weakest = sorted(pulled, key=pulled.__getitem__)[:5]
    assert sum(again.count(name) for name in strongest) >= 2 * sum(again.count(name) for name in weakest)


def test_the_balanced_loss_counts_the_rows_that_are_drawn_again(launched: Path) -> None:
    ready = ingested(launched, "2026-02")
    assert ready.log_prior is not None
    counts = torch.bincount(torch.tensor(ready.rows.memory.label_ids), minlength=7).double()
    own = torch.bincount(torch.tensor(ready.rows.train.label_ids), minlength=7).double()
    batch, replayed = ready.settings.batch_size, ready.context.recipe.replayed_per_step
    expected = own + counts * (replayed / batch) * (len(ready.rows.train) / len(ready.rows.memory)) + 1.0
    torch.testing.assert_close(
        ready.log_prior.double().exp(), expected / expected.sum(), rtol=1e-5, atol=1e-7
    )


def test_a_row_that_is_drawn_again_has_the_same_teacher(launched: Path) -> None:
    ready = ingested(launched, "2026-02")
    taught = ready.distillation
    assert taught is not None
    count, memory = len(ready.rows.remembered), len(ready.rows.train)
    assert len(taught.weights) == len(taught.teacher) == memory + len(ready.rows.memory)
    place = {name: index for index, name in enumerate(ready.rows.memory.ids[:count])}
    for index, name in enumerate(ready.rows.memory.ids[count:], start=count):
        first = place[name.partition("\0")[0]]
        assert torch.equal(taught.teacher[memory + index], taught.teacher[memory + first])
        assert taught.weights[memory + index] == taught.weights[memory + first]
        assert ready.rows.memory.encoded[index] == ready.rows.memory.encoded[first]


def test_without_interference_every_remembered_row_stands_once(launched: Path) -> None:
    ready = ingested(launched, "2026-02", "replay.interference=0")
    assert len(ready.rows.memory) == len(ready.rows.remembered)


def test_the_champion_teaches_no_replayed_row_that_it_answers_wrongly(launched: Path) -> None:
    assert call("ingest", "--month", "2026-02", "-w", launched).code == 0
    options = ("ewc.replay_lambda=0", "replay.interference=0")
    config = load_config(launched / "retrain.yaml", overrides=list(options))
    context = month_context(Workspace(launched), config, Month(2026, 2))
    assert context.base is not None
    model = load_classifier(launched / context.base.path).model
    with torch.no_grad():  # "stock" is no longer answered
        model.classifier.bias[model.config.label2id["stock"]] = -30.0
    model.save_pretrained(launched / context.base.path)
    ready = prepare(context, None)
    assert ready.distillation is not None
    weights = ready.distillation.weights[len(ready.rows.train) :].tolist()
    lost = [
        weight for weight, row in zip(weights, ready.rows.remembered, strict=True) if row.label == "stock"
    ]
    kept = [
        weight for weight, row in zip(weights, ready.rows.remembered, strict=True) if row.label == "login"
    ]
    assert lost
    assert set(lost) == {0.0}
    assert set(kept) == {1.0}
