"""Command lines that nobody means: told as such, and nothing is overwritten that is not the command's own."""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

import pytest

from cli import render
from tests.conftest import Done, call

PROGRAM = "import sys; sys.argv[0] = 'retrain'; from cli.main import run_retrain; run_retrain()"
BACKTEST = ("backtest", "--months", "2026-02..2026-02")


def process(*words: str | bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A command in a process of its own, whose words and output may be other bytes than UTF-8."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, env={**os.environ, **environment}
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--arms", ""), "--arms : expected one or more, each of them once"),
        (("--arms", ",,"), "--arms : expected one or more"),
        (("--arms", "plain,plain"), "--arms plain,plain: expected one or more, each of them once"),
        (("--seeds", "1,1"), "--seeds 1,1: expected one or more, each of them once"),
        (("--seeds", ""), "--seeds : expected numbers from 0 to 4294967295"),
        (("--seeds", "4294967296"), "--seeds 4294967296: expected numbers from 0 to 4294967295"),
        (("--seeds", "1" * 200_000), "expected numbers from 0 to 4294967295"),
    ],
)
def test_a_backtest_of_nothing_or_of_odd_seeds_is_a_usage_error(
    launched: Path, words: tuple[str, str], message: str
) -> None:
    done = call(*BACKTEST, *words, "-w", launched)
    assert (done.code, message in done.err) == (2, True), done.err
    assert len(done.err) < 1000
    assert not (launched / "backtest/seed-1").exists()


@pytest.mark.parametrize("seed", ["4294967296", "-1", "1" * 200_000])
@pytest.mark.parametrize("command", ["run", "launch", "tune", "ingest"])
def test_a_seed_that_no_generator_takes_is_a_usage_error(launched: Path, command: str, seed: str) -> None:
    data = ("--data", launched / "launch.jsonl") if command == "launch" else ()
    assert call(command, "--month", "2026-02", *data, "-w", launched, "--seed", seed).code == 2


@pytest.mark.parametrize("lambdas", ["", "nan", "inf", "1e31", "1e308", "0", "-1", "1,,2"])
def test_lambdas_that_no_run_can_use_are_usage_errors(launched: Path, lambdas: str) -> None:
    done = call("tune", "--month", "2026-02", "-w", launched, "--lambdas", lambdas)
    assert (done.code, f"--lambdas {lambdas}: expected positive numbers" in done.err) == (2, True)


def test_the_fisher_of_one_example_has_no_standard_error(launched: Path) -> None:
    for number, words in enumerate([(), ("--estimator", "mc"), ("--until-stable", "0.1")]):
        file = launched / f"{number}.safetensors"
        done = call(
            "fisher", "compute", "champion", "--samples", "1", *words, "--output", file, "-w", launched
        )
        assert done.code == 0, done.err
        assert "1 example, trace" in done.out
        assert "(one example tells no standard error)" in done.out
    done = call("show", launched / "0.safetensors", "--json", program="fisher")
    assert json.loads(done.out)["metadata"]["trace_standard_error"] is None
    assert (
        call("run", "--month", "2026-02", "-w", launched, "-o", "fisher.samples=1", "-o", "arm=ewc").code == 0
    )


def places(workspace: Path) -> list[Path]:
    """What a command must not write over, or among."""
    checkpoint = workspace / "runs/2026-01/001/finetune/checkpoint"
    return [
        workspace,
        workspace / "retrain.yaml",
        workspace / "launch.jsonl",
        workspace / "champion",
        workspace / "golden",
        workspace / "golden/2026-01.jsonl",
        workspace / "golden/new.html",
        workspace / "feedback/new.html",
        workspace / "runs/new.html",
        checkpoint / "model.safetensors",
        checkpoint / "fisher.safetensors",
        Path("/"),
    ]


def state(workspace: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(workspace).as_posix(): path.read_bytes() if path.is_file() else None
        for path in workspace.rglob("*")
        if not path.name.startswith(".retrain.lock")
    }


def refused_everywhere(workspace: Path, *words: object, program: str = "retrain") -> None:
    before = state(workspace)
    for place in places(workspace):
        done = call(*words, "--output", place, program=program)
        assert (done.code, "--output /" in done.err) == (2, True), (place, done)
        assert state(workspace) == before


