"""`retrain pull`, and months whose feedback lies in a database."""

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.config_loading import load_config
from pipeline.experiments.backtest import reading_from
from pipeline.store import atomic
from pipeline.store.workspace import Workspace
from tests import toy
from tests.conftest import Done, call
from tests.store.samples import tree

FILE, RECORD = "feedback/2026-02.sql.jsonl", "pulled/2026-02.json"
QUERY = "select id, text, label, kind, created_at from feedback where month = :month"
COLUMNS = ("id", "text", "label", "kind", "created_at")


def set_sql(workspace: Path, query: str = QUERY, address: str = "sqlite:///feedback.db") -> None:
    value = json.dumps({"validation": 0.1, "sql": {"address": address, "query": query}})
    lines = [line for line in toy.CONFIG.splitlines() if not line.startswith("ingest:")]
    (workspace / "retrain.yaml").write_text("\n".join([*lines, f"ingest: {value}", ""]))


def insert(workspace: Path, month: str, rows: Iterable[toy.Row]) -> None:
    with closing(sqlite3.connect(workspace / "feedback.db")) as base, base:
        base.execute("create table if not exists feedback (id, text, label, kind, created_at, month)")
        base.executemany(
            "insert into feedback values (?, ?, ?, ?, ?, ?)",
            [(*(row[name] for name in COLUMNS), month) for row in rows],
        )


@pytest.fixture
def workspace(launched: Path) -> Path:
    """A launched workspace whose months' feedback lies in a database instead of files."""
    for month, rows in toy.toy_stream().feedback.items():
        insert(launched, month, rows)
        (launched / "feedback" / f"{month}.jsonl").unlink()
    set_sql(launched)
    return launched


def pull(workspace: Path, *words: object, month: str = "2026-02") -> Done:
    return call("pull", "--month", month, "-w", workspace, *words)


def run(workspace: Path, *words: object, month: str = "2026-02") -> Done:
    return call("run", "--month", month, "-w", workspace, *words)


def only_pulled(before: dict[str, bytes], after: dict[str, bytes]) -> bool:
    return {name for name in after if after[name] != before.get(name)} == {FILE, RECORD, "pulled"}


def test_pull_writes_the_rows_and_a_record_of_where_they_are_from(workspace: Path) -> None:
    done = pull(workspace)
    rows = toy.read_jsonl(workspace / FILE)
    assert done.code == 0, done.err
    assert done.out == f"2026-02 {len(rows)} row(s) from sqlite:///feedback.db, in {FILE}\n"
    given = toy.toy_stream().feedback["2026-02"]
    assert sorted(map(str, rows)) == sorted(str({k: row[k] for k in sorted(row)}) for row in given)
    record = json.loads((workspace / RECORD).read_text())
    assert (record["rows"], record["address"], record["query"]) == (len(rows), "sqlite:///feedback.db", QUERY)


def test_pull_again_writes_nothing_while_the_rows_are_the_same(workspace: Path) -> None:
    first = json.loads(pull(workspace, "--json").out)
    before = tree(workspace)
    again = pull(workspace, "--json")
    assert json.loads(again.out) == first | {"written": False}
    assert tree(workspace) == before
    (workspace / FILE).unlink()
    assert pull(workspace).code == 0
    assert tree(workspace)[FILE] == before[FILE]


def test_other_rows_are_refused_until_they_are_asked_for(workspace: Path) -> None:
    assert pull(workspace).code == 0
    before = tree(workspace)
    insert(
        workspace, "2026-02", [{**toy.toy_stream().feedback["2026-02"][0], "id": "late", "text": "late row"}]
    )
    refused = pull(workspace)
    count = len(toy.read_jsonl(workspace / FILE))
    assert refused.code == 65
    assert f"{count} row(s) were pulled at 20" in refused.err
    assert f"gives {count + 1} that are not the same now" in refused.err
    assert "run: retrain pull --month 2026-02 --replace" in refused.err
    assert {**tree(workspace), "feedback.db": before["feedback.db"]} == before
    assert pull(workspace, "--replace").code == 0
    assert len(toy.read_jsonl(workspace / FILE)) == count + 1
    (workspace / FILE).write_text("changed by hand")
    assert pull(workspace).code == 65


