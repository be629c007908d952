"""Whether an attempt was made with the label changes that stand now."""

from pipeline.errors import ArtifactCorrupt, UsageError
from pipeline.recorded.lineage import ancestors, label_changes
from pipeline.recorded.names import SUMMARY_FILE
from pipeline.store import reading
from pipeline.store.records import CheckpointRef
from pipeline.store.run_directory import RunDirectory
from pipeline.store.stage_directory import find_output
from pipeline.store.workspace import Workspace


def require_present_labels(workspace: Workspace, run: RunDirectory) -> None:
    """Refuse to go on from an attempt that was made with other label changes than those that stand for its month.

    Raises:
        UsageError: naming the month to run again.
    """
    other = _other_changes(workspace, run)
    if other is not None:
        raise UsageError(
            f"{run.attempt}: was made with other label changes than those that stand for {run.month}: {other}. "
            f"Run: retrain run --month {run.month}"
        )


def require_recorded_changes(workspace: Workspace, base: CheckpointRef) -> None:
    """Prove that the label changes which a promoted checkpoint was made with still stand, as no command takes them back.

    Raises:
        ArtifactCorrupt: `label-changes.json` lost them, or has others.
    """
    other = _other_changes(workspace, workspace.attempt(base.attempt))
    if other is not None:
        raise ArtifactCorrupt(
            f"{workspace.label_changes_file}: {base.attempt} was made with other label changes than stand there for "
            f"{base.month}: {other}. Restore it from a backup, or go back to before that month: retrain rollback"
        )


def _other_changes(workspace: Workspace, run: RunDirectory) -> str | None:
    """The changes that stand for an attempt's month, in words, where it was made with others; None where with these."""
    manifest = run.read_manifest()
    file = find_output(run.stage("ingest"), SUMMARY_FILE)
    if manifest.parent is None or file is None:
        return None
    summary = reading.read_json(file)
    made_with = summary.get("label_changes", []) if isinstance(summary, dict) else []
    standing = label_changes(workspace, ancestors(workspace, manifest.parent), run.month)
    if made_with == standing.as_records():
        return None
    return "; ".join(map(str, standing.changes)) or "none"
