"""A month's rows out of a database, in an order that does not depend on the database's."""

from __future__ import annotations

import json
import logging
import math
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pipeline.addresses import with_variables, without
from pipeline.errors import AccessDenied, BadConfig, BadData, NoInput, RetrainError
from pipeline.months import Month
from pipeline.sources.columns import missing_columns
from pipeline.sources.table import FILE_LIMIT_BYTES, ROW_LIMIT, Dialect

if TYPE_CHECKING:
    from sqlalchemy import URL, CursorResult

ADDRESS, QUERY = "ingest.sql.address", "ingest.sql.query"
_ROWS_AT_ONCE = 5_000
_AUTHENTICATION = re.compile(
    r"authentication failed|access denied|login failed|permission denied", re.IGNORECASE
)
_AWAY = ("08", "40", "53", "57")
"""Classes of SQLSTATE: no connection, rolled back, no resources, an operator stepped in. The same query may succeed later."""
_SQLITE_IN_USE = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@dataclass(frozen=True)
class QueryResult:
    """What a database answered.

    Attributes:
        lines: each row as a line of JSON, sorted: equal rows give equal lines whatever order they came in.
        address: where they are from, without password and options.
    """

    lines: list[bytes]
    address: str


def read_query(
    address: str,
    query: str,
    month: Month,
    *,
    root: Path,
    environment: Mapping[str, str],
    dialect: Dialect,
    required: Sequence[str],
) -> QueryResult:
    """Ask a database for a month's rows. Nothing is committed, and files of SQLite are opened for reading alone.

    Args:
        address: as SQLAlchemy writes it; `${NAME}` stands for a variable of the environment.
        query: one that gives rows; `:month`, `:start` and `:end` are bound.
        root: what the path of an SQLite file is relative to.
        dialect: which columns are read; others that the query gives are left out.
        required: fields of which there must be a column.

    Raises:
        BadConfig: a package is not installed, a variable is not set, the address is none, or the query cannot be run.
        NoInput: the database is not there or cannot be reached.
        AccessDenied: it lets nobody of that name in.
        BadData: a column is missing or given twice, or there are more rows than are read.
    """
    try:
        from sqlalchemy import create_engine, make_url, text
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError
        from sqlalchemy.pool import NullPool
    except ImportError:
        raise BadConfig(
            f"{ADDRESS}: databases need a package that is not installed. Run: pip install 'monthly-retrain[sql]'"
        ) from None
    try:
        url = make_url(with_variables(address, environment, where=ADDRESS))
    except (ArgumentError, ValueError):  # what they say of it may hold the password
        raise BadConfig(
            f"{ADDRESS}: cannot be read as an address, expected one such as postgresql://reader:${{DB_PASSWORD}}@host/database"
        ) from None
    secrets = _secrets_of(url)
    shown = without(secrets, url.set(query={}).render_as_string(hide_password=True))
    if url.get_backend_name() == "sqlite":
        url = _for_reading(url, root)
    log = logging.getLogger("sqlalchemy")
    if not log.handlers:  # what it says of a failed cursor would reach the terminal with a traceback
        log.addHandler(logging.NullHandler())
    statement = text(query)
    bound = {"month": str(month), "start": month.start.date(), "end": month.next.start.date()}
    with _explained(shown, secrets):
        asked = statement.compile().params
        unknown = sorted(asked.keys() - bound.keys())
        if unknown:
            raise BadConfig(
                f"{QUERY}: holds :{', :'.join(unknown)}; only :month, :start and :end have a value. Write \\: for a colon"
            )
        try:
            engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
        except NoSuchModuleError:
            raise BadConfig(
                f"{ADDRESS}: SQLAlchemy knows no database {url.drivername!r} here. Mend the name, or install its package"
            ) from None
        except ImportError as error:
            raise BadConfig(
                f"{ADDRESS}: {url.drivername} needs the package {error.name or error}, which is not installed. Install it"
            ) from None
        try:
            with engine.connect() as connection:
                if (
                    url.get_backend_name() == "postgresql"
                ):  # where :start begins must not depend on the server's zone
                    connection.exec_driver_sql("set time zone 'UTC'")
                streamed = connection.execution_options(stream_results=True, max_row_buffer=_ROWS_AT_ONCE)
                result = streamed.execute(statement, {name: bound[name] for name in asked})
                lines = _lines(result, shown, dialect, required)
                result.close()
                connection.rollback()
        finally:
            engine.dispose()
    return QueryResult(sorted(lines), shown)


def _for_reading(url: URL, root: Path) -> URL:
    """The address of an SQLite file that is there, opened for reading alone; SQLite itself would make a new one."""
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise BadConfig(f"{ADDRESS}: expected the path of an SQLite file, as in sqlite:///feedback.db")
    file = root / url.database
    if not file.is_file():
        raise NoInput(f"{file}: there is no such SQLite file. Mend {ADDRESS}, or put it there")
    options = {**url.query, "mode": "ro", "uri": "true"}
    return url.set(database=f"file:{quote(str(file))}", query=options)


