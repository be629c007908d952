"""Passwords stay out of the configuration, and out of what is told of an address."""

import pytest

from pipeline.addresses import address_problem, with_variables, without
from pipeline.errors import BadConfig


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:///feedback.db",
        "sqlite:////srv/data/a:b@c.db",
        "postgresql+psycopg://reader@db.example.org:5432/feedback?sslmode=require&sslkey=/etc/key.pem",
        "postgresql://reader:${DB_PASSWORD}@db/feedback",
        "mysql://reader@db/feedback?password=${DB_PASSWORD}",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3D${DB_PASSWORD}%3BEncrypt%3Dyes",
        "${FEEDBACK_DB}",
    ],
)
def test_an_address_without_a_password_is_right(address: str) -> None:
    assert address_problem(address) is None


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://reader:hunter2@db/feedback",
        "postgresql://reader:hunter2@with@signs@db/feedback",
        "postgresql://reader:hunter2${DB_PASSWORD}@db/feedback",
        "redis://:hunter2@db",
        "mysql://db/feedback?user=a&password=hunter2",
        "mysql://db/feedback?account_key=hunter2",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3Dhunter2%3BEncrypt%3Dyes",
    ],
)
def test_a_password_in_an_address_is_found_and_not_told(address: str) -> None:
    problem = address_problem(address)
    assert problem is not None
    assert "holds a password" in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize("address", ["", "feedback.db", "postgresql:reader:hunter2", "${A}${B}"])
def test_what_is_no_address_is_refused_without_telling_it(address: str) -> None:
    problem = address_problem(address)
    assert problem is not None
    assert problem.startswith("expected an address such as")


def test_a_variable_is_encoded_where_the_address_would_be_read_otherwise() -> None:
    given = {"PW": "a/b@c d", "DIR": "data/2026", "ALL": "sqlite:///x y.db\n"}
    assert with_variables("db://u:${PW}@host/${DIR}?o=${PW}", given, where="k") == (
        "db://u:a%2Fb%40c%20d@host/data/2026?o=a%2Fb%40c%20d"
    )
    assert with_variables("${ALL}", given, where="k") == "sqlite:///x y.db"


def test_a_variable_that_is_not_set_or_empty_is_named() -> None:
    with pytest.raises(
        BadConfig, match=r"^k: names the environment variable\(s\) PW, NONE, which are not set"
    ):
        with_variables("db://${PW}:${NONE}@host/${PW}", {"PW": ""}, where="k")


def test_secrets_are_taken_out_of_a_text_however_they_are_written() -> None:
    assert without(["a b@c", "", "x"], "a b@c a%20b%40c a+b%40c x") == "*** *** *** ***"
