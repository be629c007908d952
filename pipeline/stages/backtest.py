"""Backtest: replay past months for several arms under equal budgets, and say which one to ship.

Every arm and seed has a workspace of its own below the backtest's folder, which reads the team's
feedback and golden sets and adopts one shared launch; so the champion is never touched, and a backtest
that was stopped goes on where it was.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.errors import NoInput, UsageError
from pipeline.evaluation.scorecard import Scorecard
from pipeline.evaluation.significance import paired_difference_interval
from pipeline.months import Month
from pipeline.progress import Progress
from pipeline.stages.evaluate import recorded_scorecard
from pipeline.stages.finetune import METRICS_FILE
from pipeline.stages.ingest import TRAIN_FILE, VALIDATION_FILE
from pipeline.stages.journal import Clock
from pipeline.stages.lineage import ancestors
from pipeline.stages.month import Request, launch, run_month
from pipeline.stages.new_workspace import make_workspace
from pipeline.stages.stage import LaunchInput
from pipeline.stages.tables import rows_of
from pipeline.store.hashing import checkpoint_hash
from pipeline.store.registry import read_registry
from pipeline.store.run_directory import Workspace
from pipeline.store.stage_directory import require_stage
from pipeline.store.tables import read_jsonl, write_jsonl

ARMS = ("freeze", "plain", "head", "l2sp", "ewc", "replay", "default", "joint")
PLAIN_LEARNING_RATES = (1e-4, 2e-4, 4e-4)
"""The plain arm takes the one with the lowest validation loss on its first month: no straw man."""
LARGEST_LOSS_A_CYCLE = 0.5
"""Points; an arm that loses more of the prior golden rows is not shipped."""


@dataclass(frozen=True)
class ArmResult:
    """One arm over all months and seeds; accuracies in points.

    Attributes:
        prior_change: change of all prior golden rows a cycle, pooled over cycles and seeds; with its
            95% interval over rows in `low` and `high`.
        prior_by_seed: the same, the mean over the cycles of each seed.
        worst_cycle: the lowest change of any cycle and seed.
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


def backtest(
    source: Workspace,
    config: Config,
    *,
    folder: Path,
    launch_data: Path,
    launch_month: Month,
    months: Sequence[Month],
    arms: Sequence[str],
    seeds: Sequence[int],
    request: Request,
    clock: Clock,
    progress: Progress,
) -> BacktestResult:
    """Run every arm over the months for every seed, then compare.

    Args:
        source: the team's workspace, only read.
        folder: where the backtest's workspaces go; what is finished there is used again.
        launch_data: what the first model is trained on.
        launch_month: its month; `months` follow it.

    Raises:
        UsageError: an unknown arm. NoInput: no months.
    """
    unknown = sorted(set(arms) - set(ARMS))
    if unknown:
        raise UsageError(f"--arms {','.join(unknown)}: expected some of {', '.join(ARMS)}")
    if not months:
        raise NoInput("--months: there is no month after the launch to replay")
    config = _reading_from(source, config)
    workspaces: dict[tuple[str, int], Workspace] = {}
    rates: dict[tuple[str, int], float] = {}
    for seed in seeds:
        seeded = config.model_copy(update={"seed": seed})
        shared = Workspace(folder / f"seed-{seed}" / "launch")
        make_workspace(shared.root)
        _launch(shared, seeded, launch_month, LaunchInput(launch_data, None), request, clock, progress)
        checkpoint = shared.find(str(launch_month)).checkpoint
        for arm in arms:
            space = Workspace(folder / f"seed-{seed}" / arm)
            of_arm = _arm_config(seeded, arm)
            if arm == "plain":
                of_arm = _best_plain(
                    of_arm, folder / f"seed-{seed}", launch_data, launch_month, months[0], checkpoint,
                    request=request, clock=clock, progress=progress,
                )  # fmt: skip
            make_workspace(space.root)
            _launch(
                space, of_arm, launch_month, LaunchInput(launch_data, checkpoint), request, clock, progress
            )
            for month in months:
                run_month(
                    space,
                    of_arm,
                    month,
                    request=replace(request, promote=True),
                    clock=clock,
                    progress=progress,
                )
            workspaces[arm, seed] = space
            rates[arm, seed] = of_arm.train.learning_rate
    results = tuple(
        _result(
            arm,
            {s: workspaces[arm, s] for s in seeds},
            {s: rates[arm, s] for s in seeds},
            launch_month,
            months,
        )
        for arm in arms
    )
    return BacktestResult(tuple(map(str, months)), tuple(seeds), results, advice(results))


def known_launch_data(source: Workspace, folder: Path) -> Path:
    """The launch data of a workspace, put together again from its launch's tables, as a file in `folder`.

    Raises:
        NoInput: when the workspace was never launched.
    """
    line = ancestors(source, read_registry(source).champion)
    if not line:
        raise NoInput(
            f"{source.root}: was never launched, so its launch data is not known. Give it with --data FILE"
        )
    ingested = source.attempt(line[0].attempt).stage("ingest")
    rows = rows_of(ingested / TRAIN_FILE) + rows_of(ingested / VALIDATION_FILE)
    file = folder / "launch.jsonl"
    write_jsonl(file, [{"id": row.id, "text": row.text, "label": row.label} for row in rows])
    return file


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