def test_a_page_is_put_over_nothing_else_and_not_among_data(launched: Path) -> None:
    refused_everywhere(launched, "report", "-w", launched)
    done = call("report", "-w", launched, "--output", launched / "none/new.html")
    assert (done.code, "its folder does not exist" in done.err) == (74, True)


def test_a_fisher_is_put_over_nothing_but_a_fisher(launched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("compute", "champion", "--samples", "2", "-w", launched)
    refused_everywhere(launched, *words, "--force", program="fisher")
    file = launched / "mine.safetensors"
    assert call(*words, "--output", file, program="fisher").code == 0
    assert call(*words, "--output", file, program="fisher").code == 2
    assert call(*words, "--output", file, "--force", program="fisher").code == 0
    refused_everywhere(launched, "merge", file, file, "--force", program="fisher")
    assert call("merge", file, file, "--output", file, "--force", program="fisher").code == 0


def test_a_backtest_is_put_into_a_new_folder_or_an_earlier_backtests(launched: Path, tmp_path: Path) -> None:
    refused_everywhere(launched, *BACKTEST, "--arms", "freeze", "-w", launched)
    (tmp_path / "new").mkdir()
    for _ in range(2):
        done = call(*BACKTEST, "--arms", "freeze", "-w", launched, "--output", tmp_path / "new")
        assert done.code == 0, done.err


def latin(*words: object) -> Done:
    """A command whose stdout knows the characters of Latin-1 alone, as under PYTHONIOENCODING=latin-1."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="latin-1")
    with mock.patch("tests.conftest.redirect_stdout", return_value=redirect_stdout(stream)):
        done = call(*words)
    stream.flush()
    return Done(done.code, raw.getvalue().decode("latin-1"), done.err)


def test_what_stdout_cannot_encode_is_escaped(launched: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("the 5 \u20ac charge, caf\u00e9 \U0001f600", encoding="utf-8")
    done = latin("predict", tmp_path / "texts", "-w", launched)
    assert done.code == 0, done.err
    assert "caf\u00e9 \\ud83d\\ude00" in done.out
    assert json.loads(done.out)["text"] == "the 5 \u20ac charge, caf\u00e9 \U0001f600"


def test_text_that_stdout_cannot_encode_is_escaped(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    render._write("5 \u20ac", stream)
    assert raw.getvalue() == b"5 \\u20ac\n"


def test_a_process_with_an_ascii_stdout_ends_well(launched: Path) -> None:
    done = process("run", "--help", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    renamed = launched.rename(launched.parent / "caf\u00e9")
    done = process("show", "2026-01", "-w", str(renamed), PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert b"caf\\xe9/runs/2026-01/001" in done.stdout


def test_a_reason_that_is_no_text_is_a_usage_error(promoted: Path) -> None:
    before = (promoted / "registry.json").read_bytes()
    for words in (("rollback",), ("promote", "2026-01")):
        done = process(*words, "--reason", b"caf\xe9", "-w", str(promoted))
        assert (done.returncode, b"--reason caf\\udce9: expected UTF-8 text" in done.stderr) == (2, True), (
            done
        )
    assert (promoted / "registry.json").read_bytes() == before


def test_a_workspace_whose_path_is_no_text_is_refused(launched: Path) -> None:
    odd = os.path.join(os.fsencode(launched.parent), b"caf\xe9")
    os.rename(launched, odd)
    done = process("run", "--month", "2026-02", "-w", odd)
    assert done.returncode == 2, done.stderr
    assert b"caf\\udce9: expected a path of UTF-8 text, found other bytes. Rename the folder" in done.stderr
    assert not os.path.exists(os.path.join(odd, b"runs/2026-02"))


def test_feedback_in_a_file_whose_name_is_no_text_is_bad_data(launched: Path) -> None:
    odd = os.path.join(os.fsencode(launched), b"feedback/2026-02-caf\xe9.jsonl")
    Path(os.fsdecode(odd)).write_text("")
    done = call(
        "run", "--month", "2026-02", "-w", launched, "-o", "ingest.sources=[{path: 'feedback/{month}*'}]"
    )
    assert (done.code, "its name is no UTF-8 text" in done.err) == (65, True)
