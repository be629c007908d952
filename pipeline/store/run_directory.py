"""The folder of one attempt at a month."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pipeline.errors import ArtifactCorrupt, UsageError
from pipeline.months import Month
from pipeline.store import atomic, reading, strict_json
from pipeline.store.records import Manifest, read_record, write_record
from pipeline.store.refusals import explained
from pipeline.store.remaking import remaking

StageName = Literal["ingest", "fisher", "finetune", "eval"]
STAGES: tuple[StageName, ...] = get_args(StageName)
"""The stages' folders, in the order in which they run."""

logger = logging.getLogger("retrain")


@dataclass(frozen=True)
class RunDirectory:
    """One attempt at one month: `runs/<month>/<number>/`."""

    folder: Path

    @property
    def month(self) -> Month:
        return Month.parse(self.folder.parent.name)

    @property
    def attempt(self) -> str:
        """The attempt's id, such as `2026-03/001`."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def number(self) -> int:
        return int(self.folder.name)

    @property
    def manifest_file(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def config_file(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def log_file(self) -> Path:
        return self.folder / "run.log"

    @property
    def events_file(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def report_file(self) -> Path:
        return self.folder / "report.html"

    @property
    def checkpoint(self) -> Path:
        """Where this attempt's own checkpoint lies, once fine-tuning is finished."""
        return self.stage("finetune") / "checkpoint"

    def stage(self, name: str) -> Path:
        """The finished place of a stage.

        Raises:
            UsageError: there is no stage of that name.
        """
        if name not in STAGES:
            raise UsageError(f"stage {name!r}: expected one of {', '.join(STAGES)}")
        return self.folder / name

    def is_begun(self) -> bool:
        """Whether anything was written here; a killed process may leave an empty folder."""
        with explained("read it", self.folder):
            return any(not atomic.is_temporary(path.name) for path in self.folder.iterdir())

    def has_manifest(self) -> bool:
        return reading.kind_of(self.manifest_file) != "nothing"

    def read_manifest(self) -> Manifest:
        """The attempt's manifest, proven to be what was written.

        Raises:
            NoInput: the attempt has none.
            ArtifactCorrupt: it is damaged, or is another attempt's.
        """
        manifest = read_record(
            self.manifest_file,
            Manifest,
            mend=f"Restore it from a backup, or run: {remaking(self.folder.parent)}",
        )
        if manifest.attempt != self.attempt:
            raise ArtifactCorrupt(
                f"{self.manifest_file}: belongs to attempt {manifest.attempt}, not to {self.attempt}. "
                f"Restore it from a backup, or run: {remaking(self.folder.parent)}"
            )
        return manifest

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest; the one of a finished attempt is never changed, and writing it again does nothing.

        Raises:
            UsageError: the attempt is finished with another manifest, or the manifest is another attempt's.
            AccessDenied, CannotWrite: as `atomic.write_file`.
        """
        if manifest.attempt != self.attempt:
            raise UsageError(f"{self.manifest_file}: a manifest of {manifest.attempt} cannot be kept here")
        if self.has_manifest():
            present = self.read_manifest()
            if present == manifest:
                return
            if present.status == "finished":
                raise UsageError(
                    f"{self.manifest_file}: attempt {self.attempt} is finished and is not changed any more. "
                    f"Run: {remaking(self.folder.parent)}"
                )
        write_record(self.manifest_file, manifest, read_only=manifest.status == "finished")

    def log(self, line: str) -> None:
        """Add a line to run.log."""
        atomic.append_line(self.log_file, line)

    def append_event(self, event: str, *, at: str, **details: object) -> None:
        """Add an event to events.jsonl, durably.

        Args:
            event: its name, such as `stage_finished`.
            at: when, in UTC, ISO 8601.
            details: JSON values.
        """
        line = atomic.render_json_line({"at": at, "event": event, **details})
        atomic.append_line(self.events_file, line, durable=True)

    def read_events(self) -> list[dict[str, object]]:
        """The events, oldest first; none where there is no file.

        A line that a full disk cut off is passed over with a warning: it tells of a moment, and proves nothing.
        """
        if not self.events_file.exists():
            return []
        events, torn = [], 0
        for line in reading.read_file(self.events_file).splitlines():
            try:
                event = strict_json.parse(line)
            except ValueError:
                event = None
            if isinstance(event, dict):
                events.append(event)
            elif line.strip():
                torn += 1
        if torn:
            logger.warning("%s: %d line(s) were cut off and are passed over", self.events_file, torn)
        return events