def test_a_run_pulls_first_and_a_finished_month_stays_finished(workspace: Path) -> None:
    done = run(workspace)
    assert done.code == 0, done.err
    assert "row(s) from sqlite:///feedback.db are in feedback/2026-02.sql.jsonl" in done.err
    record = json.loads((workspace / "runs/2026-02/001/ingest/record.json").read_text())
    assert f"feedback 2026-02 {FILE}" in record["inputs"]
    before = tree(workspace)
    (workspace / "feedback.db").unlink()
    again = run(workspace)
    assert (again.code, "already done" in again.out) == (0, True)
    assert {**tree(workspace), "feedback.db": before["feedback.db"]} == before
    assert call("verify", "--all", "-w", workspace).code == 0


def test_the_rows_of_a_refused_month_are_learned_with_the_next_and_pulled_again_where_they_are_gone(
    workspace: Path,
) -> None:
    assert run(workspace, *toy.REFUSE).code == 3
    (workspace / FILE).unlink()
    done = call("ingest", "--month", "2026-03", "-w", workspace)
    assert done.code == 0, done.err
    summary = json.loads((workspace / "runs/2026-03/001/ingest/summary.json").read_text())
    assert summary["months"] == ["2026-02", "2026-03"]
    assert summary["read"] == sum(len(rows) for rows in toy.toy_stream().feedback.values())
    assert (workspace / FILE).is_file()


def test_files_of_the_month_are_learned_beside_its_rows_in_the_database(workspace: Path) -> None:
    row = {**toy.toy_stream().feedback["2026-02"][-1], "id": "by-hand", "text": "a row of a file"}
    toy.write_jsonl(workspace / "feedback/2026-02.jsonl", [row])
    assert call("ingest", "--month", "2026-02", "-w", workspace).code == 0
    summary = json.loads((workspace / "runs/2026-02/001/ingest/summary.json").read_text())
    assert summary["read"] == len(toy.toy_stream().feedback["2026-02"]) + 1


def test_a_month_that_was_finished_from_files_is_not_pulled(promoted: Path) -> None:
    set_sql(promoted)
    before = tree(promoted)
    done = run(promoted)
    assert (done.code, "already done" in done.out) == (0, True)
    assert tree(promoted) == before


def test_a_dry_run_pulls_nothing_and_says_what_to_run(workspace: Path) -> None:
    before = tree(workspace)
    done = run(workspace, "--dry-run")
    assert done.code == 66
    assert "Run: retrain pull --month 2026-02" in done.err
    assert tree(workspace) == before
    assert pull(workspace).code == 0
    assert run(workspace, "--dry-run").code == 0


@pytest.mark.parametrize(
    ("query", "address", "code", "said"),
    [
        ("selec :month", "sqlite:///feedback.db", 78, "syntax error"),
        (
            "select text from feedback where month = :month",
            "sqlite:///feedback.db",
            65,
            "label and kind are missing",
        ),
        (f"{QUERY} and id = 'none'", "sqlite:///feedback.db", 66, "gives no row of the month"),
        (QUERY, "sqlite:///none.db", 66, "there is no such SQLite file"),
        (QUERY, "sqlite:///${NOT_SET}", 78, "NOT_SET, which are not set"),
    ],
)
def test_what_fails_leaves_nothing_and_has_its_exit_code(
    workspace: Path, query: str, address: str, code: int, said: str
) -> None:
    set_sql(workspace, query, address)
    before = tree(workspace)
    done = pull(workspace)
    assert done.code == code
    assert said in done.err
    assert tree(workspace) == before
    assert run(workspace).code == code
    assert tree(workspace) == before