def _secrets_of(url: URL) -> list[str]:
    """What must not be told of an address: its password, and those among its options."""
    values = [
        value for given in url.query.values() for value in ([given] if isinstance(given, str) else given)
    ]
    named = [
        value
        for name, given in url.query.items()
        for value in ([given] if isinstance(given, str) else given)
        if re.search(r"(pass|password|passwd|pwd|secret|token|key|odbc_connect)$", name, re.IGNORECASE)
    ]
    inside = [
        match[1] for value in values for match in re.finditer(r"(?i)(?:pwd|password)\s*=\s*([^;]+)", value)
    ]
    return [str(secret) for secret in (url.password, *named, *inside) if secret]


@contextmanager
def _explained(shown: str, secrets: Sequence[str]) -> Iterator[None]:
    """Turn what SQLAlchemy and a driver raise into the project's errors, without secrets."""
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

    try:
        yield
    except RetrainError:
        raise
    except DBAPIError as error:
        state, said = _state_and_words(error.orig)
        said = without(secrets, said)[:500]
        connecting = error.statement is None and isinstance(error, OperationalError | InterfaceError)
        if state.startswith("28") or (connecting and _AUTHENTICATION.search(said)):
            raise AccessDenied(
                f"{shown}: lets this user not in: {said}. Check the user and the password of {ADDRESS}"
            ) from None
        in_use = getattr(error.orig, "sqlite_errorcode", None) in _SQLITE_IN_USE
        if connecting or in_use or error.connection_invalidated or state.startswith(_AWAY):
            raise NoInput(
                f"{shown}: the database cannot be reached, or stopped answering: {said}. Nothing was written; run the same "
                "command again when it answers"
            ) from None
        raise BadConfig(f"{QUERY}: {shown} cannot run it: {said}. Mend the query") from None
    except SQLAlchemyError as error:
        raise BadConfig(f"{QUERY}: cannot be run: {without(secrets, str(error))[:500]}. Mend it") from None
    except OSError as error:
        raise NoInput(
            f"{shown}: the database cannot be reached: {without(secrets, str(error))[:500]}"
        ) from None


def _state_and_words(error: BaseException | None) -> tuple[str, str]:
    """A driver's SQLSTATE, empty where it tells none, and what it says, on one line."""
    given = error.args[0] if error is not None and error.args else None
    if isinstance(given, dict):  # of pg8000: the fields of PostgreSQL's answer
        return str(given.get("C", "")), str(given.get("M", given))
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return str(state or ""), " ".join(str(error).split())


def _lines(result: CursorResult[Any], shown: str, dialect: Dialect, required: Sequence[str]) -> list[bytes]:
    if not result.returns_rows:
        raise BadConfig(f"{QUERY}: gives no rows, and nothing of it was kept; expected a select")
    columns = list(result.keys())
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise BadData(
            f"{QUERY}: gives the column(s) {', '.join(twice)} twice. Give each a name of its own: select a.id as id"
        )
    missing = missing_columns(columns, required, dialect)
    if missing is not None:
        raise BadData(f"{QUERY}: {missing}, or name it in the query: select COLUMN as text")
    kept = [(place, name) for place, name in enumerate(columns) if name in dialect.needed]
    lines: list[bytes] = []
    size = 0
    for row in result:
        record = {name: _plain(row[place], name) for place, name in kept}
        # ASCII, which reads the same in whatever encoding the team's other files have
        lines.append(json.dumps(record, sort_keys=True, allow_nan=False).encode("ascii") + b"\n")
        size += len(lines[-1])
        if len(lines) > ROW_LIMIT or size > FILE_LIMIT_BYTES:
            raise BadData(
                f"{shown}: the query gives more than {ROW_LIMIT} rows or {FILE_LIMIT_BYTES} bytes a month, which is the most "
                f"that is read. Select fewer with {QUERY}"
            )
    return lines


def _plain(value: object, column: str) -> object:
    """A database's value as JSON has it."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            if not value.is_finite():
                return None
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime():
            return (value.astimezone(UTC) if value.tzinfo is not None else value).isoformat()
        case date():
            return value.isoformat()
        case bytes() | bytearray() | memoryview():
            try:
                return bytes(value).decode("utf-8")
            except UnicodeDecodeError:
                raise BadData(
                    f"{QUERY}: the column {column} holds bytes that are no UTF-8 text. Convert it in the query"
                ) from None
        case list() | tuple():
            return [_plain(item, column) for item in value]
        case dict():
            return {str(key): _plain(item, column) for key, item in value.items()}
    return str(value)
