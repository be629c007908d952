"""A month's rows out of a database: of SQLite for real, and of others as far as the errors go."""

import json
import os
import sqlite3
import sqlite3.dbapi2
import sys
from contextlib import closing
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pipeline.errors import AccessDenied, BadConfig, BadData, NoInput
from pipeline.months import Month
from pipeline.sources import sql
from pipeline.sources.sql import QueryResult, read_query
from pipeline.sources.table import Dialect

MONTH = Month(2026, 2)
QUERY = "select id, text, label, kind, created_at, month from feedback where month = :month"
ROWS = [
    (1, "where is my parcel", "delivery", "correction", "2026-02-01", "2026-02"),
    (2, "naïve: ½", "billing", "correction", "2026-02-28 23:59:59", "2026-02"),
    (3, "of another month", "billing", "correction", "2026-03-01", "2026-03"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a database of three rows."""
    with closing(sqlite3.connect(tmp_path / "feedback.db")) as base, base:
        base.execute(
            "create table feedback (id int, text text, label text, kind text, created_at text, month text)"
        )
        base.executemany("insert into feedback values (?, ?, ?, ?, ?, ?)", ROWS)
    return tmp_path


def ask(
    folder: Path, query: str = QUERY, address: str = "sqlite:///feedback.db", **given: Any
) -> QueryResult:
    settings: dict[str, Any] = {
        "environment": {},
        "dialect": Dialect(),
        "required": ("text", "label", "kind"),
    }
    return read_query(address, query, MONTH, root=folder, **settings | given)


def records(result: QueryResult) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.lines]


def test_the_rows_of_the_month_are_given_with_the_columns_that_are_read(folder: Path) -> None:
    result = ask(folder)
    assert result.address == "sqlite:///feedback.db"
    names = ("id", "text", "label", "kind", "created_at")
    assert records(result) == [dict(zip(names, row, strict=False)) for row in ROWS[:2]]


def test_the_order_of_the_database_does_not_show(folder: Path) -> None:
    assert ask(folder, f"{QUERY} order by id desc").lines == ask(folder, f"{QUERY} order by id").lines


@pytest.mark.parametrize(
    "address", ["sqlite:///${DIR}/feedback.db", "${ALL}", "sqlite:///feedback.db?timeout=2"]
)
def test_the_address_may_name_variables_and_options(folder: Path, address: str) -> None:
    given = {"DIR": str(folder), "ALL": f"sqlite:///{folder}/feedback.db"}
    assert ask(folder, address=address, environment=given).lines == ask(folder).lines


def test_start_and_end_bound_the_month_whether_a_time_has_a_clock_or_not(folder: Path) -> None:
    between = "select * from feedback where created_at >= :start and created_at < :end"
    assert ask(folder, between).lines == ask(folder).lines


def test_columns_have_the_names_that_the_team_gives_them(folder: Path) -> None:
    query = "select text as utterance, label as intent from feedback where month = :month"
    dialect = Dialect(columns={"text": "utterance", "label": "intent"}, kind="correction")
    assert records(ask(folder, query, dialect=dialect))[0] == {"utterance": ROWS[1][1], "intent": "billing"}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (1.5, 1.5),
        (float("nan"), None),
        (Decimal("12"), 12),
        (Decimal("1.5"), 1.5),
        (Decimal("NaN"), None),
        (datetime(2026, 2, 1, 10), "2026-02-01T10:00:00"),
        (datetime(2026, 2, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))), "2026-01-31T23:30:00+00:00"),
        (date(2026, 2, 1), "2026-02-01"),
        ("½".encode(), "½"),
        (memoryview(b"ab"), "ab"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (["a", Decimal("2")], ["a", 2]),
        ({"a": datetime(2026, 2, 1, tzinfo=UTC)}, {"a": "2026-02-01T00:00:00+00:00"}),
    ],
)
def test_values_of_a_database_become_those_of_json(value: object, kept: object) -> None:
    assert sql._plain(value, "c") == kept


def test_bytes_that_are_no_text_name_their_column(folder: Path) -> None:
    with pytest.raises(BadData, match="the column text holds bytes that are no UTF-8 text"):
        ask(folder, "select x'ff' as text, label, kind from feedback where month = :month")


def test_a_missing_column_is_named_with_the_nearest(folder: Path) -> None:
    with pytest.raises(
        BadData,
        match=r"found the columns utterance, label; text and kind are missing. Set ingest.columns.text: utterance",
    ):
        ask(folder, "select text as utterance, label from feedback where month = :month")
    with pytest.raises(BadData, match=r"gives the column\(s\) text twice"):
        ask(folder, "select text, label as text, kind, label from feedback where month = :month")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "select * from nowhere where month = :month",
            "cannot run it: no such table: nowhere. Mend the query",
        ),
        ("selec :month", 'cannot run it: near "selec": syntax error'),
        (
            "select * from feedback where month = :month and id = :who",
            "holds :who; only :month, :start and :end",
        ),
        ("delete from feedback where month = :month", "attempt to write a readonly database"),
    ],
)
def test_a_query_that_cannot_be_run_says_why(folder: Path, query: str, message: str) -> None:
    with pytest.raises(BadConfig, match=rf"^ingest.sql.query: .*{message}"):
        ask(folder, query)
    assert len(ask(folder).lines) == 2


def test_more_rows_than_are_read_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "ROW_LIMIT", 1)
    with pytest.raises(BadData, match="more than 1 rows"):
        ask(folder)


def test_a_file_that_is_not_there_is_not_made(folder: Path) -> None:
    with pytest.raises(NoInput, match=r"none.db: there is no such SQLite file. Mend ingest.sql.address"):
        ask(folder, address="sqlite:///none.db")
    assert not (folder / "none.db").exists()
    with pytest.raises(BadConfig, match="expected the path of an SQLite file"):
        ask(folder, address="sqlite://")


def test_a_file_that_is_no_database_is_refused(folder: Path) -> None:
    (folder / "text.db").write_text("text,label\n" * 100)
    with pytest.raises(BadConfig, match="file is not a database"):
        ask(folder, address="sqlite:///text.db")


def test_a_database_that_another_program_holds_may_answer_later(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "feedback.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        with pytest.raises(
            NoInput, match=r"database is locked. Nothing was written; run the same command again"
        ):
            ask(folder, address="sqlite:///feedback.db?timeout=0")


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ('could not translate host "db" (password=a b@c, a%20b%40c)', NoInput),
        ("password authentication failed for user reader, tried a b@c", AccessDenied),
    ],
)
def test_a_database_that_does_not_let_in_is_told_without_the_password(
    folder: Path, monkeypatch: pytest.MonkeyPatch, said: str, error: type[Exception]
) -> None:
    def connect(*args: object, **named: object) -> None:
        raise sqlite3.OperationalError(said)

    monkeypatch.setattr(sqlite3.dbapi2, "connect", connect)
    with pytest.raises(error) as raised:
        ask(folder, address="sqlite:///feedback.db?password=${PW}", environment={"PW": "a b@c"})
    assert "***" in str(raised.value)
    assert "a b@c" not in str(raised.value)
    assert "a%20b%40c" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_driver_or_package_that_is_not_installed_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    address, given = "postgresql+psycopg://reader:${PW}@db/feedback", {"PW": "hunter2"}
    with pytest.raises(BadConfig, match="needs the package psycopg, which is not installed") as raised:
        ask(folder, address=address, environment=given)
    assert "hunter2" not in str(raised.value)
    with pytest.raises(BadConfig, match="SQLAlchemy knows no database 'postgrex'"):
        ask(folder, address="postgrex://db/feedback")
    with pytest.raises(BadConfig, match="cannot be read as an address") as raised:
        ask(folder, address="${PW}", environment=given)
    assert "hunter2" not in str(raised.value)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(BadConfig, match=r"Run: pip install 'monthly-retrain\[sql\]'"):
        ask(folder)


def test_an_answer_of_postgresql_is_known_by_its_state_whichever_driver_tells_it() -> None:
    class Told(Exception):
        sqlstate = "28P01"

    assert sql._state_and_words(Exception({"C": "28P01", "M": "no entry", "F": "auth.c"})) == (
        "28P01",
        "no entry",
    )
    assert sql._state_and_words(Told("no\n entry")) == ("28P01", "no entry")
    assert sql._state_and_words(None) == ("", "None")


@pytest.mark.skipif("POSTGRES_TEST_ADDRESS" not in os.environ, reason="needs the address of a PostgreSQL")
def test_months_of_postgresql_are_in_utc_whatever_the_servers_zone_is(tmp_path: Path) -> None:
    """With an address such as postgresql+psycopg://user:password@host/database, whose zone is best another one."""
    row = "select 'x' as text, 'a' as label, 'correction' as kind, cast('{}' as timestamptz) as created_at"
    rows = " union all ".join(
        row.format(at) for at in ("2026-02-01T00:00:00Z", "2026-02-28T23:59:59Z", "2026-03-01T00:00:00Z")
    )
    query = f"select * from ({rows}) as r where created_at >= :start and created_at < :end"
    result = ask(tmp_path, query, "${AT}", environment={"AT": os.environ["POSTGRES_TEST_ADDRESS"]})
    assert [row["created_at"] for row in records(result)] == [
        "2026-02-01T00:00:00+00:00",
        "2026-02-28T23:59:59+00:00",
    ]
    with pytest.raises(BadConfig, match="syntax error"):
        ask(tmp_path, "selec :month", "${AT}", environment={"AT": os.environ["POSTGRES_TEST_ADDRESS"]})