@pytest.mark.parametrize("step", ["create", "write", "rename"])
def test_a_disk_that_fails_leaves_no_half_file(
    workspace: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(workspace)

    def full(at: atomic.Step, path: Path) -> None:
        if at == step and "2026-02" in path.name:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(atomic, "fault_point", full)
        assert pull(workspace).code == 74
    assert tree(workspace) == before
    assert pull(workspace).code == 0
    assert only_pulled(before, tree(workspace))


def test_what_a_killed_pull_left_is_swept_away(workspace: Path) -> None:
    (workspace / "feedback/.2026-02.sql.jsonl.0123456789ab.tmp").write_text("{")
    before = tree(workspace)
    assert pull(workspace).code == 0
    assert set(tree(workspace)) - set(before) == {FILE, RECORD, "pulled"}
    assert not list(workspace.glob("feedback/.*"))


def test_a_month_without_rows_is_empty_where_it_may_be(workspace: Path) -> None:
    set_sql(workspace, f"{QUERY} and id = 'none'")
    done = run(workspace, "--allow-empty")
    assert done.code == 0, done.err
    assert "the query of ingest.sql gives no row of the month" in done.err
    assert run(workspace).code == 0
    assert not (workspace / FILE).exists()


def test_a_damaged_record_is_an_artifact_that_pull_makes_again(workspace: Path) -> None:
    assert pull(workspace).code == 0
    (workspace / RECORD).write_text("{}")
    done = pull(workspace)
    assert (done.code, "retrain pull --month 2026-02 --replace" in done.err) == (5, True)
    assert pull(workspace, "--replace").code == 0
    assert pull(workspace).code == 0


def test_a_month_that_is_not_over_is_warned_of(workspace: Path) -> None:
    insert(workspace, "9998-01", toy.toy_stream().feedback["2026-02"])
    assert "9998-01 is not over" in pull(workspace, month="9998-01").err


def test_a_password_is_refused_in_the_configuration_and_shown_nowhere(workspace: Path) -> None:
    set_sql(workspace, address="postgresql://reader:hunter2@db/feedback")
    for done in (pull(workspace), call("config", "show", "-w", workspace)):
        assert done.code == 78
        assert "ingest.sql.address: Value error, holds a password" in done.err
        assert "hunter2" not in done.err + done.out


def test_a_password_of_the_environment_is_in_no_file_and_no_log(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_sql(workspace, address="sqlite:///feedback.db?password=${FEEDBACK_PASSWORD}")
    monkeypatch.setenv("FEEDBACK_PASSWORD", "hunter2")
    done = run(workspace)
    assert done.code == 0, done.err
    assert "hunter2" not in done.err + done.out
    assert not [name for name, content in tree(workspace).items() if b"hunter2" in content]
    set_sql(workspace, "select * from nowhere where month = :month", "sqlite:///${FEEDBACK_PASSWORD}")
    assert pull(workspace).code == 66


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ({"address": "sqlite:///f.db", "query": "select 1"}, "must hold :month, or :start and :end"),
        ({"address": "sqlite:///f.db", "query": "select 1 where a > :start"}, "must hold :month"),
        ({"address": "sqlite:///f.db", "query": "select a::month"}, "must hold :month"),
        ({"address": "f.db", "query": QUERY}, "expected an address such as sqlite:///feedback.db"),
        ({"query": QUERY}, "ingest.sql.address: Field required"),
        (
            {"address": "sqlite:///f.db", "query": QUERY, "pasword": "hunter2"},
            "Extra inputs are not permitted",
        ),
        ("postgresql://reader:hunter2@db/feedback", "ingest.sql: Input should be"),
    ],
)
def test_a_section_that_cannot_be_used_is_refused_and_its_values_are_not_told(
    workspace: Path, sql: object, said: str
) -> None:
    (workspace / "retrain.yaml").write_text(json.dumps({"ingest": {"sql": sql}}))
    done = pull(workspace)
    assert done.code == 78
    assert said in done.err
    assert "hunter2" not in done.err


def test_without_a_database_there_is_nothing_to_pull(promoted: Path) -> None:
    done = pull(promoted)
    assert (done.code, "ingest.sql: is not set" in done.err) == (78, True)


def test_a_backtest_reads_what_was_pulled_and_asks_no_database(workspace: Path) -> None:
    config = reading_from(Workspace(workspace), load_config(workspace / "retrain.yaml"))
    assert config.ingest.sql is None
    assert config.ingest.sources[-1].path == str(workspace / "feedback/{month}.sql.jsonl")