def _reading_from(source: Workspace, config: Config) -> Config:
    """The configuration with paths that lead to the source workspace from anywhere."""
    sources = tuple(s.model_copy(update={"path": str(source.root / s.path)}) for s in config.ingest.sources)
    base = source.root / config.model.base
    model = config.model.model_copy(update={"base": str(base)}) if base.is_dir() else config.model
    return config.model_copy(
        update={
            "model": model,
            "ingest": config.ingest.model_copy(update={"sources": sources}),
            "golden": config.golden.model_copy(update={"path": str(source.root / config.golden.path)}),
        }
    )


def _arm_config(config: Config, arm: str) -> Config:
    if arm == "replay":  # the default recipe without its penalty
        ewc = config.ewc.model_copy(update={"replay_lambda": 0.0})
        return config.model_copy(update={"arm": "default", "ewc": ewc})
    return config.model_copy(update={"arm": arm})


def _launch(
    space: Workspace,
    config: Config,
    month: Month,
    source: LaunchInput,
    request: Request,
    clock: Clock,
    progress: Progress,
) -> None:
    """Launch a workspace; one that was launched from the same checkpoint and has gone on stays as it is."""
    champion = read_registry(space).champion
    if champion is not None and champion.month != str(month):
        attempt = space.latest_attempt(month)
        made_from = require_stage(attempt.stage("finetune")).inputs if attempt is not None else {}
        if source.checkpoint is None or made_from.get("adopted checkpoint") != checkpoint_hash(
            source.checkpoint
        ):
            raise UsageError(
                f"{space.root}: was replayed from another launch than the one that is there now. "
                "Remove that folder and run the same command again"
            )
        return
    plain_launch = config.model_copy(update={"arm": "default"})
    launch(space, plain_launch, month, source, request=request, clock=clock, progress=progress)


def _best_plain(
    config: Config,
    folder: Path,
    launch_data: Path,
    launch_month: Month,
    month: Month,
    checkpoint: Path,
    *,
    request: Request,
    clock: Clock,
    progress: Progress,
) -> Config:
    """The plain arm at the learning rate with the lowest validation loss after its first month."""
    losses = {}
    for rate in PLAIN_LEARNING_RATES:
        space = Workspace(folder / f"plain-{rate:g}")
        tried = config.model_copy(update={"train": config.train.model_copy(update={"learning_rate": rate})})
        make_workspace(space.root)
        _launch(space, tried, launch_month, LaunchInput(launch_data, checkpoint), request, clock, progress)
        wish = replace(request, until="finetune")
        run_month(space, tried, month, request=wish, clock=clock, progress=progress)
        attempt = space.latest_attempt(month)
        assert attempt is not None
        measured: list[dict[str, Any]] = read_jsonl(attempt.stage("finetune") / METRICS_FILE)
        losses[rate] = [row["new_validation_loss"] for row in measured if "new_validation_loss" in row][-1]
    best = min(losses, key=losses.__getitem__)
    return config.model_copy(update={"train": config.train.model_copy(update={"learning_rate": best})})


def _result(
    arm: str,
    spaces: dict[int, Workspace],
    rates: dict[int, float],
    launch_month: Month,
    months: Sequence[Month],
) -> ArmResult:
    cards = {seed: [_card(space, month) for month in months] for seed, space in spaces.items()}
    first = {seed: _card(space, launch_month) for seed, space in spaces.items()}
    every = [card for line in cards.values() for card in line]
    pooled = [card.pooled for card in every if card.pooled is not None and card.pooled.difference is not None]
    n = sum(item.n for item in pooled)
    low, high = paired_difference_interval(
        n, sum(item.right_to_wrong for item in pooled), sum(item.wrong_to_right for item in pooled)
    )
    by_seed = {
        seed: _mean([c.pooled.difference for c in line if c.pooled and c.pooled.difference is not None])
        for seed, line in cards.items()
    }
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
        worst_cycle=min(item.difference for item in pooled if item.difference is not None),
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


def _card(space: Workspace, month: Month) -> Scorecard:
    attempt = space.latest_attempt(month)
    assert attempt is not None
    return recorded_scorecard(attempt.stage("eval"))


def _own_accuracy(card: Scorecard) -> float:
    accuracy = card.own.overall.accuracy_after if card.own is not None else None
    return accuracy if accuracy is not None else float("nan")


def _accuracy(card: Scorecard, name: str) -> float:
    score = next(item for item in card.scores if item.name == name)
    return score.overall.accuracy_after if score.overall.accuracy_after is not None else float("nan")


def _final(card: Scorecard) -> float:
    return _mean([s.overall.accuracy_after for s in card.scores if s.overall.accuracy_after is not None])


def _seconds(space: Workspace, month: Month) -> float:
    attempt = space.latest_attempt(month)
    assert attempt is not None
    events: list[dict[str, Any]] = read_jsonl(attempt.events_file)
    return sum(float(event["seconds"]) for event in events if event.get("event") == "stage finished")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def as_record(result: BacktestResult) -> dict[str, Any]:
    """The result as plain JSON values."""
    return asdict(result)
