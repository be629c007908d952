"""Find and read the files of a month's feedback."""

import logging
from collections.abc import Collection
from pathlib import Path

from pipeline.config import Config
from pipeline.errors import BadData, NoInput
from pipeline.feedback import check_feedback
from pipeline.labels import LabelSet
from pipeline.months import Month
from pipeline.rows import RawRecord
from pipeline.sources.columns import require_fields
from pipeline.sources.read import (
    FORMATS,
    in_another_format,
    is_saved_dataset,
    is_table,
    read_table,
    surely_has_rows,
)
from pipeline.sources.table import Dialect, dialect_of
from pipeline.stages.links import shown_path
from pipeline.stages.stage import RunContext
from pipeline.store.workspace import Workspace

logger = logging.getLogger("retrain")
PULLED = "feedback/{month}.sql.jsonl"
"""Where a month's rows out of a database (`ingest.sql`) lie."""
PUT_IT_THERE = "Put it there, or record a month without feedback with --allow-empty"


def feedback_files(
    workspace: Workspace, patterns: list[str], month: Month, *, advice: str = PUT_IT_THERE
) -> dict[Path, bool]:
    """The files of a month's feedback, sorted within each pattern, which names a file, a folder or a glob.

    Args:
        advice: what to do where there is none.

    Returns:
        Each file, and whether it is the month's alone, because its pattern names the month.

    Raises:
        NoInput: when there is no file at all; names the patterns that were tried.
        BadData: when there is none, but something in their folders is named for the month.
    """
    files: dict[Path, bool] = {}
    tried = [pattern.replace("{month}", str(month)) for pattern in patterns]
    for pattern, found_by in zip(tried, patterns, strict=True):
        for file in _matching(workspace.root, pattern):
            files.setdefault(file, "{month}" in found_by)
    if not files:
        alike = _looking_like(workspace.root, tried, month)
        if alike:
            raise BadData(
                f"{month}: {', '.join(str(path) for path in alike)}: looks like the month's feedback and is not read; looked "
                f"for {', '.join(tried)}, in any of the formats {', '.join(FORMATS)}. Rename it, name it in "
                "ingest.sources, or move it away"
            )
        raise NoInput(f"{month}: no feedback: looked for {', '.join(tried)} in {workspace.root}. {advice}")
    return files


def _looking_like(root: Path, patterns: list[str], month: Month) -> list[Path]:
    """What is named for a month in the folders where its feedback would lie."""
    year, number = str(month).split("-")
    forms = [f"{year}{sign}{number}" for sign in ("-", "_", ".", "")]
    folders = dict.fromkeys(
        (root / pattern).parent for pattern in patterns if str(month) in Path(pattern).name
    )
    return [
        path
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".") and any(form in path.name for form in forms)
    ]


def _matching(root: Path, pattern: str) -> list[Path]:
    path = root / pattern
    if path.is_dir():
        return [path] if is_saved_dataset(path) else sorted(file for file in path.iterdir() if is_table(file))
    if path.is_file():
        return [path]
    other = in_another_format(path)
    if other is not None:
        return [other]
    start = Path(path.anchor) if Path(pattern).is_absolute() else root
    return sorted(file for file in start.glob(str(path.relative_to(start))) if file.is_file())


def tell_beside(context: RunContext, read: Collection[Path]) -> None:
    """Warn of files that are named for the month and lie where its feedback lies, but are not read."""
    if context.launch is not None:
        return
    tried = [pattern.replace("{month}", str(context.month)) for pattern in patterns_of(context.config)]
    for path in _looking_like(context.workspace.root, tried, context.month):
        if not any(file.is_relative_to(path) for file in read):
            logger.warning(
                "ingest: %s is named for the month and is not read. Name it in ingest.sources, or move it away",
                shown_path(context.workspace, path),
            )


def read_records(
    file: Path,
    *,
    name: str,
    of_one_month: bool = True,
    sha256: str | None = None,
    dialect: Dialect | None = None,
    required: Collection[str] = (),
    tell: bool = False,
) -> list[RawRecord]:
    """The raw rows of one file, which messages call `name`, with the reason for each that could not be read.

    Args:
        sha256: what the file must hash to, where a record says so already.
        dialect: what the team says of the file.
        required: fields that some row must have.
        tell: log what was found out about the file.
    """
    dialect = dialect or Dialect()
    table = read_table(file, sha256=sha256, dialect=dialect)
    require_fields(file, table.rows, required, dialect)
    if tell and table.told:
        logger.info("ingest: %s: %s", name, dialect.quoted("; ".join(table.told)))
    return [
        RawRecord(name, row.line, None, row.value, of_one_month)
        if isinstance(row.value, str)
        else RawRecord(name, row.line, row.value, of_one_month=of_one_month)
        for row in table.rows
    ]


def require_feedback(
    workspace: Workspace, config: Config, month: Month, *, advice: str = PUT_IT_THERE, whole: bool = False
) -> None:
    """Refuse a month of which there is no row, sound or not.

    Args:
        advice: what to do about it.
        whole: read the files to their ends, so that one that cannot be read is found, too.

    Raises:
        NoInput: naming what was looked at.
    """
    files = feedback_files(workspace, patterns_of(config), month, advice=advice)
    if not whole and any(alone and surely_has_rows(file) for file, alone in files.items()):
        return
    records = [
        record
        for file, of_one_month in files.items()
        for record in read_records(
            file, name=workspace.name_of(file), of_one_month=of_one_month, dialect=dialect_of(config)
        )
    ]
    checked = check_feedback(records, month=month, labels=LabelSet(()), golden_texts=())
    if not checked.rows and not checked.rejected:
        raise NoInput(
            f"{month}: no feedback: {', '.join(shown_path(workspace, file) for file in files)} holds no row of it. {advice}"
        )


def patterns_of(config: Config) -> list[str]:
    """Where a month's feedback lies, as the configuration says."""
    files = [source.path for source in config.ingest.sources]
    return [*files, PULLED] if config.ingest.sql is not None and PULLED not in files else files


def pulled_file(workspace: Workspace, month: Month) -> Path:
    """Where a month's rows out of a database are written."""
    return workspace.root / PULLED.replace("{month}", str(month))
