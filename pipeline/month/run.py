"""The monthly job: ingest, Fisher, fine-tune, evaluate, gate, promote; and the launch that precedes it."""

import time
from collections.abc import Sequence
from dataclasses import replace

import yaml

from pipeline.config import Config
from pipeline.errors import BadData, NoInput, UsageError
from pipeline.inspection.reporting import try_report
from pipeline.month.decision import DONE, Outcome, decide, finished_before
from pipeline.month.journal import Journal
from pipeline.month.plan import PlannedStage, plan
from pipeline.month.wish import AS_CRON, Runtime, Wish
from pipeline.months import Month
from pipeline.progress import Progress, silent
from pipeline.recipe import unprotected_growth
from pipeline.recorded.lineage import base_for, recorded_as_empty, require_no_gap
from pipeline.recorded.present_labels import require_recorded_changes
from pipeline.recorded.scorecards import earlier_scorecards, losing_refusals
from pipeline.stages.evaluate import EVALUATE
from pipeline.stages.feedback_files import require_feedback
from pipeline.stages.finetune import FINETUNE
from pipeline.stages.fisher import FISHER
from pipeline.stages.ingest import INGEST
from pipeline.stages.pull import awaits_pull, pull_missing
from pipeline.stages.stage import LaunchInput, RunContext, Stage
from pipeline.store import atomic
from pipeline.store.checkpoints import require_checkpoint_folder
from pipeline.store.hashing import sha256_file
from pipeline.store.records import Environment, Manifest
from pipeline.store.registry import read_registry, verify_checkpoint
from pipeline.store.run_directory import RunDirectory
from pipeline.store.stage_directory import commit_stage, open_stage, read_stage, require_stage
from pipeline.store.workspace import Workspace

STAGES: tuple[Stage, ...] = (INGEST, FISHER, FINETUNE, EVALUATE)
LAUNCH_STAGES: tuple[Stage, ...] = (INGEST, FINETUNE, EVALUATE)
_WHAT_TO_CHANGE = (
    "the last {} month(s) were refused for what they lost. Look at what it is: retrain diagnose. What to change, in this "
    "order: mislabelled rows of feedback and golden sets; replay.launch_rows and replay.month_rows (more); "
    "train.learning_rate or train.epochs (less); gate.max_drop, if so much may be lost. The rows of the refused months are "
    "learned along each time, as they are in their files now: what is wrong there is mended or taken out there, or a whole "
    "month is left out: ingest.leave_out"
)


def launch(
    workspace: Workspace,
    config: Config,
    month: Month,
    source: LaunchInput,
    *,
    wish: Wish = AS_CRON,
    runtime: Runtime,
) -> Outcome:
    """Train (or adopt) the first champion.

    Raises:
        UsageError: when the workspace has a champion already, made from something else.
        BadData: the data is a folder.
    """
    if source.data.is_dir():
        raise BadData(
            f"{source.data}: expected a .jsonl, .csv or .parquet file of launch rows, found a folder"
        )
    champion = read_registry(workspace).champion
    if champion is not None and not (champion.month == str(month) or wish.force):
        raise UsageError(
            f"{workspace.root}: has a champion already, of {champion.month}. "
            "Run: retrain run for the months after it, or retrain launch --force to start anew"
        )
    if source.checkpoint is not None:
        require_checkpoint_folder(source.checkpoint)
    context = RunContext(
        workspace=workspace,
        config=config,
        month=month,
        attempt=newest_attempt(workspace, month),
        base=None,
        launch=source,
        device=runtime.device,
        progress=runtime.progress,
    )
    return _run(context, LAUNCH_STAGES, wish=wish, runtime=runtime)


def run_month(
    workspace: Workspace,
    config: Config,
    month: Month,
    *,
    wish: Wish = AS_CRON,
    runtime: Runtime,
) -> Outcome:
    """Run a month from its feedback to the gate; a finished month does nothing and repeats its outcome.

    Raises:
        NoInput: when there is no earlier champion, or no feedback (unless `allow_empty`).
        UsageError: when months before it were never run (unless `allow_gap`).
        BadConfig, BadData, NoInput, AccessDenied: its rows cannot be pulled from the database that `ingest.sql` names.
        ArtifactCorrupt: the label changes that the month starts from are lost.
    """
    context = month_context(workspace, config, month, device=runtime.device, progress=runtime.progress)
    assert context.base is not None
    require_recorded_changes(workspace, context.base)
    if not wish.allow_gap:
        require_no_gap(workspace, context.base, month, left_out=config.ingest.leave_out)
    pull_missing(context, now=runtime.clock(), environment=runtime.environment)
    if _is_empty(context, wish):
        return _empty_month(context, wish=wish, runtime=runtime)
    return _run(context, STAGES, wish=wish, runtime=runtime)


