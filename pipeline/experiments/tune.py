"""Choose lambda by looking: the frontier between what the old months lose and what the new one gains."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from pipeline.config import Config
from pipeline.config_text import with_value
from pipeline.errors import BadConfig, UsageError
from pipeline.month.run import month_context, run_month
from pipeline.month.wish import Runtime, Wish
from pipeline.months import Month
from pipeline.recorded.names import SUMMARY_FILE, VALIDATION_FILE
from pipeline.recorded.present_labels import require_present_labels
from pipeline.recorded.rows import labels_of, rows_of, validation_rows
from pipeline.recorded.tune_record import FrontierPoint, TuneResult, save_tuning
from pipeline.stages.stage import RunContext
from pipeline.stages.trial import Losses, Trial, prepare_trial, with_a_penalty
from pipeline.store import atomic
from pipeline.store.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.ewc.lambda_choice import Measured

NEW_FISHER_SAMPLES = 150
"""Rows of the new month that its curvature is averaged over; it decides a shape, not a strength."""
FEW_ROWS = 50
"""Validation rows below which an interval is so wide that much harm would go unseen."""


@dataclass(frozen=True)
class TuneSettings:
    """How to look for lambda.

    Attributes:
        lambdas: candidates, ascending; None for a grid around the balance of the two curvatures.
        keep: share of the plain gain that must stay.
        confidence: of the bootstrap intervals.
        sweep: train every candidate, instead of the few that the prediction points at.
        most_trainings: at most so many besides the plain one (without `sweep`).
    """

    lambdas: tuple[float, ...] | None = None
    keep: float = 0.8
    confidence: float = 0.95
    sweep: bool = False
    most_trainings: int = 4


def tune_month(
    workspace: Workspace,
    config: Config,
    month: Month,
    settings: TuneSettings,
    *,
    runtime: Runtime,
) -> TuneResult:
    """Draw a month's frontier over lambda, choose from it, and put table and pictures beside the attempt.

    The month is ingested where that was not done yet; nothing finished is changed.

    Raises:
        NoInput: without an earlier champion, or feedback.
        UsageError: at a launch, without validation rows, without a positive lambda, or where labels were renamed, merged or
            retired since the month was ingested.
    """
    context = prepared_month(workspace, config, month, runtime=runtime)
    require_present_labels(workspace, context.attempt)
    _require_tunable(context)
    result = frontier(prepare_trial(context), settings)
    save_tuning(context.attempt, result)
    return result


def _require_tunable(context: RunContext) -> None:
    """Find out from the tables, before anything is loaded and trained, what choosing would fail for.

    Raises:
        UsageError: where the earlier months or this one have no validation rows, or the month has more labels than
            `fisher.estimator: exact` takes.
    """
    from pipeline.ewc.fisher import require_few_columns

    if context.base is None:
        return  # refused as a launch
    prior = len(validation_rows(context.workspace, context.line))
    new = len(rows_of(context.output("ingest"), VALIDATION_FILE))
    if not prior or not new:
        raise UsageError(
            f"{context.month}: {prior} validation rows of earlier months and {new} of this one; lambda is chosen on them. "
            "Set ingest.validation above 0 before launch and run"
        )
    if context.config.fisher.estimator == "exact":
        require_few_columns(1, len(labels_of(context.attempt)))


def frontier(trial: Trial, settings: TuneSettings) -> TuneResult:
    """Train plain, predict every candidate, train the few that decide, and choose.

    Raises:
        UsageError: where no with_a_penalty weight moves.
    """
    from pipeline.ewc.lambda_choice import choose, next_to_train
    from pipeline.ewc.lambda_path import balanced_lambda, calibrated, lambda_grid, path_point

    context = trial.context
    anchor = {name: trial.anchor[name] for name in trial.fisher}
    before = trial.measure(trial.anchor)
    plain_weights = trial.weights_at(0.0)
    change = {name: plain_weights[name] - anchor[name] for name in anchor}
    table = _Table(trial, settings, before, change)
    plain = table.add("plain", 0.0, plain_weights)
    fall = trial.training_loss(trial.anchor) - trial.training_loss(plain_weights)
    estimator = context.config.fisher.estimator
    shape = trial.new_fisher(estimator, min(context.config.fisher.samples, NEW_FISHER_SAMPLES)).diagonal
    new_fisher = calibrated(shape, change, fall)
    try:
        scale = balanced_lambda(new_fisher, trial.weights, change)
    except ValueError as error:
        raise UsageError(f"{context.month}: {error}. Train layers that the penalty covers") from None
    grid = settings.lambdas or lambda_grid(scale)

    def predicted_weights(lambda_: float) -> dict[str, Tensor]:
        return path_point(anchor, change, new_fisher, trial.weights, lambda_)

    predicted = [table.add("predicted", lambda_, predicted_weights(lambda_)) for lambda_ in grid]
    trained: dict[int, Measured] = {}

    def train(index: int) -> None:
        weights = trial.weights_at(grid[index])
        trained[index] = table.add("trained", grid[index], weights, beside=predicted_weights(grid[index]))

    if settings.sweep:
        for each in range(len(grid)):
            train(each)
    else:
        while len(trained) < settings.most_trainings:
            index = next_to_train(predicted, trained, plain=plain, keep=settings.keep)
            if index is None:
                break
            train(index)
    choice = choose(list(trained.values()), plain=plain, keep=settings.keep)
    unanswered = (
        None if settings.sweep else next_to_train(predicted, trained, plain=plain, keep=settings.keep)
    )
    errors = [abs(point.prior_change - predicted[i].prior_change) for i, point in trained.items()]
    moved = [point.weight_distance for point in table.points if point.weight_distance is not None]
    return TuneResult(
        month=str(context.month),
        attempt=context.attempt.attempt,
        arm=context.config.arm,
        key=tuned_key(context),
        keep=settings.keep,
        confidence=settings.confidence,
        sweep=settings.sweep,
        scale=scale,
        grid=tuple(grid),
        prior_rows=len(trial.prior_rows),
        new_rows=len(trial.new_rows),
        before={
            "prior_loss": float(before.prior.mean()),
            "new_loss": float(before.new.mean()),
            "prior_accuracy": _points(before.prior_right),
            "new_accuracy": _points(before.new_right),
        },
        points=tuple(table.points),
        trainings=len(trained) + 1,
        mean_distance=sum(errors) / len(errors) if errors else None,
        weight_distance=sum(moved) / len(moved) if moved else None,
        chosen=choice.lambda_,
        reason=choice.reason
        + (
            f"; stopped at {settings.most_trainings} trainings, others of the grid may do better"
            if unanswered is not None
            else ""
        )
        + (
            f"; judged on {len(trial.prior_rows)} validation rows of earlier months and {len(trial.new_rows)} of this one, "
            "which is few: take it as a hint"
            if min(len(trial.prior_rows), len(trial.new_rows)) < FEW_ROWS
            else ""
        ),
    )


class _Table:
    """Measures weights against the model before the month, and keeps the rows."""

    def __init__(
        self, trial: Trial, settings: TuneSettings, before: Losses, change: dict[str, Tensor]
    ) -> None:
        self.trial, self.settings, self.before, self.change = trial, settings, before, change
        self.points: list[FrontierPoint] = []
        self.plain_gain = 0.0

    def add(
        self,
        kind: str,
        lambda_: float,
        weights: dict[str, Tensor],
        beside: dict[str, Tensor] | None = None,
    ) -> Measured:
        """Measure weights; `beside` are those predicted for the same lambda."""
        from pipeline.ewc.lambda_path import second_order_change

        found = measured(
            lambda_,
            self.before,
            self.trial.measure(weights),
            confidence=self.settings.confidence,
            seed=self.trial.context.config.seed,
        )
        if kind == "plain":
            self.plain_gain = -found.new_change
        moved = {name: weights[name] - self.trial.anchor[name] for name in weights}
        slope, curvature = self.trial.directional(moved)
        self.points.append(
            FrontierPoint(
                kind=kind,
                ratio=found.ratio,
                gain_share=-found.new_change / self.plain_gain if self.plain_gain > 0.0 else None,
                second_order=second_order_change(self.trial.fisher, moved, self.trial.months),
                slope=slope,
                curvature=curvature,
                weight_distance=None if beside is None else _distance(weights, beside, self.change),
                **asdict(found),
            )
        )
        return found


def measured(lambda_: float, before: Losses, after: Losses, *, confidence: float, seed: int) -> Measured:
    """What a lambda does, row against row."""
    from pipeline.ewc.lambda_choice import Measured, bootstrap_interval

    differences = after.prior - before.prior
    low, high = bootstrap_interval(differences, confidence=confidence, seed=seed)
    return Measured(
        lambda_=lambda_,
        prior_change=float(differences.double().mean()),
        prior_low=low,
        prior_high=high,
        new_change=float((after.new - before.new).double().mean()),
        prior_accuracy=_points(after.prior_right),
        new_accuracy=_points(after.new_right),
    )


def tuned_key(context: RunContext) -> str:
    """The configuration key that holds the lambda of the context's recipe."""
    if not context.recipe.replayed_per_step:
        return "ewc.lambda"
    grows = context.contents is not None and context.contents.new_labels > 0
    return "ewc.growth_lambda" if grows else "ewc.replay_lambda"


