"""One pass for a Fisher: of a classifier or a language model, in a precision, in batches that fit into memory."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.errors import BadConfig, BadData, UsageError
from pipeline.ewc import fisher
from pipeline.modeling import memory
from pipeline.modeling.batches import MOST_TOKENS
from pipeline.modeling.tasks.causal_lm import load_language_model
from pipeline.progress import silent
from pipeline.recorded.rows import training_rows
from pipeline.rows import Row
from pipeline.stages.fisher_pass import FisherPass, FisherSettings, estimate_fisher
from pipeline.store.workspace import Workspace
from tests import language_models

SETTINGS = FisherSettings(estimator="exact", samples=40, seed=0, layers="all", max_length=16)
SEQUENCES = [Row(str(i), "", "launch", text, "") for i, text in enumerate(language_models.TEXTS)]
ATTEMPT = "2026-01/001"


@pytest.fixture(scope="module", params=language_models.KINDS)
def language_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language") / request.param
    return language_models.write_language_model(folder, request.param)


def passed(checkpoint: Path, rows: list[Row], **changes: Any) -> FisherPass:
    return estimate_fisher(checkpoint, rows, replace(SETTINGS, **changes), device="cpu", progress=silent)


@pytest.fixture
def classifier(launched: Path) -> tuple[Path, list[Row]]:
    attempt = Workspace(launched).attempt(ATTEMPT)
    return launched / "runs" / ATTEMPT / "finetune" / "checkpoint", training_rows(attempt)


def test_a_sequence_is_one_example_with_its_loss_summed_over_its_tokens(language_model: Path) -> None:
    done = passed(language_model, SEQUENCES, estimator="empirical")
    loaded = load_language_model(language_model)
    expected: dict[str, Tensor] = {}
    for row in SEQUENCES:
        ids = torch.tensor([loaded.tokenizer(row.text)["input_ids"]])
        loss = torch.nn.functional.cross_entropy(
            loaded.model(input_ids=ids).logits[0, :-1], ids[0, 1:], reduction="sum"
        )
        loaded.model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for name, parameter in loaded.model.named_parameters():
            expected[name] = expected.get(name, 0) + parameter.grad.square() / len(SEQUENCES)
    assert done.estimate.diagonal.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(done.estimate.diagonal[name], value, rtol=1e-4, atol=1e-7)
    assert done.estimate.examples == len(SEQUENCES)
    assert done.division.startswith("number of sequences; a sequence is one example")


def test_drawn_tokens_come_from_the_models_own_distribution(language_model: Path) -> None:
    """In the mean over many draws, the empirical label plays no part and exact is what remains."""
    rows = SEQUENCES[:2]
    seeds = [passed(language_model, rows, estimator="mc", seed=seed).estimate for seed in range(60)]
    drawn = sum(estimate.trace for estimate in seeds) / len(seeds)
    spread = torch.tensor([estimate.trace for estimate in seeds]).std() / len(seeds) ** 0.5
    loaded = load_language_model(language_model)
    batch = next(_sequences(loaded, rows))
    exact = fisher.fisher_diagonal_by_loop(loaded.model, [batch], estimator="exact").trace
    assert abs(drawn - exact) < 4 * float(spread)
    assert float(spread) < 0.1 * exact


def _sequences(loaded: Any, rows: list[Row]) -> Any:
    from pipeline.modeling.batches import Examples, encode, keyed_batches

    encoded = encode(loaded.tokenizer, [row.text for row in rows], 16)
    tokenised = Examples(tuple(row.id for row in rows), tuple(encoded), tuple(map(tuple, encoded)), True)
    return keyed_batches(loaded.tokenizer, tokenised, seed=0)


def test_auto_draws_one_token_at_each_position(language_model: Path) -> None:
    done = passed(language_model, SEQUENCES, estimator="auto")
    assert (done.estimate.estimator, done.estimate.draws) == ("mc", 1)
    assert done.estimate.reason.startswith("a language model: mc")


@pytest.mark.parametrize("estimator", ["exact", "lowrank"])
def test_estimators_over_all_labels_are_refused_for_a_language_model(
    language_model: Path, estimator: str
) -> None:
    with pytest.raises(
        UsageError, match=rf"--estimator {estimator}: is not for .* language model, .* Take mc or empirical"
    ):
        passed(language_model, SEQUENCES, estimator=estimator)


def test_a_text_of_one_token_predicts_nothing_and_is_refused(language_model: Path) -> None:
    with pytest.raises(BadData, match=r"row 'short': expected at least two tokens"):
        passed(language_model, [*SEQUENCES, Row("short", "", "launch", "late", "")], estimator="mc")


def test_more_tokens_than_a_language_model_reads_are_refused(language_model: Path) -> None:
    with pytest.raises(BadConfig, match=r"model.max_length 64: .* reads at most 16 tokens"):
        passed(language_model, SEQUENCES, estimator="mc", max_length=64)


def test_bfloat16_comes_close_to_float32_and_sums_in_float32(
    classifier: tuple[Path, list[Row]],
) -> None:
    plain = passed(*classifier, precision="fp32")
    mixed = passed(*classifier, precision="bf16")
    assert (plain.precision, mixed.precision) == ("fp32", "bf16")
    assert {tensor.dtype for tensor in mixed.estimate.diagonal.values()} == {torch.float32}
    apart = sum(
        float((mixed.estimate.diagonal[name] - value).abs().sum())
        for name, value in plain.estimate.diagonal.items()
    )
    assert 0 < apart < 0.1 * plain.estimate.trace


def test_auto_is_float32_on_a_processor(classifier: tuple[Path, list[Row]]) -> None:
    assert passed(*classifier, precision="auto").precision == "fp32"


def test_batches_are_only_smaller_where_memory_is(
    classifier: tuple[Path, list[Row]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ample = passed(*classifier)
    assert ample.batch_tokens == MOST_TOKENS
    assert not caplog.records
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1_500_000)
    tight = passed(*classifier)
    assert 16 <= tight.batch_tokens < MOST_TOKENS
    assert f"batches of {tight.batch_tokens} instead of {MOST_TOKENS}" in caplog.text
    for name, value in ample.estimate.diagonal.items():
        torch.testing.assert_close(tight.estimate.diagonal[name], value, rtol=1e-4, atol=1e-9)


def test_a_system_that_does_not_say_what_is_free_gets_the_usual_batches(
    classifier: tuple[Path, list[Row]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)
    assert passed(*classifier).batch_tokens == MOST_TOKENS


def test_a_pass_that_runs_out_of_memory_begins_again_with_half_the_tokens(
    classifier: tuple[Path, list[Row]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, calls = fisher.fisher_diagonal, []

    def scarce(model: Any, batches: Any, **options: Any) -> Any:
        calls.append(max(batch["input_ids"].numel() for batch in batches))
        if calls[-1] > 256:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(model, batches, **options)

    expected = passed(*classifier)
    monkeypatch.setattr(fisher, "fisher_diagonal", scarce)
    with caplog.at_level(logging.WARNING, "retrain"):
        done = passed(*classifier)
    assert len(calls) > 1
    assert done.batch_tokens == 256
    assert "out of memory; begins again with batches of 256 tokens" in caplog.text
    assert done.estimate.examples == expected.estimate.examples
    assert done.estimate.trace == pytest.approx(expected.estimate.trace, rel=1e-5)


def test_one_text_that_does_not_fit_ends_it_with_what_to_do(
    classifier: tuple[Path, list[Row]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def scarce(model: Any, batches: Any, **options: Any) -> Any:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(fisher, "fisher_diagonal", scarce)
    with pytest.raises(
        UsageError, match=r"out of memory with a single text of \d+ tokens. Lower model.max_length"
    ):
        passed(*classifier)


def test_another_error_is_not_taken_for_memory(
    classifier: tuple[Path, list[Row]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: Any, batches: Any, **options: Any) -> Any:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(fisher, "fisher_diagonal", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        passed(*classifier)
