"""What a backtest found: each arm's figures over months and seeds, and which arm to ship."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.evaluation.scorecard import Scorecard
from pipeline.evaluation.significance import total_interval
from pipeline.months import Month
from pipeline.recorded.names import PREDICTIONS_FILE
from pipeline.recorded.scorecards import recorded_scorecard
from pipeline.store.run_directory import RunDirectory
from pipeline.store.stage_directory import require_output
from pipeline.store.tables import read_parquet
from pipeline.store.workspace import Workspace

LARGEST_LOSS_A_CYCLE = 0.5
"""Points; an arm that loses more of the prior golden rows is not shipped."""


@dataclass(frozen=True)
class ArmResult:
    """One arm over all months and seeds; accuracies in points.

    Attributes:
        prior_change: change of all prior golden rows a cycle, mean over cycles and seeds; with its 95%
            interval over golden rows in `low` and `high`.
        prior_by_seed: the same, the mean over the cycles of each seed: what chance in training does.
        worst_cycle: the lowest change of any cycle and seed; `worst_by_seed` the lowest of each seed.
        launch_change: of the launch golden set, from the launch to the last month, mean over seeds.
        gain: change of each month's own golden set in its month, mean; `gain_by_slice` the same a slice.
        own_by_slice: accuracy on each month's own golden set right after it, mean, a slice.
        final_accuracy: mean over all golden sets after the last month, mean over seeds.
        seconds: of a month's stages, mean.
        learning_rates: of the encoder, a seed.
        launch_accuracies: accuracy on the launch golden set, launch first, then each month, a seed.
    """

    arm: str
    prior_change: float
    low: float
    high: float
    prior_by_seed: dict[int, float]
    worst_cycle: float
    worst_by_seed: dict[int, float]
    launch_change: float
    gain: float
    gain_by_slice: dict[str, float]
    own_by_slice: dict[str, float]
    final_accuracy: float
    seconds: float
    learning_rates: dict[int, float]
    launch_accuracies: dict[int, list[float]]


@dataclass(frozen=True)
class BacktestResult:
    months: tuple[str, ...]
    seeds: tuple[int, ...]
    arms: tuple[ArmResult, ...]
    advice: str


def advice(results: Sequence[ArmResult]) -> str:
    """One sentence: which arm to ship, and why."""
    candidates = [r for r in results if r.arm != "joint"]
    kept = [r for r in candidates if r.prior_change >= -LARGEST_LOSS_A_CYCLE]
    if not kept:
        best = max(candidates or results, key=lambda r: r.prior_change)
        return (
            f"No arm keeps the prior months within {LARGEST_LOSS_A_CYCLE:g} points a cycle; "
            f"the nearest is {best.arm} with {best.prior_change:+.2f}."
        )
    best = max(kept, key=lambda r: r.final_accuracy)
    joint = next((r for r in results if r.arm == "joint"), None)
    ceiling = (
        f"; joint training on everything reaches {joint.final_accuracy:.2f} at {joint.seconds / best.seconds:.1f} "
        "times the seconds a month"
        if joint is not None and best.seconds > 0
        else ""
    )
    return (
        f"Ship {best.arm}: of the arms that lose at most {LARGEST_LOSS_A_CYCLE:g} points a cycle on prior months "
        f"({best.prior_change:+.2f}) it ends highest, at {best.final_accuracy:.2f} over all golden sets{ceiling}."
    )


def arm_result(
    arm: str,
    spaces: Mapping[int, Workspace],
    rates: dict[int, float],
    launch_month: Month,
    months: Sequence[Month],
) -> ArmResult:
    """One arm's figures, from the finished months of its workspaces, one a seed."""
    cards = {seed: [_card(space, month) for month in months] for seed, space in spaces.items()}
    first = {seed: _card(space, launch_month) for seed, space in spaces.items()}
    every = [card for line in cards.values() for card in line]
    low, high = total_interval(_changes_of_rows(list(spaces.values()), months))
    changes = {
        seed: [c.pooled.difference for c in line if c.pooled and c.pooled.difference is not None]
        for seed, line in cards.items()
    }
    by_seed = {seed: _mean(line) for seed, line in changes.items()}
    worst = {seed: min(line) for seed, line in changes.items()}
    launch_line = {
        seed: [_own_accuracy(first[seed]), *(_accuracy(card, str(launch_month)) for card in cards[seed])]
        for seed in spaces
    }
    own = [card.own for card in every if card.own is not None]
    slices = sorted({name for item in own for name in item.slices})
    return ArmResult(
        arm=arm,
        prior_change=_mean(list(by_seed.values())),
        low=low,
        high=high,
        prior_by_seed=by_seed,
        worst_cycle=min(worst.values()),
        worst_by_seed=worst,
        launch_change=_mean([line[-1] - line[0] for line in launch_line.values()]),
        gain=_mean([item.overall.difference for item in own if item.overall.difference is not None]),
        gain_by_slice={
            name: _mean(
                [d for item in own if name in item.slices and (d := item.slices[name].difference) is not None]
            )
            for name in slices
        },
        own_by_slice={
            name: _mean(
                [
                    a
                    for item in own
                    if name in item.slices and (a := item.slices[name].accuracy_after) is not None
                ]
            )
            for name in slices
        },
        final_accuracy=_mean([_final(line[-1]) for line in cards.values()]),
        seconds=_mean([_seconds(space, month) for space in spaces.values() for month in months]),
        learning_rates=rates,
        launch_accuracies=launch_line,
    )


def _changes_of_rows(spaces: Sequence[Workspace], months: Sequence[Month]) -> list[list[float]]:
    """What each prior golden row adds to the mean change a cycle, in points; a list a golden set."""
    changes: dict[str, dict[object, float]] = defaultdict(lambda: defaultdict(float))
    tables = [_prior_predictions(space, month) for space in spaces for month in months]
    tables = [table for table in tables if table]
    for table in tables:
        share = 100.0 / (len(table) * len(tables))
        for row in table:
            gained = (row["after"] == row["label"]) - (row["before"] == row["label"])
            changes[str(row["golden"])][row["id"]] += share * gained
    return [list(rows.values()) for rows in changes.values()]


def _prior_predictions(space: Workspace, month: Month) -> list[dict[str, object]]:
    rows = read_parquet(require_output(_attempt(space, month).stage("eval"), PREDICTIONS_FILE))
    return [row for row in rows if row["golden"] != str(month)]


def _card(space: Workspace, month: Month) -> Scorecard:
    return recorded_scorecard(_attempt(space, month).stage("eval"))


def _own_accuracy(card: Scorecard) -> float:
    accuracy = card.own.overall.accuracy_after if card.own is not None else None
    return accuracy if accuracy is not None else float("nan")


def _accuracy(card: Scorecard, name: str) -> float:
    score = next(item for item in card.scores if item.name == name)
    return score.overall.accuracy_after if score.overall.accuracy_after is not None else float("nan")


def _final(card: Scorecard) -> float:
    return _mean([s.overall.accuracy_after for s in card.scores if s.overall.accuracy_after is not None])


def _seconds(space: Workspace, month: Month) -> float:
    events = _attempt(space, month).read_events()
    return sum(float(str(event["seconds"])) for event in events if event.get("event") == "stage finished")


def _attempt(space: Workspace, month: Month) -> RunDirectory:
    attempt = space.latest_attempt(month)
    assert attempt is not None
    return attempt


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def as_record(result: BacktestResult) -> dict[str, Any]:
    """The result as plain JSON values."""
    return asdict(result)
