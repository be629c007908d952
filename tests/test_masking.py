"""Personal data by form and check digits; what only looks like it stays."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.masking import Masked, mask
from pipeline.row_task import shown
from tests import toy
from tests.conftest import call

ALL: tuple[Masked, ...] = ("email", "iban", "card", "ip", "phone")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to ann.lee+x@mail.example.com today", "write to [email] today"),
        ("card 4111 1111 1111 1111 was charged", "card [card] was charged"),
        ("pay DE89 3704 0044 0532 0130 00 now", "pay [iban] now"),
        ("from 192.168.0.17 and 2001:db8::1", "from [ip] and [ip]"),
        ("call +49 (30) 1234-5678 or 020 7946 0958", "call [phone] or [phone]"),
        ("a@b.co, c@d.org", "[email], [email]"),
    ],
)
def test_personal_data_is_replaced_by_what_it_is(text: str, masked: str) -> None:
    assert mask(text, ALL)[0] == masked


@pytest.mark.parametrize(
    "text",
    [
        "order 12345678 of 2026-02-01",
        "4111 1111 1111 1112 is no card by its check digit",
        "version 1.2.3.400 came at 10:00:00",
        "DE00 3704 0044 0532 0130 00 is no account",
        "me @ home, 5% of 1,000,000",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    without_phone: tuple[Masked, ...] = ("card", "iban", "ip", "email")
    assert mask(text, without_phone)[0] == text


def test_only_what_is_asked_for_is_masked_and_counted() -> None:
    kinds: tuple[Masked, ...] = ("email",)
    text, found = mask("a@b.co at 10.0.0.1 and c@d.org", kinds)
    assert (text, dict(found)) == ("[email] at 10.0.0.1 and [email]", {"email": 2})


def test_nothing_that_ingest_keeps_holds_what_is_masked(launched: Path) -> None:
    file = launched / "feedback/2026-02.jsonl"
    rows = [
        {**row, "text": f"{row['text']} ann{n}@mail.example"} for n, row in enumerate(toy.read_jsonl(file))
    ]
    rows.append({**rows[0], "id": "bad", "label": "unheard of", "kind": "correction"})
    toy.write_jsonl(file, rows)
    done = call(
        *("ingest", "--month", "2026-02", "-w", launched),
        *("-o", "ingest.mask=[email]", "-o", "ingest.golden_fraction=0.2", "-o", "ingest.max_rejected=1"),
    )
    assert done.code == 0, done.err
    folder = launched / "runs/2026-02/001/ingest"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["masked"] == {"email": len(rows)}
    for kept in folder.iterdir():
        assert b"@mail.example" not in kept.read_bytes(), kept.name


MASKED = ("-o", "ingest.mask=[email]")


def test_a_golden_row_is_known_again_though_its_personal_data_is_masked(launched: Path) -> None:
    golden = launched / "golden/2026-01.jsonl"
    text = "my invoice for ann@mail.example is wrong"
    toy.write_jsonl(golden, [*toy.read_jsonl(golden), {"text": text, "label": "billing"}])
    file = launched / "feedback/2026-02.jsonl"
    rows = toy.read_jsonl(file)
    toy.write_jsonl(file, [*rows, {**rows[0], "id": "leak", "text": text}])
    done = call("ingest", "--month", "2026-02", "-w", launched, *MASKED)
    assert done.code == 0, done.err
    rejected = (launched / "runs/2026-02/001/ingest/rejected.jsonl").read_text().splitlines()
    assert [json.loads(line)["rule"] for line in rejected] == ["golden"]


def test_what_a_refused_month_set_aside_masked_is_not_learned_when_it_is_carried(launched: Path) -> None:
    file = launched / "feedback/2026-02.jsonl"
    rows = [
        {**row, "text": f"{row['text']} ann{n}@mail.example word{n}"}
        for n, row in enumerate(toy.read_jsonl(file))
    ]
    toy.write_jsonl(file, rows)
    (launched / "golden/2026-02.jsonl").unlink()
    aside = (*MASKED, "-o", "ingest.golden_fraction=0.3")
    call("run", "--month", "2026-02", "-w", launched, *aside, "--no-promote")
    golden = toy.read_jsonl(launched / "runs/2026-02/001/ingest/golden.jsonl")
    assert golden
    done = call("ingest", "--month", "2026-03", "-w", launched, *aside)
    assert done.code == 0, done.err
    folder = launched / "runs/2026-03/001/ingest"
    assert json.loads((folder / "summary.json").read_text())["months"] == ["2026-02", "2026-03"]
    learned = {row["text"] for row in pq.read_table(folder / "train.parquet").to_pylist()}
    assert not learned & {row["text"] for row in golden}


def test_nothing_that_is_said_of_rows_holds_what_is_masked(launched: Path) -> None:
    file = launched / "feedback/2026-02.jsonl"
    rows = [{**row, "user": "jane@example.com"} for row in toy.read_jsonl(file)]
    rows[0] |= {"kind": "call jane@example.com"}
    rows[1] |= {"id": "jane@example.com"}
    rows[2] |= {"id": "jane@example.com"}
    toy.write_jsonl(file, rows)
    done = call("ingest", "--month", "2026-02", "-w", launched, *MASKED, "-o", "ingest.max_rejected=0.5")
    assert done.code == 0, done.err
    assert "kind: expected one of" in done.err
    assert "user '[email]' has" in done.err
    assert "jane@example.com" not in done.err
    folder = launched / "runs/2026-02/001/ingest"
    assert "jane" not in (folder / "summary.json").read_text() + (folder / "rejected.jsonl").read_text()


@pytest.mark.parametrize("personal", ["ann.lee@example.com", "4111 1111 1111 1111", "+49 (30) 1234-5678"])
@pytest.mark.parametrize("before", range(30, 61, 3))
def test_a_message_that_is_cut_holds_no_half_of_what_is_masked(personal: str, before: int) -> None:
    told = shown("y" * before + f" {personal} and more words after it to make it long")
    assert len(told) <= 60
    assert "y" * 20 in told
    rest = mask(told, ALL)[0].split("y")[-1]
    assert not any(part in rest for part in (personal[:4], personal[-4:]))


def test_what_is_short_enough_is_shown_whole() -> None:
    assert shown("ann@example.com") == "'ann@example.com'"
    assert len(shown("y" * 100)) == 60


def test_numbers_and_names_of_columns_in_refused_rows_are_masked_and_times_stay(launched: Path) -> None:
    file = launched / "feedback/2026-02.jsonl"
    bad = {"text": None, "phone": 4915112345678, "jane@example.com": 1, "id": 20260201123, "count": 7}
    toy.write_jsonl(file, [*toy.read_jsonl(file), {**bad, "created_at": 1770112800}])
    masked = ("-o", "ingest.mask=[email,phone]", "-o", "ingest.max_rejected=0.5")
    done = call("ingest", "--month", "2026-02", "-w", launched, *masked)
    assert done.code == 0, done.err
    (line,) = (launched / "runs/2026-02/001/ingest/rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["row"] == {
        "text": None,
        "phone": "[phone]",
        "[email]": 1,
        "id": 20260201123,
        "count": 7,
        "created_at": 1770112800,
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("2026-02.csv", "write to jane@example.com,billing\nanother text,login\n"),
        ("2026-02.csv", "jane@example.com,jane@example.com\nanother text,login\n"),
        ("2026-02.csv", "jane@example.com|a,b|c\nanother text,login\n"),
        ("2026-02.json", '{"jane@example.com": 1}'),
    ],
)
def test_a_row_that_is_taken_for_a_header_is_quoted_masked(launched: Path, name: str, content: str) -> None:
    (launched / "feedback/2026-02.jsonl").unlink()
    (launched / "feedback" / name).write_text(content)
    done = call("ingest", "--month", "2026-02", "-w", launched, *MASKED)
    assert done.code == 65
    assert "[email]" in done.err
    assert "jane" not in done.err


def test_what_is_said_of_golden_rows_is_masked(launched: Path) -> None:
    golden = launched / "golden/2026-01.jsonl"
    rows = toy.read_jsonl(golden)
    twice = {**rows[0], "id": "jane@example.com"}
    for added in ([twice, twice], [{**twice, "label": "login"}]):
        toy.write_jsonl(golden, [*rows, *added])
        done = call("ingest", "--month", "2026-02", "-w", launched, *MASKED, "-o", "ingest.conflicts=refuse")
        assert done.code == 65
        assert "'[email]'" in done.err
        assert "jane" not in done.err
