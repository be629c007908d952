"""What a stage is: a frozen record of its name, what it reads and writes, and a plain function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.label_changes import LabelChanges
from pipeline.months import Month
from pipeline.progress import Progress
from pipeline.recipe import MonthContents, Recipe, recipe_for
from pipeline.recorded.lineage import ancestors, label_changes
from pipeline.recorded.month_contents import recorded_contents
from pipeline.row_task import ONE_LABEL, RowTask
from pipeline.store.records import CheckpointRef, Environment, StageRecord
from pipeline.store.run_directory import RunDirectory, StageName
from pipeline.store.stage_directory import read_stage
from pipeline.store.workspace import Workspace

CODE_VERSION = "4"
"""Raised whenever a stage's outputs would differ for equal inputs; part of every stage's identity."""


@dataclass(frozen=True)
class LaunchInput:
    """What `retrain launch` adds: the data, and an already fine-tuned checkpoint when one is adopted."""

    data: Path
    checkpoint: Path | None


@dataclass(frozen=True)
class RunContext:
    """All that a stage may look at.

    Attributes:
        workspace: where everything lies.
        config: resolved.
        month: the month that is worked on.
        attempt: the attempt's run directory.
        base: the checkpoint that the month starts from; None at launch.
        launch: set at launch only.
        device: `auto`, `cpu` or `cuda`.
        progress: opens bars.
        refusals: months in a row before this one that were refused for what they lost.
        task: what a row must hold, and what its answer names.
        inputs: what the record of the stage that is running says of its inputs; empty outside of a stage.
    """

    workspace: Workspace
    config: Config
    month: Month
    attempt: RunDirectory
    base: CheckpointRef | None
    launch: LaunchInput | None
    device: str
    progress: Progress
    refusals: int = 0
    task: RowTask = ONE_LABEL
    inputs: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def contents(self) -> MonthContents | None:
        """What the month brings; None before it is ingested. Read once: see `ingested`."""
        return recorded_contents(self.output("ingest"))

    @cached_property
    def recipe(self) -> Recipe:
        """What the configured arm does about forgetting in this month; resolved once, from `contents`."""
        return recipe_for(self.config, self.contents, refusals=self.refusals)

    def ingested(self) -> RunContext:
        """The context after the month was ingested, which knows what it brings."""
        return replace(self)

    @property
    def uses_fisher(self) -> bool:
        """Whether this attempt has a Fisher."""
        return self.base is not None and self.recipe.needs_fisher

    @cached_property
    def line(self) -> list[CheckpointRef]:
        """The base and all that it descends from, the launch first; read once, as it grows with the months."""
        return ancestors(self.workspace, self.base)

    @property
    def label_changes(self) -> LabelChanges:
        """The changes of labels that are in force in this month."""
        return label_changes(self.workspace, self.line, self.month)

    @property
    def new_label_changes(self) -> LabelChanges:
        """Those of them that the base checkpoint does not have yet."""
        if self.base is None:
            return self.label_changes
        return self.label_changes.between(Month.parse(self.base.month), self.month)

    def output(self, stage: StageName) -> Path:
        """The folder of a finished stage of this attempt."""
        return self.attempt.stage(stage)

    def outputs_of(self, stage: StageName) -> Mapping[str, str]:
        """The recorded output hashes of a finished stage of this attempt, as `STAGE/FILE`."""
        record = read_stage(self.output(stage))
        return {f"{stage}/{name}": digest for name, digest in (record.outputs if record else {}).items()}

    def environment(self, *, threads: int) -> Environment:
        """What the bits depend on beside code, configuration, data and seed: this process and its machine."""
        from pipeline.modeling.device import autocast_dtype, choose_device, torch_facts
        from pipeline.store.environment import gather_environment

        device = choose_device(self.device)
        section = self.config.train if self.launch is None else self.config.launch
        precision = "bf16" if autocast_dtype(section.precision, device) is not None else "fp32"
        return gather_environment(
            device=str(device), precision=precision, threads=threads, torch_facts=torch_facts()
        )


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: of its folder.
        reads, writes: in words, for people.
        inputs: logical name to SHA-256 of everything that it reads; cheap, imports nothing heavy.
        settings: the slice of the configuration that it uses.
        body: load, pure core, save into the folder that it is given.
        check: looks at what the stage left outside of its folder; raises ArtifactCorrupt.
        resumable: an interrupted body finds again what it left in the `resume/` folder.
    """

    name: StageName
    reads: str
    writes: str
    inputs: Callable[[RunContext], dict[str, str]]
    settings: Callable[[RunContext], dict[str, Any]]
    body: Callable[[RunContext, Path], None]
    check: Callable[[RunContext], None] = lambda context: None
    resumable: bool = False

    def planned(self, context: RunContext) -> StageRecord:
        """The record that the stage would make now, without outputs."""
        return StageRecord(
            stage=self.name,
            code_version=CODE_VERSION,
            seed=context.config.seed,
            config=self._settings_wherever_it_lies(context),
            inputs=self.inputs(context),
        )

    def _settings_wherever_it_lies(self, context: RunContext) -> dict[str, Any]:
        """The settings with paths inside the workspace seen from it, so that a moved workspace has done the same.

        What is recorded just as it is configured stays so: earlier releases recorded absolute paths.
        """
        record = read_stage(context.output(self.name))
        recorded = record.config if record is not None else {}
        return {
            key: value if recorded.get(key) == value else _seen_from(context.workspace.root, value)
            for key, value in self.settings(context).items()
        }


def _seen_from(root: Path, value: Any) -> Any:
    """A setting in which every absolute path inside `root` is written relative to it."""
    if isinstance(value, dict):
        return {key: _seen_from(root, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_seen_from(root, inner) for inner in value)
    if isinstance(value, str) and Path(value).is_absolute() and Path(value).is_relative_to(root):
        return Path(value).relative_to(root).as_posix()
    return value
