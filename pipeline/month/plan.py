"""What would run and why: a stage is fresh when it would record what is recorded and its outputs are sound."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.stages.stage import RunContext, Stage
from pipeline.store.records import StageRecord
from pipeline.store.removed_weights import removed_weights
from pipeline.store.stage_directory import read_stage, verify_stage


@dataclass(frozen=True)
class PlannedStage:
    """A stage with what is to be done about it.

    Attributes:
        runs: False when the stage is fresh.
        finished: whether the attempt has a finished folder for it, fresh or stale.
        reason: why it runs, or `fresh`.
    """

    stage: Stage
    runs: bool
    finished: bool
    reason: str


def plan(
    context: RunContext, stages: Sequence[Stage], *, again_from: str | None = None
) -> list[PlannedStage]:
    """Decide for each stage, in order, whether it runs.

    Once one runs, all later ones do: what they read may change.

    Args:
        again_from: the name of a stage that runs in any case.

    Raises:
        ArtifactCorrupt: when a finished stage's outputs differ from their recorded hashes.
    """
    planned: list[PlannedStage] = []
    cause: str | None = None
    for stage in stages:
        folder = context.output(stage.name)
        record = read_stage(folder)
        reason = cause
        if reason is None and stage.name == again_from:
            reason = "asked for with --from"
        if reason is None and record is None:
            reason = "not done yet"
        if reason is None and record is not None:
            reason = difference(record, stage.planned(context))
        if reason is None:
            verify_stage(folder)
            stage.check(context)
        else:
            cause = f"{stage.name} runs before it" if cause is None else cause
        planned.append(PlannedStage(stage, reason is not None, record is not None, reason or "fresh"))
    return _with_lost_weights(context, planned)


def _with_lost_weights(context: RunContext, planned: list[PlannedStage]) -> list[PlannedStage]:
    """Fine-tuning runs before a stage that needs its weights, where they were removed; where nothing runs they are not missed."""
    if not planned[-1].runs or not removed_weights(context.attempt.folder):
        return planned
    at = next((i for i, step in enumerate(planned) if step.stage.name == "finetune"), len(planned))
    return [
        replace(step, runs=True, reason="the weights were removed by retrain gc")
        if i >= at and not step.runs
        else step
        for i, step in enumerate(planned)
    ]


def difference(recorded: StageRecord, planned: StageRecord) -> str | None:
    """What changed between what is recorded and what would be recorded, in words; None when nothing did."""
    old, new = recorded.identity(), planned.identity()
    if old == new:
        return None
    changes = []
    for part in ("code_version", "seed"):
        if old[part] != new[part]:
            changes.append(f"{part} {old[part]} -> {new[part]}")
    for part in ("config", "inputs"):
        before, after = getattr(recorded, part), getattr(planned, part)
        for key in sorted(before.keys() | after.keys()):
            if key not in after:
                changes.append(f"{key} is no longer there")
            elif key not in before:
                changes.append(f"{key} is new")
            elif before[key] != after[key]:
                changes.append(f"{key} changed{_detail(before[key], after[key]) if part == 'config' else ''}")
    return "; ".join(changes)


def _detail(before: object, after: object) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        parts = [
            f"{key} {before.get(key)} -> {after.get(key)}"
            for key in sorted(before.keys() | after.keys())
            if before.get(key) != after.get(key)
        ]
        return f" ({', '.join(parts)})"
    return f" ({before} -> {after})"