def _is_empty(context: RunContext, wish: Wish, *, whole: bool = False) -> bool:
    """Whether the month has no feedback and may be without, as it is asked for or was recorded before.

    Args:
        whole: read all of it, as nothing else will.
    """
    try:
        require_feedback(context.workspace, context.config, context.month, whole=whole)
    except NoInput:
        if not wish.allow_empty and not recorded_as_empty(context.workspace, context.month):
            raise
        return True
    return False


def month_context(
    workspace: Workspace, config: Config, month: Month, *, device: str = "auto", progress: Progress = silent
) -> RunContext:
    """The context of a month's newest attempt, or of its first one, which need not exist yet."""
    base = base_for(workspace, month)
    return RunContext(
        workspace=workspace,
        config=config,
        month=month,
        attempt=newest_attempt(workspace, month),
        base=base,
        launch=None,
        device=device,
        progress=progress,
        refusals=losing_refusals(workspace, base, month),
    )


def newest_attempt(workspace: Workspace, month: Month) -> RunDirectory:
    """A month's newest attempt, or the run directory that its first one will have."""
    return workspace.latest_attempt(month) or RunDirectory(workspace.runs / str(month) / "001")


def dry_run(context: RunContext, wish: Wish) -> list[PlannedStage]:
    """What `run` would do, stage by stage, without writing anything; nothing in a month that is recorded as empty.

    Raises:
        UsageError, NoInput: as `run_month`.
    """
    _require_stages(wish, STAGES)
    if context.base is not None and not wish.allow_gap:
        require_no_gap(
            context.workspace, context.base, context.month, left_out=context.config.ingest.leave_out
        )
    if awaits_pull(context):
        raise NoInput(
            f"{context.month}: is pulled from a database first (ingest.sql), and a dry run writes nothing. "
            f"Run: retrain pull --month {context.month}"
        )
    if _is_empty(context, wish, whole=True):
        return []
    steps = (
        [PlannedStage(stage, True, False, "asked for with --force") for stage in STAGES]
        if wish.force
        else plan(context, STAGES, again_from=wish.again_from)
    )
    last = next((i for i, step in enumerate(steps) if step.stage.name == wish.until), len(steps))
    return steps[: last + 1]


def _run(context: RunContext, stages: Sequence[Stage], *, wish: Wish, runtime: Runtime) -> Outcome:
    _require_stages(wish, stages)
    manifest = context.attempt.read_manifest() if context.attempt.has_manifest() else None
    if manifest is not None and _left_by(manifest, context, stages, wish, runtime):
        steps = plan(context, stages)
    elif manifest is not None and wish.force:
        steps = [PlannedStage(stage, True, True, "asked for with --force") for stage in stages]
    else:
        steps = plan(context, stages, again_from=wish.again_from)
    if manifest is not None and manifest.status == "finished" and not any(step.runs for step in steps):
        if not context.attempt.report_file.exists():  # killed between the end and the page that tells of it
            try_report(context.workspace, context.attempt)
        return finished_before(context, manifest, wish=wish, runtime=runtime)
    if context.base is not None:
        verify_checkpoint(context.workspace, context.base)
        # the page shows them beside this month's: what it could not tell of is not promoted
        earlier_scorecards(context.workspace, context.month)
    # before anything is written, so that a device that is lacking leaves nothing behind
    environment = context.environment(threads=runtime.threads)
    if any(step.runs and step.finished for step in steps) or (
        manifest is not None and manifest.status == "finished"
    ):
        context, steps = _new_attempt(context, steps)
    atomic.make_folder(context.attempt.folder)
    journal = Journal(context.attempt, runtime.clock)
    with journal.listening():
        context.attempt.write_manifest(_started(context, runtime, steps, environment))
        journal.tell("started", f"{context.month}: attempt {context.attempt.attempt}, {_kind(context)}")
        for step in steps:
            if step.runs:
                with journal.keeping_failures(step.stage.name):
                    _run_stage(context, step, journal)
            if step.stage is INGEST:
                context = context.ingested()
                _tell_recipe(context, journal)
            if step.stage.name == wish.until:
                journal.tell("stopped", f"{context.month}: stopped after {wish.until}, as asked")
                return Outcome(context.month, context.attempt.attempt, "stopped", False, False, (), DONE)
        return decide(context, wish=wish, runtime=runtime, journal=journal)


def _left_by(
    manifest: Manifest, context: RunContext, stages: Sequence[Stage], wish: Wish, runtime: Runtime
) -> bool:
    """Whether an attempt is what the same command opened and did not come to the end of: then it is resumed.

    Without this, `--force` and `--from` would begin another attempt whenever they are run again after a kill.
    """
    if manifest.status == "finished" or not runtime.command or manifest.command != runtime.command:
        return False
    if wish.until is None:
        return True
    last = next(index for index, stage in enumerate(stages) if stage.name == wish.until)
    return any(read_stage(context.output(stage.name)) is None for stage in stages[: last + 1])


