"""Backtest: replay past months for several arms under equal budgets, and say which one to ship.

Every arm and seed has a workspace of its own below the backtest's folder, which reads the team's
feedback and golden sets and adopts one shared launch; so the champion is never touched, and a backtest
that was stopped goes on where it was.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.config import CalibrateSection, Config, Source
from pipeline.errors import NoInput, UsageError
from pipeline.experiments.backtest_result import BacktestResult, advice, arm_result
from pipeline.month.run import launch, run_month
from pipeline.month.wish import Runtime, Wish
from pipeline.months import Month
from pipeline.operations.new_workspace import make_workspace
from pipeline.recorded.golden_sets import golden_file
from pipeline.recorded.lineage import ancestors, recorded_as_empty
from pipeline.recorded.names import ADOPTED_INPUT, METRICS_FILE, TRAIN_FILE, VALIDATION_FILE
from pipeline.recorded.rows import rows_of
from pipeline.stages.feedback_files import patterns_of, require_feedback
from pipeline.stages.stage import LaunchInput
from pipeline.store.checkpoints import adopted_hash
from pipeline.store.label_history import copy_label_history
from pipeline.store.registry import read_registry
from pipeline.store.stage_directory import read_stage, require_output, require_stage
from pipeline.store.tables import read_jsonl, write_jsonl
from pipeline.store.workspace import Workspace

ARMS = ("freeze", "plain", "head", "l2sp", "ewc", "replay", "calibrate", "default", "joint")
PLAIN_LEARNING_RATES = (1e-4, 2e-4, 4e-4)
"""The plain arm takes the one with the lowest validation loss on its first month: no straw man."""


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
    runtime: Runtime,
) -> BacktestResult:
    """Run every arm over the months for every seed, then compare.

    Args:
        source: the team's workspace, only read.
        folder: where the backtest's workspaces go; what is finished there is used again.
        launch_data: what the first model is trained on; a checkpoint that the workspace adopted is adopted again.
        launch_month: its month; `months` follow it.

    Raises:
        UsageError: an unknown arm, or no validation rows to choose plain's learning rate by. NoInput: no months,
            months without feedback that are not recorded as empty, or no golden set of the launch month.
    """
    unknown = sorted(set(arms) - set(ARMS))
    if unknown:
        raise UsageError(f"--arms {','.join(unknown)}: expected some of {', '.join(ARMS)}")
    for option, given in (("arms", list(map(str, arms))), ("seeds", list(map(str, seeds)))):
        if not given or len(set(given)) != len(given):
            raise UsageError(f"--{option} {','.join(given)}: expected one or more, each of them once")
    empty = [month for month in months if recorded_as_empty(source, month)]
    config = reading_from(source, config)
    measured = [month for month in months if month not in empty]
    if not measured:
        raise NoInput("--months: there is no month with feedback after the launch to replay")
    _require_measurable(source, config, launch_month, measured)
    adopted = _adopted_launch(source, launch_month)
    workspaces: dict[tuple[str, int], Workspace] = {}
    rates: dict[tuple[str, int], float] = {}
    for seed in seeds:
        seeded = config.model_copy(update={"seed": seed})
        shared = Workspace(folder / f"seed-{seed}" / "launch")
        ensure_launched(shared, seeded, launch_month, LaunchInput(launch_data, adopted), runtime)
        checkpoint = shared.find(str(launch_month)).checkpoint
        for arm in arms:
            space = Workspace(folder / f"seed-{seed}" / arm)
            of_arm = arm_config(seeded, arm)
            if arm == "plain":
                of_arm = _best_plain(
                    of_arm, folder / f"seed-{seed}", launch_data, launch_month, measured[0], checkpoint,
                    source=source, runtime=runtime,
                )  # fmt: skip
            ensure_launched(space, of_arm, launch_month, LaunchInput(launch_data, checkpoint), runtime)
            copy_label_history(source, space)
            for month in months:
                run_month(
                    space,
                    of_arm,
                    month,
                    wish=Wish(promote=True, allow_empty=month in empty),
                    runtime=runtime,
                )
            workspaces[arm, seed] = space
            rates[arm, seed] = of_arm.train.learning_rate
    results = tuple(
        arm_result(
            arm,
            {s: workspaces[arm, s] for s in seeds},
            {s: rates[arm, s] for s in seeds},
            launch_month,
            measured,
        )
        for arm in arms
    )
    return BacktestResult(tuple(map(str, measured)), tuple(seeds), results, advice(results))


def _require_measurable(
    source: Workspace, config: Config, launch_month: Month, months: Sequence[Month]
) -> None:
    """Find out before any training what a month would fail for."""
    for month in months:
        require_feedback(source, config, month, advice="Put it there, or leave the month out of --months")
    if not config.ingest.golden_fraction and golden_file(source, config.golden.path, launch_month) is None:
        raise NoInput(
            f"{launch_month}: no golden set of the launch month, which is what a backtest watches. Put it at "
            f"{config.golden.path.replace('{month}', str(launch_month))}, or set rows aside with "
            "-o ingest.golden_fraction=0.1"
        )


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
    rows = rows_of(ingested, TRAIN_FILE) + rows_of(ingested, VALIDATION_FILE)
    file = folder / "launch.jsonl"
    write_jsonl(file, [{"id": row.id, "text": row.text, "label": row.label} for row in rows])
    return file


def _adopted_launch(source: Workspace, month: Month) -> Path | None:
    """The launch's checkpoint where the workspace adopted it; None where it was trained, and is trained again."""
    attempt = source.latest_attempt(month)
    made = read_stage(attempt.stage("finetune")) if attempt is not None else None
    if attempt is None or made is None or ADOPTED_INPUT not in made.inputs:
        return None
    return attempt.checkpoint


