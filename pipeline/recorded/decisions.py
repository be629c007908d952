"""The decisions of a month's review: where they lie, and what they say."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pipeline.config import Config
from pipeline.errors import ArtifactCorrupt
from pipeline.months import Month
from pipeline.reviewed import Decision
from pipeline.store import atomic
from pipeline.store.hashing import sha256_file
from pipeline.store.tables import changed_input, read_jsonl, write_jsonl
from pipeline.store.workspace import Workspace

_FIELDS = {"id": str, "row": str, "label": str | None, "keep": bool}


def decisions_file(workspace: Workspace, config: Config, month: Month) -> Path:
    """Where the decisions about a month's rows lie, or would."""
    return workspace.root / config.ingest.reviewed.replace("{month}", str(month))


def read_decisions(file: Path, *, sha256: str | None = None) -> dict[str, Decision]:
    """Decisions by the id of their row; none where there is no file and none is recorded.

    Args:
        sha256: what the file must hash to, where a record says so already.

    Raises:
        BadData: it is not what was recorded. ArtifactCorrupt: it holds something else.
    """
    if sha256 is None and not file.exists():
        return {}
    if sha256 is not None and sha256_file(file) != sha256:
        raise changed_input(file)
    found = {}
    for number, record in enumerate(read_jsonl(file), start=1):
        if record.keys() != _FIELDS.keys() or not all(isinstance(record[k], t) for k, t in _FIELDS.items()):
            raise ArtifactCorrupt(
                f"{file}: line {number}: expected {', '.join(_FIELDS)}, found {', '.join(record) or 'nothing'}. Move it "
                "away, and take the reviewed file in again: retrain ingest --reviewed FILE"
            )
        decision = Decision(**record)  # type: ignore[arg-type]  # looked at above
        found[decision.id] = decision
    return found


def write_decisions(file: Path, decisions: Iterable[Decision]) -> None:
    """Write decisions, sorted by id: equal ones give equal bits.

    Raises:
        AccessDenied, CannotWrite: as `atomic.write_file`.
    """
    atomic.make_folder(file.parent)
    write_jsonl(file, [asdict(decision) for decision in sorted(decisions, key=lambda one: one.id)])