def write_choice(workspace: Workspace, key: str, lambda_: float) -> None:
    """Put a chosen lambda into the workspace's retrain.yaml; comments and all else stay as they are.

    Raises:
        BadConfig: when the file cannot be changed so.
    """
    file = workspace.config_file
    if not file.is_file():
        raise BadConfig(f"{file}: no such file. Run: retrain init")
    text = file.read_text(encoding="utf-8")
    atomic.write_file(file, with_value(text, key, f"{lambda_:g}", where=str(file)).encode("utf-8"))


def prepared_month(
    workspace: Workspace,
    config: Config,
    month: Month,
    *,
    runtime: Runtime,
) -> RunContext:
    """The context of the month's newest attempt, ingested where it was not, with a recipe that has a penalty."""
    context = month_context(workspace, config, month, device=runtime.device, progress=runtime.progress)
    if not (context.output("ingest") / SUMMARY_FILE).exists():
        run_month(workspace, config, month, wish=Wish(until="ingest"), runtime=runtime)
        context = month_context(workspace, config, month, device=runtime.device, progress=runtime.progress)
    parent = context.attempt.read_manifest().parent
    return with_a_penalty(replace(context, base=parent))


def _distance(
    weights: dict[str, Tensor], predicted: dict[str, Tensor], change: dict[str, Tensor]
) -> float | None:
    between = sum(float((weights[name] - predicted[name]).double().square().sum()) for name in weights)
    moved = sum(float(change[name].double().square().sum()) for name in change)
    return (between / moved) ** 0.5 if moved > 0.0 else None


def _points(right: Tensor) -> float:
    return 100.0 * float(right.double().mean())
