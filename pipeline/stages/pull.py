"""Write a month's rows out of a database to a file of feedback, which is read like any other from then on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pipeline.config import Config, SqlSection
from pipeline.errors import BadConfig, BadData, NoInput
from pipeline.months import Month
from pipeline.row_task import ONE_LABEL
from pipeline.sources.read import in_another_format
from pipeline.sources.sql import read_query
from pipeline.sources.table import dialect_of
from pipeline.stages.feedback_files import pulled_file
from pipeline.stages.months_learned import months_learned
from pipeline.stages.stage import RunContext
from pipeline.store import atomic, reading
from pipeline.store.hashing import sha256_bytes, sha256_file
from pipeline.store.records import MonthText, Record, Sha256, UtcSeconds, read_record, write_record
from pipeline.store.stage_directory import read_stage
from pipeline.store.workspace import Workspace

logger = logging.getLogger("retrain")


class PullRecord(Record):
    """How a month's file came about; `pulled/<month>.json` of the workspace."""

    version: Literal[1] = 1
    month: MonthText
    query: str
    address: str
    """Without password and options."""
    rows: int
    sha256: Sha256
    """Of the file that was written."""
    at: UtcSeconds


@dataclass(frozen=True)
class Pulled:
    """What a pull came to.

    Attributes:
        file: the month's file, seen from the workspace.
        record: how it came about.
        written: False where the same rows were there already.
    """

    file: str
    record: PullRecord
    written: bool


def pull(
    workspace: Workspace,
    config: Config,
    month: Month,
    *,
    now: datetime,
    environment: Mapping[str, str],
    replace: bool = False,
) -> Pulled:
    """Write a month's rows of `ingest.sql` to `feedback/<month>.sql.jsonl`, whole or not at all; with the lock held.

    Args:
        now: the present moment, UTC, for the record.
        environment: variables that the address may name.
        replace: write other rows over those that were pulled before.

    Raises:
        BadConfig: there is no `ingest.sql`; and as `read_query`, with NoInput, AccessDenied and BadData.
        NoInput: the query gives no row of the month.
        BadData: a file is there that holds other rows.
        ArtifactCorrupt: the record of an earlier pull is damaged.
    """
    if config.ingest.sql is None:
        raise BadConfig(
            "ingest.sql: is not set, so that there is no database to pull from. Set ingest.sql.address and ingest.sql.query"
        )
    pulled = _pulled(workspace, config, config.ingest.sql, month, now, environment, replace=replace)
    if pulled is None:
        raise NoInput(
            f"{month}: the query of ingest.sql gives no row of the month. Mend ingest.sql.query, or run the month with "
            "--allow-empty"
        )
    return pulled


def _pulled(
    workspace: Workspace,
    config: Config,
    sql: SqlSection,
    month: Month,
    now: datetime,
    environment: Mapping[str, str],
    *,
    replace: bool = False,
) -> Pulled | None:
    """What `pull` gives; None where there is no row of the month."""
    file, record_file = pulled_file(workspace, month), _record_file(workspace, month)
    name = workspace.name_of(file)
    again = f"retrain pull --month {month} --replace"
    other = in_another_format(file)
    if other is not None and other != file:
        raise BadData(f"{other}: is there in the place of {name}. Move it away; then run the command again")
    earlier = (
        read_record(record_file, PullRecord, mend=again) if record_file.exists() and not replace else None
    )
    dialect = dialect_of(config)
    answer = read_query(
        sql.address,
        sql.query,
        month,
        root=workspace.root,
        environment=environment,
        dialect=dialect,
        required=(*ONE_LABEL.fields, "kind"),
    )
    if not answer.lines:
        return None
    content = b"".join(answer.lines)
    record = PullRecord(
        month=str(month),
        query=sql.query,
        address=answer.address,
        rows=len(answer.lines),
        sha256=sha256_bytes(content),
        at=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    if file.is_file() and sha256_file(file) == record.sha256:
        if earlier is None:
            _write(record_file, record)
        return Pulled(name, earlier or record, written=False)
    is_other = reading.kind_of(file) != "nothing" or (earlier is not None and earlier.sha256 != record.sha256)
    if is_other and not replace:
        before = f"{earlier.rows} row(s) were pulled at {earlier.at}" if earlier else "it was not pulled"
        raise BadData(
            f"{file}: {before}, and the query gives {record.rows} that are not the same now. What months have learned stays "
            f"what it is; to take the rows of now, run: {again}"
        )
    atomic.make_folder(file.parent)
    for left_over in file.parent.glob(f".{file.name}.*.tmp"):
        atomic.remove_tree(left_over)
    atomic.write_file(file, content)
    _write(record_file, record)
    logger.info("pull: %s: %d row(s) from %s are in %s", month, record.rows, record.address, name)
    if now < month.next.start:
        logger.warning(
            "pull: %s is not over: rows that come later are not in it. When it is, run: %s", month, again
        )
    return Pulled(name, record, written=True)


def pull_missing(context: RunContext, *, now: datetime, environment: Mapping[str, str]) -> None:
    """Pull what a month is to learn and was not pulled: the month itself, and months before it whose file is gone.

    A month that was ingested from files alone stays as it is. Where the query gives no row of the month, its other files
    decide whether it is empty.

    Raises:
        BadConfig, BadData, NoInput, AccessDenied: as `pull`.
    """
    sql = context.config.ingest.sql
    if sql is None:
        return
    for month in months_learned(context):
        if _is_to_be_pulled(context, month) and not _pulled(
            context.workspace, context.config, sql, month, now, environment
        ):
            logger.info("pull: %s: the query of ingest.sql gives no row of the month", month)


def awaits_pull(context: RunContext) -> bool:
    """Whether `pull_missing` would pull something."""
    return context.config.ingest.sql is not None and any(
        _is_to_be_pulled(context, month) for month in months_learned(context)
    )


def _is_to_be_pulled(context: RunContext, month: Month) -> bool:
    file = pulled_file(context.workspace, month)
    if file.exists() or in_another_format(file) is not None:
        return False
    if _record_file(context.workspace, month).exists():
        return True
    return month == context.month and read_stage(context.output("ingest")) is None


def _record_file(workspace: Workspace, month: Month) -> Path:
    return workspace.root / "pulled" / f"{month}.json"


def _write(record_file: Path, record: PullRecord) -> None:
    atomic.make_folder(record_file.parent)
    atomic.sweep(record_file.parent)
    write_record(record_file, record)
