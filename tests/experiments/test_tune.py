"""Choosing lambda on planted frontiers, and on the toy month."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from pipeline.config_loading import load_config
from pipeline.errors import BadConfig, UsageError
from pipeline.experiments.tune import TuneSettings, frontier, tune_month, tuned_key, write_choice
from pipeline.month.run import month_context
from pipeline.month.wish import Runtime
from pipeline.months import Month
from pipeline.recorded.tune_record import TuneResult, recorded_frontier, save_tuning
from pipeline.stages.stage import RunContext
from pipeline.stages.trial import Losses, Trial, months_summed, prepare_trial, with_a_penalty
from pipeline.store.run_directory import RunDirectory
from pipeline.store.verification import verify_workspace
from pipeline.store.workspace import Workspace

GRID = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
ROWS = 400


class Planted:
    """A month whose losses are quadratics, so that every lambda's weights and harm are known by hand.

    The old months' loss is 1/2 sum F d^2 and noise from row to row that is proportional to d, the new
    month's 1/2 sum (theta - theta_plain)^2. The first two weights matter to the old months, the last two
    do not.
    """

    def __init__(self, plain: list[float], *, misjudged: float = 1.0) -> None:
        """`misjudged` is a factor by which the new month's curvature is wrong."""
        old = torch.tensor([1.0, 1.0, 1e-4, 1e-4], dtype=torch.float64)
        self.anchor = {"w": torch.zeros(4, dtype=torch.float64)}
        self.plain, self.old, self.misjudged = torch.tensor(plain, dtype=torch.float64), old, misjudged
        self.fisher, self.weights, self.months = {"w": old}, {"w": old}, 1.0
        self.prior_rows = self.new_rows = range(ROWS)
        self.trained: list[float] = []
        half = torch.randn(ROWS // 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self.noise = torch.cat([half, -half]) * old.sqrt() * 0.6
        self.context = SimpleNamespace(
            month=Month(2026, 2),
            attempt=SimpleNamespace(attempt="2026-02/001"),
            config=load_config(None),
            recipe=SimpleNamespace(replayed_per_step=0),
        )

    def weights_at(self, lambda_: float) -> dict[str, torch.Tensor]:
        self.trained.append(lambda_)
        return {"w": self.plain / (1.0 + 2.0 * lambda_ * self.old)}

    def measure(self, weights: dict[str, torch.Tensor]) -> Losses:
        theta = weights["w"]
        prior = 0.5 * (self.old * theta.square()).sum() + self.noise @ theta
        new = self._new(theta).expand(ROWS)
        right = torch.ones(ROWS, dtype=torch.bool)
        return Losses(prior, right, new, right)

    def directional(self, change: dict[str, torch.Tensor]) -> tuple[float, float]:
        return 0.0, 0.5 * float((self.old * change["w"].square()).sum())

    def training_loss(self, weights: dict[str, torch.Tensor]) -> float:
        return float(self._new(weights["w"])) * self.misjudged

    def new_fisher(self, estimator: str, samples: int) -> Any:
        return SimpleNamespace(diagonal={"w": torch.full((4,), 0.3, dtype=torch.float64)})

    def _new(self, theta: torch.Tensor) -> torch.Tensor:
        return 0.5 * (theta - self.plain).square().sum()

    def first_harmless(self) -> float:
        """By the normal interval: harm 1/2 s^2 |d|^2 against its standard error s |d| / sqrt(rows)."""
        for lambda_ in GRID:
            theta = self.plain / (1.0 + 2.0 * lambda_ * self.old)
            harm = 0.5 * float((self.old * theta.square()).sum())
            error = float((self.noise @ theta).std()) / ROWS**0.5
            if harm <= 1.96 * error:
                return lambda_
        raise AssertionError("no lambda of the grid is harmless")


def run(planted: Planted, **settings: Any) -> TuneResult:
    return frontier(cast(Trial, planted), TuneSettings(lambdas=GRID, **settings))


@pytest.mark.parametrize("misjudged", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("sweep", [True, False])
def test_known_frontier_gives_the_right_lambda(sweep: bool, misjudged: float) -> None:
    planted = Planted([1.0, 1.0, 2.0, 2.0], misjudged=misjudged)
    result = run(planted, sweep=sweep, keep=0.7)
    assert result.chosen == planted.first_harmless() == 10.0
    assert "smallest" in result.reason
    if not sweep:
        assert len(planted.trained) <= 5 < len(GRID) + 1


def test_exact_curvature_predicts_the_curve_exactly_and_trains_two() -> None:
    planted = Planted([1.0, 1.0, 2.0, 2.0])
    result = run(planted, keep=0.7)
    assert result.mean_distance == pytest.approx(0.0, abs=1e-12)
    assert result.weight_distance == pytest.approx(0.0, abs=1e-12)
    assert sorted(planted.trained) == [0.0, 3.0, 10.0]
    assert result.trainings == 3
    for point in result.points:
        assert point.second_order == pytest.approx(point.prior_change, abs=1e-9)


def test_misjudged_curvature_is_reported_as_distance() -> None:
    result = run(Planted([1.0, 1.0, 2.0, 2.0], misjudged=20.0), keep=0.7)
    assert result.mean_distance is not None
    assert result.mean_distance > 0.05
    assert result.weight_distance is not None
    assert result.weight_distance > 0.05


@pytest.mark.parametrize("sweep", [True, False])
def test_no_good_lambda_is_refused_with_the_frontier(sweep: bool) -> None:
    planted = Planted([2.0, 2.0, 0.1, 0.1])  # all that the new month wants is what the old ones need
    result = run(planted, sweep=sweep, keep=0.7)
    assert result.chosen is None
    assert "no lambda does both" in result.reason
    assert [p.lambda_ for p in result.points if p.kind == "predicted"] == list(GRID)
    assert any(p.kind == "trained" for p in result.points)


def test_default_grid_is_centred_where_the_curvatures_balance() -> None:
    planted = Planted([1.0, 1.0, 0.0, 0.0])
    result = frontier(cast(Trial, planted), TuneSettings())
    assert result.scale == pytest.approx(0.5)
    assert result.grid[0] == pytest.approx(0.001)
    assert result.grid[-1] == pytest.approx(300)


def test_a_choice_by_few_validation_rows_is_called_a_hint() -> None:
    planted = Planted([1.0, 1.0, 2.0, 2.0])
    assert "take it as a hint" not in run(planted).reason
    planted.new_rows = range(49)
    assert "400 validation rows of earlier months and 49 of this one, which is few" in run(planted).reason


def test_more_trainings_than_allowed_are_not_made() -> None:
    planted = Planted([1.0, 1.0, 2.0, 2.0], misjudged=20.0)
    run(planted, most_trainings=1)
    assert len(planted.trained) == 2


def test_a_search_that_stops_before_the_first_lambda_says_so() -> None:
    assert "stopped at 0 trainings" in run(Planted([0.0, 0.0, 2.0, 2.0]), most_trainings=0).reason


@pytest.mark.parametrize(
    ("gamma", "months", "summed"), [(1.0, "online", 2.0), (0.5, "online", 1.5), (0.5, "separate", 2.0)]
)
def test_the_penaltys_fisher_is_a_sum_over_months_in_which_gamma_fades_the_earlier_ones(
    promoted: Path, cli: Callable[..., Any], gamma: float, months: str, summed: float
) -> None:
    wishes = (f"ewc.gamma={gamma}", f"ewc.months={months}", "arm=ewc")
    words = [word for wish in wishes for word in ("-o", wish)]
    assert cli("run", "--month", "2026-03", "--until", "fisher", "-w", promoted, *words).code == 0
    config = load_config(promoted / "retrain.yaml", overrides=wishes)
    context = month_context(Workspace(promoted), config, Month(2026, 3), device="cpu")
    assert context.base is not None
    file = promoted / context.base.path / "fisher.safetensors"
    assert months_summed(context, context.base, file) == summed


def test_frontier_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    attempt = RunDirectory(tmp_path / "2026-02" / "001")
    attempt.folder.mkdir(parents=True)
    assert recorded_frontier(attempt) is None
    result = run(Planted([1.0, 1.0, 2.0, 2.0]), keep=0.7)
    save_tuning(attempt, result)
    assert sorted(p.name for p in (attempt.folder / "tune").iterdir()) == [
        "lambda.json",
        "lambda.png",
        "lambda.svg",
    ]
    found = recorded_frontier(attempt)
    assert found is not None
    assert (found.chosen, len(found.points)) == (10.0, len(result.points))


def ingested(workspace: Path) -> RunContext:
    """The toy month 2026-02 under the arm ewc; its ingest is done."""
    space = Workspace(workspace)
    config = load_config(workspace / "retrain.yaml", overrides=["arm=ewc"])
    return with_a_penalty(month_context(space, config, Month(2026, 2)))


def test_trial_trains_what_the_monthly_job_trains(launched: Path, cli: Callable[..., Any]) -> None:
    done = cli("run", "--month", "2026-02", "-w", launched, "-o", "arm=ewc", "--threads", "1")
    assert done.code == 0, done.err
    from pipeline.modeling.tasks.sequence_classification import load_classifier

    context = ingested(launched)
    trial = prepare_trial(context)
    weights = trial.weights_at(context.recipe.ewc_lambda)
    made = dict(load_classifier(context.output("finetune") / "checkpoint").model.named_parameters())
    assert all(torch.equal(tensor, made[name]) for name, tensor in weights.items())
    again = trial.weights_at(context.recipe.ewc_lambda)
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items())
    plain = trial.weights_at(0.0)
    assert any(not torch.equal(plain[name], weights[name]) for name in weights)


def test_tuning_leaves_a_month_as_a_run_expects_it(launched: Path, cli: Callable[..., Any]) -> None:
    from datetime import UTC, datetime

    space = Workspace(launched)
    result = tune_month(
        space,
        load_config(launched / "retrain.yaml", overrides=["arm=ewc"]),
        Month(2026, 2),
        TuneSettings(lambdas=(0.1, 10.0)),
        runtime=Runtime(lambda: datetime(2026, 3, 1, tzinfo=UTC), device="cpu"),
    )
    assert result.attempt == "2026-02/001"
    assert result.key == "ewc.lambda"
    table = json.loads((launched / "runs/2026-02/001/tune/lambda.json").read_text())
    assert table["month"] == "2026-02"
    done = cli("run", "--month", "2026-02", "-w", launched, "-o", "arm=ewc", "--threads", "1", "--json")
    assert json.loads(done.out)["attempt"] == "2026-02/001"
    assert "Choosing lambda" in (launched / "runs/2026-02/001/report.html").read_text()
    again = cli("run", "--month", "2026-02", "-w", launched, "-o", "arm=ewc", "--threads", "1", "--json")
    assert json.loads(again.out)["already"] is True
    assert verify_workspace(space).problems == ()


def test_launch_month_is_refused(launched: Path) -> None:
    context = ingested(launched)
    with pytest.raises(UsageError, match="nothing before it"):
        prepare_trial(replace(context, base=None))


def test_key_follows_the_recipe(launched: Path, cli: Callable[..., Any]) -> None:
    context = ingested(launched)
    assert tuned_key(context) == "ewc.lambda"
    replaying = month_context(context.workspace, load_config(None), Month(2026, 2))
    assert tuned_key(with_a_penalty(replaying)) == "ewc.replay_lambda"
    assert cli("ingest", "--month", "2026-02", "-w", launched).code == 0
    assert tuned_key(with_a_penalty(replaying)) == "ewc.growth_lambda"  # the month brings a new label
    plain = load_config(None, overrides=["arm=plain", "ewc.lambda=0"])
    assert with_a_penalty(month_context(context.workspace, plain, Month(2026, 2))).recipe.ewc_lambda > 0.0


def test_choice_is_written_and_comments_stay(new_workspace: Path) -> None:
    file = new_workspace / "retrain.yaml"
    file.write_text("version: 1\newc:   # held back\n  lambda: 1.0  # the dial\n  gamma: 1.0\n")
    write_choice(Workspace(new_workspace), "ewc.lambda", 0.3)
    assert file.read_text() == "version: 1\newc:   # held back\n  lambda: 0.3  # the dial\n  gamma: 1.0\n"
    assert load_config(file).ewc.lambda_ == 0.3
    file.unlink()
    with pytest.raises(BadConfig, match="no such file"):
        write_choice(Workspace(new_workspace), "ewc.lambda", 0.3)
