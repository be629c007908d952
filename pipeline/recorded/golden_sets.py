"""Find and read the golden sets of months."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.errors import BadData
from pipeline.evaluation.golden import GoldenSet, parse_golden, present_golden
from pipeline.label_changes import LabelChanges
from pipeline.months import Month
from pipeline.recorded.names import OWN_GOLDEN_FILE
from pipeline.row_task import ONE_LABEL, RowTask
from pipeline.sources.read import in_another_format, read_table, table_hash
from pipeline.sources.table import AS_FOUND, Dialect
from pipeline.store.records import CheckpointRef
from pipeline.store.stage_directory import find_output
from pipeline.store.tables import changed_input
from pipeline.store.workspace import Workspace

logger = logging.getLogger("retrain")


def golden_file(workspace: Workspace, pattern: str, month: Month) -> Path | None:
    """The file of a month's golden set: the team's own, else what the month's newest attempt set aside.

    Raises:
        ArtifactCorrupt: what was set aside is not what ingest recorded.
    """
    own = workspace.root / pattern.replace("{month}", str(month))
    if own.is_file():
        return own
    other = in_another_format(own)
    if other is not None:
        return other
    for attempt in reversed(workspace.attempts(month)):
        aside = find_output(attempt.stage("ingest"), OWN_GOLDEN_FILE)
        if aside is not None:
            return aside
    return None


def golden_files(
    workspace: Workspace, pattern: str, line: Sequence[CheckpointRef], own: Month | None
) -> dict[Month, Path]:
    """The golden files, by month, that a model is tested on: of every month from the launch on that has one.

    Args:
        line: the models that it descends from, the launch first; those of months without a model between them count, too.
        own: the model's own month; None for a line alone.
    """
    months = tested_months(line, own)
    found: dict[Month, Path] = {}
    month = min(months)
    while month <= max(months):
        file = golden_file(workspace, pattern, month)
        if file is not None:
            found[month] = file
        month = month.next
    return found


def tested_months(line: Sequence[CheckpointRef], own: Month | None) -> list[Month]:
    """The months whose golden sets must be there: those of a line of descent, and a model's own."""
    months = [Month.parse(ref.month) for ref in line] + ([own] if own is not None else [])
    return list(dict.fromkeys(months))


def golden_hashes(workspace: Workspace, files: dict[Month, Path]) -> dict[str, str]:
    """A file's name, seen from the workspace, to its SHA-256, for a stage's inputs."""
    return {workspace.name_of(file): table_hash(file) for file in files.values()}


def recorded_golden_sets(
    workspace: Workspace,
    files: dict[Month, Path],
    inputs: Mapping[str, str],
    *,
    task: RowTask = ONE_LABEL,
    dialect: Dialect = AS_FOUND,
) -> dict[Month, GoldenSet]:
    """Golden sets whose hashes `inputs` recorded with `golden_hashes`.

    Raises:
        BadData: as `read_golden`, and where a file is not what was recorded.
    """
    sets = {}
    for month, file in files.items():
        recorded = inputs.get(workspace.name_of(file))
        if recorded is None:
            raise changed_input(file)
        sets[month] = read_golden(file, name=str(month), sha256=recorded, task=task, dialect=dialect)
    return sets


def read_golden(
    file: Path,
    *,
    name: str,
    sha256: str | None = None,
    task: RowTask = ONE_LABEL,
    dialect: Dialect = AS_FOUND,
) -> GoldenSet:
    """Read one golden set strictly; every row must be right, or the set proves nothing.

    Args:
        sha256: what the file must hash to, where a record says so already.
        task: what a row must hold.
        dialect: what the team says of the file.

    Raises:
        NoInput: when the file is absent. BadData: when a row is damaged, an id is given twice, or the file changed.
    """
    rows = read_table(file, sha256=sha256, dialect=dialect).rows
    damaged = [f"line {row.line}: {row.value}" for row in rows if isinstance(row.value, str)]
    if damaged:
        raise BadData(
            f"{file}: {len(damaged)} unreadable row(s): {dialect.quoted('; '.join(damaged[:5]))}. Mend the golden set"
        )
    return parse_golden(
        [row.value for row in rows if isinstance(row.value, dict)],
        name=name,
        where=str(file),
        task=task,
        quoted=dialect.quoted,
    )


def present_golden_sets(
    written: Iterable[GoldenSet], changes: LabelChanges
) -> tuple[list[GoldenSet], dict[str, int]]:
    """Golden sets as they count now, and how many rows of each are left out because their label is retired.

    A set of nothing but retired labels is left out, too. Both are told.

    Args:
        written: as their files have them.
        changes: of labels.
    """
    sets: list[GoldenSet] = []
    retired: dict[str, int] = {}
    for old in written:
        golden = present_golden(old, changes)
        lacking = len(old.rows) - len(golden.rows)
        if lacking:
            retired[old.name] = lacking
            logger.info(
                "eval: golden set %s: %d of %d rows have a retired label and are left out",
                old.name,
                lacking,
                len(old.rows),
            )
        if golden.rows or not lacking:
            sets.append(golden)
    return sets, retired
