"""Whether an attempt was made with the label changes that stand now."""

from pipeline.errors import UsageError
from pipeline.recorded.lineage import ancestors, label_changes
from pipeline.recorded.names import SUMMARY_FILE
from pipeline.store import reading
from pipeline.store.run_directory import RunDirectory
from pipeline.store.stage_directory import find_output
from pipeline.store.workspace import Workspace


def require_present_labels(workspace: Workspace, run: RunDirectory) -> None:
    """Refuse to go on from an attempt that was made with other label changes than those that stand for its month.

    Raises:
        UsageError: naming the month to run again.
    """
    manifest = run.read_manifest()
    file = find_output(run.stage("ingest"), SUMMARY_FILE)
    if manifest.parent is None or file is None:
        return
    summary = reading.read_json(file)
    made_with = summary.get("label_changes", []) if isinstance(summary, dict) else []
    standing = label_changes(workspace, ancestors(workspace, manifest.parent), run.month)
    if made_with != standing.as_records():
        told = "; ".join(map(str, standing.changes)) or "none"
        raise UsageError(
            f"{run.attempt}: was made with other label changes than those that stand for {run.month}: {told}. "
            f"Run: retrain run --month {run.month}"
        )
