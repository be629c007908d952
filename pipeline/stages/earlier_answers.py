"""What a champion said about golden sets when it was a candidate: it need not be asked again."""

from collections.abc import Mapping, Sequence

from pipeline.evaluation.golden import GoldenSet
from pipeline.months import Month
from pipeline.recorded.gate_evidence import Answers, predictions_file
from pipeline.stages.stage import CODE_VERSION
from pipeline.store.records import CheckpointRef
from pipeline.store.stage_directory import read_stage
from pipeline.store.tables import read_parquet
from pipeline.store.workspace import Workspace


def earlier_answers(
    workspace: Workspace,
    ref: CheckpointRef,
    golden: Mapping[Month, GoldenSet],
    hashes: Mapping[Month, tuple[str, str]],
    *,
    max_length: int,
) -> Answers:
    """The recorded answers of a checkpoint to those golden sets on which it would say the same now.

    They are taken over where its own evaluation recorded the same checkpoint, code, `max_length` and golden file, and the
    same rows of it; sets of which that does not hold are left out.

    Args:
        workspace: where the checkpoint's attempt lies.
        ref: the checkpoint.
        golden: sets as they count now.
        hashes: month to the name and hash under which the set's file is recorded now.
        max_length: tokens kept of each text.

    Raises:
        ArtifactCorrupt: the recorded answers are damaged.
    """
    record = read_stage(workspace.attempt(ref.attempt).stage("eval"))
    if record is None or record.code_version != CODE_VERSION or record.inputs.get("candidate") != ref.sha256:
        return {}
    if record.config.get("max_length") != max_length:
        return {}
    usable = {
        item.name: item
        for month, item in golden.items()
        if record.inputs.get(hashes[month][0]) == hashes[month][1]
    }
    if not usable:
        return {}
    said: Answers = {}
    ids: dict[str, list[str]] = {}
    for row in read_parquet(predictions_file(workspace, ref)):
        name = str(row["golden"])
        ids.setdefault(name, []).append(str(row["id"]))
        said.setdefault(name, []).append((str(row["after"]), float(str(row["after_confidence"]))))
    return {name: said[name] for name, item in usable.items() if ids.get(name) == _ids(item)}


def _ids(golden: GoldenSet) -> Sequence[str]:
    return [row.id for row in golden.rows]