def reading_from(source: Workspace, config: Config) -> Config:
    """The configuration with paths that lead to the source workspace from anywhere."""
    reviewed = str(source.root / config.ingest.reviewed)
    sources = tuple(Source(path=str(source.root / pattern)) for pattern in patterns_of(config))
    base = source.root / config.model.base
    model = config.model.model_copy(update={"base": str(base)}) if base.is_dir() else config.model
    return config.model_copy(
        update={
            "model": model,
            "ingest": config.ingest.model_copy(
                update={"sources": sources, "reviewed": reviewed, "sql": None}
            ),
            "golden": config.golden.model_copy(update={"path": str(source.root / config.golden.path)}),
        }
    )


def arm_config(config: Config, arm: str) -> Config:
    """The configuration of a backtest's arm."""
    if arm in ("replay", "calibrate"):  # the default recipe without its penalty; with a corrected bias
        ewc = config.ewc.model_copy(update={"replay_lambda": 0.0, "growth_lambda": 0.0})
        bias = CalibrateSection(new_labels=arm == "calibrate" or config.calibrate.new_labels)
        return config.model_copy(update={"arm": "default", "ewc": ewc, "calibrate": bias})
    return config.model_copy(update={"arm": arm})


def ensure_launched(
    space: Workspace,
    config: Config,
    month: Month,
    source: LaunchInput,
    runtime: Runtime,
) -> None:
    """Make a workspace and launch it; one that was launched from the same checkpoint and has run months since stays as it is.

    Raises:
        UsageError: when it continued from another launch.
    """
    make_workspace(space.root)
    champion = read_registry(space).champion
    if champion is not None and champion.month != str(month):
        attempt = space.latest_attempt(month)
        made_from = require_stage(attempt.stage("finetune")).inputs if attempt is not None else {}
        if source.checkpoint is None or made_from.get(ADOPTED_INPUT) != adopted_hash(source.checkpoint):
            raise UsageError(
                f"{space.root}: was replayed from another launch than the one that is there now. "
                "Remove that folder and run the same command again"
            )
        return
    plain_launch = config.model_copy(update={"arm": "default"})
    launch(space, plain_launch, month, source, runtime=runtime)


def _best_plain(
    config: Config,
    folder: Path,
    launch_data: Path,
    launch_month: Month,
    month: Month,
    checkpoint: Path,
    *,
    source: Workspace,
    runtime: Runtime,
) -> Config:
    """The plain arm at the learning rate with the lowest validation loss after its first month."""
    losses = {}
    for rate in PLAIN_LEARNING_RATES:
        space = Workspace(folder / f"plain-{rate:g}")
        tried = config.model_copy(update={"train": config.train.model_copy(update={"learning_rate": rate})})
        ensure_launched(space, tried, launch_month, LaunchInput(launch_data, checkpoint), runtime)
        copy_label_history(source, space)
        run_month(space, tried, month, wish=Wish(until="finetune", allow_gap=True), runtime=runtime)
        attempt = space.latest_attempt(month)
        assert attempt is not None
        measured: list[dict[str, Any]] = read_jsonl(require_output(attempt.stage("finetune"), METRICS_FILE))
        watched = [row["new_validation_loss"] for row in measured if "new_validation_loss" in row]
        if not watched:
            raise UsageError(
                f"{month}: no validation rows, and plain's learning rate is chosen on them. Raise ingest.validation, or "
                "leave plain out of --arms"
            )
        losses[rate] = watched[-1]
    best = min(losses, key=losses.__getitem__)
    return config.model_copy(update={"train": config.train.model_copy(update={"learning_rate": best})})
