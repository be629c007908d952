"""`retrain report`, `diagnose` and `tune` from the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import call

Cli = Callable[..., Any]


def test_report_prints_where_it_lies(promoted: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli("report", "2026-02", "-w", promoted)
    assert done.code == 0, done.err
    assert Path(done.out.strip()) == promoted.resolve() / "runs/2026-02/001/report.html"
    elsewhere = tmp_path / "page.html"
    assert cli("report", "champion", "-w", promoted, "--output", elsewhere).code == 0
    assert elsewhere.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_report_of_nothing_is_no_input(promoted: Path, cli: Cli) -> None:
    done = cli("report", "2030-01", "-w", promoted)
    assert done.code == 66
    assert "Attempts here: 2026-01/001, 2026-02/001" in done.err


def test_diagnose_prints_groups_heat_map_and_rows(promoted: Path, cli: Cli) -> None:
    done = cli("diagnose", "2026-02", "-w", promoted, "--rows", "6", "--top", "3")
    assert done.code == 0, done.err
    for part in ("parameter group", "share of sum F d^2 by layer and kind", "push hardest"):
        assert part in done.out
    document = json.loads(cli("diagnose", "-w", promoted, "--rows", "6", "--top", "3", "--json").out)
    assert document["attempt"] == "2026-02/001"
    assert len(document["rows"]) == 3
    assert document["rows"][0]["text"] is None


def test_diagnose_of_the_launch_is_a_usage_error(promoted: Path, cli: Cli) -> None:
    assert cli("diagnose", "2026-01", "-w", promoted).code == 2


@pytest.fixture
def validated(launched: Path) -> Path:
    """The launched workspace under the penalty alone."""
    file = launched / "retrain.yaml"
    file.write_text("# ours\narm: ewc\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    return launched


def test_tune_prints_the_table_and_writes_the_choice(validated: Path, cli: Cli) -> None:
    words = ("tune", "--month", "2026-02", "-w", validated, "--lambdas", "0.1,0.01", "--confidence", "0.999")
    done = cli(*words, "--keep", "0", "--sweep", "--write", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    trained = [point["lambda_"] for point in document["points"] if point["kind"] == "trained"]
    assert trained == [0.01, 0.1]
    assert document["chosen"] == 0.01
    text = (validated / "retrain.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ours\n")
    assert yaml.safe_load(text)["ewc"]["lambda"] == 0.01
    assert (validated / "runs/2026-02/001/tune/lambda.png").is_file()
    table = cli(*words, "--keep", "0")
    assert "prior change" in table.out
    assert "\nchosen: lambda 0.01 is the smallest" in table.out


def test_tune_without_a_good_lambda_exits_zero_and_three_when_strict(
    validated: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.ewc import lambda_choice

    monkeypatch.setattr(
        lambda_choice,
        "choose",
        lambda trained, plain, keep: lambda_choice.LambdaChoice(None, "no lambda does both"),
    )
    words = ("tune", "--month", "2026-02", "-w", validated, "--lambdas", "1", "--write")
    before = (validated / "retrain.yaml").read_bytes()
    done = cli(*words)
    assert done.code == 0
    assert "none chosen: no lambda does both" in done.out
    assert cli(*words, "--strict").code == 3
    assert (validated / "retrain.yaml").read_bytes() == before


@pytest.mark.parametrize("lambdas", ["0,1", "nan", "-1", "one", "", "inf"])
def test_tune_refuses_candidates_that_are_no_positive_numbers(
    validated: Path, cli: Cli, lambdas: str
) -> None:
    done = cli("tune", "--month", "2026-02", "-w", validated, "--lambdas", lambdas)
    assert done.code == 2
    assert "expected positive numbers" in done.err


@pytest.mark.parametrize(
    "place", ["champion/model.safetensors", "champion/page.html", "champion", "retrain.yaml", "."]
)
def test_a_page_replaces_nothing_but_a_page(promoted: Path, place: str) -> None:
    target = promoted / place
    before = (promoted / "champion/model.safetensors").read_bytes()
    done = call("report", "champion", "-w", promoted, "--output", target)
    assert done.code == 2
    assert f"--output {target.resolve()}: " in done.err
    assert call("verify", "-w", promoted).code == 0
    assert (promoted / "champion/model.safetensors").read_bytes() == before