def _require_stages(wish: Wish, stages: Sequence[Stage]) -> None:
    names = [stage.name for stage in stages]
    for name in (wish.again_from, wish.until):
        if name is not None and name not in names:
            raise UsageError(f"stage {name!r}: expected one of {', '.join(names)}")


def _kind(context: RunContext) -> str:
    return "launch" if context.launch is not None else f"arm {context.config.arm}"


def _tell_recipe(context: RunContext, journal: Journal) -> None:
    """Say what is done about forgetting in this month, and why."""
    if context.base is None:
        return
    for change in context.new_label_changes.changes:
        journal.tell("label change", f"{context.month}: {change}", **change.as_record())
    journal.tell("recipe", f"{context.month} recipe: {context.recipe.why}")
    warning = unprotected_growth(context.recipe, context.contents)
    if warning is not None:
        journal.tell("warning", f"{context.month} warning: {warning}")
    if 0 < context.config.gate.patience <= context.refusals:
        journal.tell("advice", f"{context.month}: {_WHAT_TO_CHANGE.format(context.refusals)}")


def _new_attempt(context: RunContext, steps: list[PlannedStage]) -> tuple[RunContext, list[PlannedStage]]:
    """A new attempt that takes over the stages that are fresh, so that nothing finished is edited."""
    old = context
    new = replace(context, attempt=context.workspace.new_attempt(context.month))
    taken = []
    for step in steps:
        if step.runs:
            taken.append(replace(step, finished=False))
            continue
        record = require_stage(old.output(step.stage.name))
        target = new.output(step.stage.name)
        partial = open_stage(target, record.identity())
        for name in record.outputs:
            atomic.make_folder((partial / name).parent)
            atomic.copy_file(old.output(step.stage.name) / name, partial / name)
        commit_stage(partial, target, record.model_copy(update={"outputs": {}}))
        taken.append(replace(step, reason=f"fresh, taken over from {old.attempt.attempt}"))
    return new, taken


def _run_stage(context: RunContext, step: PlannedStage, journal: Journal) -> None:
    name = step.stage.name
    journal.tell(
        "stage started", f"{context.month} {name}: runs ({step.reason})", stage=name, reason=step.reason
    )
    started = time.monotonic()
    planned = step.stage.planned(context)
    partial = open_stage(context.output(name), planned.identity(), resumable=step.stage.resumable)
    step.stage.body(replace(context, inputs=planned.inputs), partial)
    record = commit_stage(partial, context.output(name), planned)
    manifest = context.attempt.read_manifest()
    context.attempt.write_manifest(manifest.with_stage(record))
    seconds = round(time.monotonic() - started, 2)
    journal.tell(
        "stage finished", f"{context.month} {name}: done in {seconds:.1f} s", stage=name, seconds=seconds
    )


def _started(
    context: RunContext, runtime: Runtime, steps: Sequence[PlannedStage], environment: Environment
) -> Manifest:
    fresh = [step.stage.name for step in steps if not step.runs]
    text = yaml.safe_dump(context.config.resolved(), sort_keys=False, allow_unicode=True).encode()
    if not context.attempt.config_file.exists() or context.attempt.config_file.read_bytes() != text:
        atomic.write_file(context.attempt.config_file, text, read_only=True)
    return Manifest(
        month=str(context.month),
        attempt=context.attempt.attempt,
        kind="month" if context.launch is None else "launch",
        arm=context.config.arm,
        status="running",
        seed=context.config.seed,
        config=context.config.resolved(),
        parent=context.base,
        candidate=None,
        environment=environment,
        stages={name: require_stage(context.output(name)) for name in fresh},
        files={context.attempt.config_file.name: sha256_file(context.attempt.config_file)},
        command=runtime.command,
    )


def _empty_month(context: RunContext, *, wish: Wish, runtime: Runtime) -> Outcome:
    """Record that a month had no feedback; the champion stays."""
    if context.attempt.has_manifest():
        manifest = context.attempt.read_manifest()
        if manifest.status == "finished":  # even when its feedback has been moved away since
            return finished_before(context, manifest, wish=wish, runtime=runtime)
        context = replace(context, attempt=context.workspace.new_attempt(context.month))
    atomic.make_folder(context.attempt.folder)
    manifest = _started(context, runtime, (), context.environment(threads=runtime.threads))
    context.attempt.write_manifest(manifest.model_copy(update={"status": "finished", "exit_code": DONE}))
    Journal(context.attempt, runtime.clock).tell(
        "finished", f"{context.month}: no feedback, nothing to learn", status="empty"
    )
    return Outcome(context.month, context.attempt.attempt, "empty", False, False, (), DONE)
