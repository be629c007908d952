"""A training that is stopped, killed or out of memory ends in the bits of one that never was."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from pipeline.config import TrainSection
from pipeline.errors import BadConfig, CannotWrite, StoppedBySignal, TrainingDiverged
from pipeline.labels import LabelSet
from pipeline.modeling import trained, trainer, trainer_checkpoints
from pipeline.modeling.batches import Examples, encode
from pipeline.modeling.interruption import is_out_of_memory, more_accumulation
from pipeline.modeling.metrics import Metric
from pipeline.modeling.penalty_callback import Consolidation, PenaltyCallback
from pipeline.modeling.resume import RECORD_FILE, REQUIRED, Resumption
from pipeline.modeling.task import Learner
from pipeline.modeling.tasks.sequence_classification import new_classifier
from pipeline.modeling.trained import layer_parameters
from pipeline.modeling.training import Objective, Replay, Training, TrainingResult
from pipeline.store import reading
from tests import toy

SETTINGS = TrainSection(layers="all", learning_rate=1e-3, epochs=3, batch_size=8)
STEPS = 3 * 4
"""Of 28 rows in batches of 8, three times over; the last batch of an epoch has 4 rows."""


@dataclass
class Trained:
    weights: dict[str, Tensor]
    metrics: list[Metric]
    result: TrainingResult


@dataclass(frozen=True)
class Validation:
    new: Examples
    prior: Examples


@pytest.fixture(scope="session")
def rows() -> tuple[list[toy.Row], LabelSet]:
    stream = toy.toy_stream()
    return stream.launch, LabelSet(tuple(sorted(toy.LAUNCH_WORDS)))


@pytest.fixture(scope="module")
def train(base: Path, rows: tuple[list[toy.Row], LabelSet]) -> Callable[..., Trained]:
    """Trains a new model of the same seed, with dropout, penalty and replay, where `resumption` says."""

    def trained(
        resumption: Resumption | None = None,
        *,
        lambda_: float = 3.0,
        form: Literal["gradient", "proximal"] = "gradient",
        **changes: Any,
    ) -> Trained:
        table, labels = rows
        classifier = new_classifier(str(base), labels, seed=0)
        model = classifier.model
        anchor = {name: p.detach().clone() for name, p in model.named_parameters()}
        settings = SETTINGS.model_copy(update=changes)
        held = layer_parameters(model, settings.layers)
        weights = {name: torch.full_like(anchor[name], 0.5) for name in held}
        result = Training(
            classifier,
            examples(classifier, table[:28], labels),
            Validation(examples(classifier, table[28:34], labels), Examples((), (), ())),
            settings=settings,
            objective=Objective(Consolidation(anchor, weights, lambda_, form)),
            seed=7,
            replay=Replay(examples(classifier, table[34:50], labels), 4),
        ).run(resumption=resumption)
        after = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        return Trained(after, result.metrics, result)

    return trained


def examples(classifier: Learner, table: list[toy.Row], labels: LabelSet) -> Examples:
    return Examples.of_labels(
        tuple(row["id"] for row in table),
        tuple(encode(classifier.tokenizer, [row["text"] for row in table], 16)),
        tuple(labels.ids[row["label"]] for row in table),
    )


@pytest.fixture(scope="module")
def undisturbed(train: Callable[..., Trained]) -> Trained:
    return train()


@pytest.fixture
def resumption(tmp_path: Path) -> Resumption:
    said: list[str] = []
    (tmp_path / "resume").mkdir()
    return Resumption(tmp_path / "resume", "this machine", said.append)


@pytest.fixture
def at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save after every step, without flushing."""
    monkeypatch.setattr(trainer_checkpoints, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def stopped_at(step: int, monkeypatch: pytest.MonkeyPatch, signum: int = signal.SIGTERM) -> None:
    """Send this process a signal within a step of the next training."""
    seen = 0

    class Interrupting(PenaltyCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            nonlocal seen
            super().on_pre_optimizer_step(args, state, control, **more)
            if state.global_step + 1 == step and not seen:
                seen += 1
                os.kill(os.getpid(), signum)

    monkeypatch.setattr(trained, "PenaltyCallback", Interrupting)


def assert_equal(found: Trained, expected: Trained) -> None:
    assert found.metrics == expected.metrics
    assert [type(m.step) for m in found.metrics] == [int] * len(expected.metrics)
    assert found.result == expected.result
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in expected.weights.items())


# in the first step, before and at a row of metrics, at the end of an epoch, in the last
@pytest.mark.parametrize("step", [1, 4, 5, 8, 12])
def test_a_training_stopped_by_a_signal_resumes_to_the_same_bits(
    train: Callable[..., Trained],
    resumption: Resumption,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: Trained,
    step: int,
) -> None:
    with monkeypatch.context() as patch:
        stopped_at(step, patch)
        with pytest.raises(StoppedBySignal, match=f"SIGTERM after step {step} ") as stop:
            train(resumption)
    assert stop.value.signum == signal.SIGTERM
    assert [path.name for path in resumption.folder.iterdir()] == [f"checkpoint-{step}"]
    assert_equal(train(resumption), undisturbed)


@pytest.mark.parametrize("layers", ["head", "top:1"])
def test_a_training_of_some_layers_resumes_to_the_same_bits(
    train: Callable[..., Trained], resumption: Resumption, monkeypatch: pytest.MonkeyPatch, layers: str
) -> None:
    with monkeypatch.context() as patch:
        stopped_at(6, patch)
        with pytest.raises(StoppedBySignal):
            train(resumption, layers=layers)
    assert_equal(train(resumption, layers=layers), train(layers=layers))


@pytest.mark.parametrize("step", [3, 5, 12])
def test_a_training_with_proximal_pulls_resumes_to_the_same_bits(
    train: Callable[..., Trained], resumption: Resumption, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    with monkeypatch.context() as patch:
        stopped_at(step, patch)
        with pytest.raises(StoppedBySignal):
            train(resumption, form="proximal", lambda_=300.0)
    assert_equal(train(resumption, form="proximal", lambda_=300.0), train(form="proximal", lambda_=300.0))


def test_a_training_of_the_other_form_is_not_resumed(
    train: Callable[..., Trained], resumption: Resumption, at_every_step: None, undisturbed: Trained
) -> None:
    train(resumption, form="proximal")
    assert_equal(train(resumption), undisturbed)


def test_saving_at_every_step_changes_no_bit(
    train: Callable[..., Trained], resumption: Resumption, at_every_step: None, undisturbed: Trained
) -> None:
    assert_equal(train(resumption), undisturbed)
    assert sorted(path.name for path in resumption.folder.iterdir()) == ["checkpoint-11", "checkpoint-12"]


def test_a_finished_training_that_was_not_committed_is_taken_up_at_its_end(
    train: Callable[..., Trained], resumption: Resumption, at_every_step: None
) -> None:
    first = train(resumption)
    assert_equal(train(resumption), first)


def test_handlers_are_given_back(train: Callable[..., Trained], resumption: Resumption) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    train(resumption)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_without_a_place_to_save_signals_are_left_to_the_caller(
    train: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    before = signal.signal(signal.SIGTERM, stop)
    try:
        stopped_at(3, monkeypatch)
        with pytest.raises(Stop):
            train()
    finally:
        signal.signal(signal.SIGTERM, before)


def damaged(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
        return
    content = bytearray(path.read_bytes())
    path.chmod(0o600)
    if how == "cut":
        del content[-1:]
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def stopped_once(train: Callable[..., Trained], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_checkpoints, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(os, "fsync", lambda descriptor: None)
        stopped_at(6, patch)
        with pytest.raises(StoppedBySignal):
            train(Resumption(folder, "this machine", lambda text: None))
    return folder


@pytest.fixture
def stopped(stopped_once: Path, resumption: Resumption) -> Resumption:
    """A training stopped after step 6, whose checkpoints of steps 5 and 6 are there."""
    shutil.copytree(stopped_once, resumption.folder, dirs_exist_ok=True)
    assert sorted(path.name for path in resumption.folder.iterdir()) == ["checkpoint-5", "checkpoint-6"]
    return resumption


@pytest.mark.parametrize("how", ["missing", "cut", "changed"])
@pytest.mark.parametrize("name", [*REQUIRED, RECORD_FILE])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it(
    stopped: Resumption, name: str, how: str
) -> None:
    damaged(stopped.folder / "checkpoint-6" / name, how)
    said: list[str] = []
    found = replace(stopped, tell=said.append, fingerprint=fingerprint_of(stopped)).newest()
    assert found is not None
    assert found[1].step == 5
    assert not (stopped.folder / "checkpoint-6").exists()
    assert len(said) == 1
    assert name in said[0]


def fingerprint_of(resumption: Resumption) -> str:
    record = json.loads((resumption.folder / "checkpoint-5" / RECORD_FILE).read_text())
    return str(record["fingerprint"])


def test_from_the_checkpoint_before_a_damaged_one_the_bits_are_the_same(
    train: Callable[..., Trained], stopped: Resumption, undisturbed: Trained
) -> None:
    damaged(stopped.folder / "checkpoint-6" / "optimizer.pt", "changed")
    assert_equal(train(stopped), undisturbed)


def test_with_every_checkpoint_damaged_training_begins_again(
    train: Callable[..., Trained], stopped: Resumption, undisturbed: Trained
) -> None:
    for path in stopped.folder.iterdir():
        damaged(path / "model.safetensors", "changed")
    assert_equal(train(stopped), undisturbed)


def test_a_checkpoint_without_an_optimizer_state_is_never_resumed(stopped: Resumption) -> None:
    path = stopped.folder / "checkpoint-6"
    (path / "optimizer.pt").unlink()
    record = json.loads((path / RECORD_FILE).read_text())
    del record["files"]["optimizer.pt"], record["self_sha256"]
    (path / RECORD_FILE).unlink()
    from pipeline.modeling.resume import ResumeRecord
    from pipeline.store.records import write_record

    write_record(path / RECORD_FILE, ResumeRecord.model_validate(record))
    found = replace(stopped, fingerprint=fingerprint_of(stopped)).newest()
    assert found is not None
    assert found[1].step == 5


def test_another_penalty_or_machine_begins_again_at_the_anchor(
    train: Callable[..., Trained], stopped: Resumption, tmp_path: Path
) -> None:
    assert_equal(train(stopped, lambda_=5.0), train(lambda_=5.0))
    moved = replace(stopped, fingerprint="another machine")
    assert moved.newest() is None


def test_a_full_disk_while_saving_is_told_and_the_next_run_goes_on(
    train: Callable[..., Trained],
    undisturbed: Trained,
    resumption: Resumption,
    monkeypatch: pytest.MonkeyPatch,
    at_every_step: None,
) -> None:
    from transformers import Trainer

    saved = Trainer._save_optimizer_and_scheduler

    def full(self: Any, folder: str) -> None:
        if self.state.global_step == 4:
            raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")
        saved(self, folder)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save_optimizer_and_scheduler", full)
        with pytest.raises(CannotWrite, match=r"checkpoint-4: cannot write it: .* file write failed"):
            train(resumption)
    assert (resumption.folder / "checkpoint-4").exists()
    assert_equal(train(resumption), undisturbed)


def out_of_memory_at(step: int, largest: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Plant an out-of-memory error from a step on for micro-batches of more than `largest` rows."""
    sizes: list[int] = []
    whole = trainer.ConsolidatingTrainer.training_step

    def planted(self: Any, model: Any, inputs: dict[str, Tensor], *more: Any, **named: Any) -> Tensor:
        sizes.append(len(inputs["labels"]))
        if self.state.global_step + 1 >= step and len(inputs["labels"]) > largest:
            raise torch.OutOfMemoryError("CUDA out of memory (planted)")
        loss: Tensor = whole(self, model, inputs, *more, **named)
        return loss

    monkeypatch.setattr(trainer.ConsolidatingTrainer, "training_step", planted)
    return sizes


def test_out_of_memory_begins_again_at_the_anchor_with_half_the_micro_batch(
    train: Callable[..., Trained],
    resumption: Resumption,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    at_every_step: None,
) -> None:
    asked_for = train(gradient_accumulation=2)
    with monkeypatch.context() as patch, caplog.at_level("WARNING", "retrain"):
        sizes = out_of_memory_at(5, 6, patch)
        found = train(resumption)
    assert max(sizes[:4]) == 12
    assert max(sizes[-4:]) == 6
    assert_equal(found, asked_for)
    assert "out of memory; begins again at the anchor with micro-batches of 6 rows, 2 of them" in caplog.text


def test_a_smaller_micro_batch_is_kept_by_a_run_that_goes_on(
    train: Callable[..., Trained],
    resumption: Resumption,
    monkeypatch: pytest.MonkeyPatch,
    at_every_step: None,
) -> None:
    asked_for = train(gradient_accumulation=2)
    with monkeypatch.context() as patch:
        stopped_at(7, patch)
        out_of_memory_at(3, 6, patch)
        with pytest.raises(StoppedBySignal):
            train(resumption)
    assert_equal(train(resumption), asked_for)


def test_out_of_memory_with_single_rows_is_told(
    train: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    out_of_memory_at(1, 0, monkeypatch)
    with pytest.raises(BadConfig, match=r"micro-batches of 1 row\(s\).*model\.max_length"):
        train()


def test_other_errors_are_not_taken_for_lack_of_memory(
    train: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, *_: Any, **__: Any) -> Tensor:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(trainer.ConsolidatingTrainer, "training_step", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        train()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("DefaultCPUAllocator: can't allocate memory"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


@pytest.mark.parametrize(
    ("rows", "now", "then"), [(48, 1, 2), (48, 4, 8), (48, 16, 48), (12, 2, 4), (7, 1, 7)]
)
def test_accumulation_at_least_doubles_and_divides_the_step(rows: int, now: int, then: int) -> None:
    assert more_accumulation(rows, now) == then
    assert then >= 2 * now
    assert rows % then == 0


def test_a_learning_rate_that_is_too_large_stops_with_its_likely_cause(
    train: Callable[..., Trained], resumption: Resumption, at_every_step: None
) -> None:
    with pytest.raises(TrainingDiverged, match=r"training diverged .*learning"):
        train(resumption, learning_rate=1e30, max_grad_norm=0.0)
    assert all((path / RECORD_FILE).exists() for path in resumption.folder.iterdir())


def test_a_penalty_that_explodes_stops_naming_lambda(train: Callable[..., Trained]) -> None:
    with pytest.raises(TrainingDiverged, match=r"lower the lambda|not finite"):
        train(lambda_=1e38, learning_rate=10.0)


def test_a_link_planted_among_the_checkpoints_is_not_followed(
    stopped: Resumption, tmp_path: Path, train: Callable[..., Trained], undisturbed: Trained
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (stopped.folder / "checkpoint-9").symlink_to(outside)
    assert_equal(train(stopped), undisturbed)
    assert (outside / "precious").read_text() == "x"
    assert reading.kind_of(stopped.folder / "checkpoint-9") == "nothing"
