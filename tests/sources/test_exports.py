"""Exports of all kinds: what is accepted, what is refused by which line, and what is told."""

import bz2
import csv
import gzip
import io
import json
import lzma
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadConfig, BadData
from pipeline.feedback import check_feedback
from pipeline.labels import LabelSet
from pipeline.months import Month
from pipeline.sources.columns import require_fields
from pipeline.sources.read import in_another_format, is_saved_dataset, read_table, surely_has_rows, table_hash
from pipeline.sources.table import Dialect, Table
from pipeline.stages.feedback_files import read_records
from tests import toy
from tests.conftest import call

ROWS: list[dict[str, object]] = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(4)]
CSV = "text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS)
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS)


def read(folder: Path, name: str, data: bytes | str, **dialect: Any) -> Table:
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return read_table(folder / name, dialect=Dialect(**dialect))


def values(table: Table) -> list[object]:
    return [row.value for row in table.rows]


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
        (".zst", lambda data: pa.Codec("zstd").compress(data, asbytes=True)),
    ],
)
@pytest.mark.parametrize(("name", "text"), [("t.jsonl", JSONL), ("t.csv", CSV)])
def test_compressed_files_hold_the_same_rows(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes], name: str, text: str
) -> None:
    if suffix == ".zst":
        with pa.CompressedOutputStream(str(tmp_path / (name + suffix)), "zstd") as stream:
            stream.write(text.encode())
        table = read_table(tmp_path / (name + suffix))
    else:
        table = read(tmp_path, name + suffix, pack(text.encode()))
    assert values(table) == ROWS


def test_a_compressed_file_that_is_damaged_or_too_large_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadData, match="cannot be decompressed as gzip"):
        read(tmp_path, "t.csv.gz", b"no gzip")
    monkeypatch.setattr("pipeline.sources.text.FILE_LIMIT_BYTES", 100)
    with pytest.raises(BadData, match="decompresses to more than 100 bytes"):
        read(tmp_path, "t.csv.gz", gzip.compress(b"x" * 1000))


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_is_found_out_and_told(tmp_path: Path, delimiter: str) -> None:
    table = read(tmp_path, "t.csv", CSV.replace(",", delimiter))
    assert values(table) == ROWS
    assert "separated by" in table.told[0]


def test_a_header_that_could_be_separated_in_two_ways_is_decided_by_the_setting(tmp_path: Path) -> None:
    text = "a,b;c\nx,y;z\n"
    with pytest.raises(
        BadData, match=r"could be separated by commas or semicolons: .* Set ingest\.delimiter"
    ):
        read(tmp_path, "t.csv", text)
    assert values(read(tmp_path, "t.csv", text, delimiter=";")) == [{"a,b": "x,y", "c": "z"}]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_encodings_that_show_themselves_are_found_out(tmp_path: Path, encoding: str) -> None:
    assert values(read(tmp_path, "t.csv", CSV.encode(encoding))) == ROWS


def test_an_encoding_that_does_not_show_itself_is_a_setting(tmp_path: Path) -> None:
    data = "text,label\ncaf\xe9,a\ntea,b\n".encode("cp1252")
    found = values(read(tmp_path, "t.csv", data))
    assert "set ingest.encoding, such as cp1252" in str(found[0])
    assert found[1] == {"text": "tea", "label": "b"}
    assert values(read(tmp_path, "t.csv", data, encoding="cp1252"))[0] == {"text": "caf\xe9", "label": "a"}
    with pytest.raises(BadConfig, match="there is no such encoding"):
        read(tmp_path, "t.csv", data, encoding="klingon")


def test_unnamed_columns_and_empty_rows_are_passed_over(tmp_path: Path) -> None:
    table = read(tmp_path, "t.csv", ',text,label\n0,a,b\n,,\n\n1,c,d\n ,,\n"","",\n')
    assert [(row.line, row.value) for row in table.rows] == [
        (2, {"text": "a", "label": "b"}),
        (5, {"text": "c", "label": "d"}),
    ]


def test_line_separators_inside_a_cell_end_no_line(tmp_path: Path) -> None:
    table = read(tmp_path, "t.csv", "text,label\r\na\u2028b\x85c,x\r\nd,y\r\n")
    assert [(row.line, row.value) for row in table.rows] == [
        (2, {"text": "a\u2028b\x85c", "label": "x"}),
        (3, {"text": "d", "label": "y"}),
    ]


def test_what_excel_writes_before_the_header_is_no_header(tmp_path: Path) -> None:
    assert values(read(tmp_path, "t.csv", "sep=;\r\ntext;label\r\na,b;c\r\n")) == [
        {"text": "a,b", "label": "c"}
    ]


def test_a_file_of_tabs_says_so_by_its_name(tmp_path: Path) -> None:
    table = read(tmp_path, "t.tsv", "text\tlabel, kind\nit costs 5,00\ta\n")
    assert values(table) == [{"text": "it costs 5,00", "label, kind": "a"}]
    assert "separated" not in " ".join(table.told)


def test_a_header_of_any_length_never_ends_in_a_traceback(tmp_path: Path) -> None:
    table = read(tmp_path, "t.csv", "x" * 200_000 + ",label\na,b\n")
    assert values(table) == [{"x" * 200_000: "a", "label": "b"}]


@pytest.mark.parametrize("delimiter", ['"', "\n", "a", ",,"])
def test_a_delimiter_that_cannot_be_is_refused_by_the_configuration(launched: Path, delimiter: str) -> None:
    done = call(
        "ingest", "--month", "2026-02", "-w", launched, "-o", f"ingest.delimiter={json.dumps(delimiter)}"
    )
    assert done.code == 78
    assert "ingest.delimiter" in done.err


def test_a_file_of_the_month_that_is_not_read_is_told(launched: Path) -> None:
    (launched / "feedback/2026-02.csv").write_text(CSV)
    done = call("ingest", "--month", "2026-02", "-w", launched)
    assert done.code == 0, done.err
    assert "feedback/2026-02.csv is named for the month and is not read" in done.err
    assert "2026-02.jsonl is named" not in done.err


def test_words_that_data_frames_take_for_nothing_stay_words(tmp_path: Path) -> None:
    table = read(tmp_path, "t.csv", "text,label\nN/A,null\nnan,NA\n")
    assert values(table) == [{"text": "N/A", "label": "null"}, {"text": "nan", "label": "NA"}]


def test_a_cell_that_really_spans_lines_is_one_row(tmp_path: Path) -> None:
    table = read(tmp_path, "t.csv", 'text,label\n"first line\nsecond, line",a\nnext,b\n')
    assert [(row.line, row.value) for row in table.rows] == [
        (2, {"text": "first line\nsecond, line", "label": "a"}),
        (4, {"text": "next", "label": "b"}),
    ]


def test_a_cell_that_swallows_rows_is_refused_with_each_of_them(tmp_path: Path) -> None:
    rows = "".join(f"t{n},{'ab'[n % 2]}\n" for n in range(5))
    table = read(tmp_path, "t.csv", f'text,label\nx,a\n"screen broke,a\n{rows}another one",b\nlast,b\n')
    refused = [row for row in table.rows if isinstance(row.value, str)]
    assert [row.line for row in refused] == list(range(3, 10))
    assert "a cell spans the lines 3 to 9, of which 6 look like rows: a stray quote?" in str(refused[0].value)
    assert [row.line for row in table.rows if isinstance(row.value, dict)] == [2, 10]


def test_every_line_of_a_broken_csv_is_a_row_or_refused(tmp_path: Path) -> None:
    lines = [f"text {n},{'ab'[n % 2]}" for n in range(100)]
    for place in (10, 40, 77):
        lines[place] = '"' + lines[place]
    table = read(tmp_path, "t.csv", "text,label\n" + "\n".join(lines) + "\n")
    assert sorted(row.line for row in table.rows) == list(range(2, 102))
    assert sum(isinstance(row.value, str) for row in table.rows) == 3


def test_json_may_be_an_array_or_lines_or_wrapped(tmp_path: Path) -> None:
    assert values(read(tmp_path, "a.json", json.dumps(ROWS))) == ROWS
    assert values(read(tmp_path, "b.json", JSONL)) == ROWS
    assert values(read(tmp_path, "c.json", json.dumps({"data": ROWS}))) == ROWS
    assert values(read(tmp_path, "f.jsonl", json.dumps(ROWS))) == ROWS
    with pytest.raises(BadData, match="found an object with the keys rows"):
        read(tmp_path, "d.json", '{"rows": []}')
    with pytest.raises(BadData, match="not JSON"):
        read(tmp_path, "e.json", "[{]")


@pytest.mark.parametrize(
    ("record", "label"),
    [
        ({"text": "a", "label": ["x"]}, "x"),
        ({"text": "a", "labels": ["x"]}, "x"),
        ({"text": "a", "intent": "x", "entities": []}, "x"),
        ({"fields": {"text": "a"}, "responses": {"q": [{"value": "x"}, {"value": "x"}]}}, "x"),
        ({"data": {"text": "a"}, "annotations": [{"result": [{"value": {"choices": ["x"]}}]}]}, "x"),
        ({"text": "a", "annotator": 1, "lead_time": 1.0, "topic": "x"}, "x"),
        ({"text": "a", "accept": ["x"], "answer": "accept"}, "x"),
    ],
)
def test_what_labelling_tools_export_is_known_by_its_keys(
    tmp_path: Path, record: dict[str, object], label: str
) -> None:
    (row,) = read(tmp_path, "t.jsonl", json.dumps(record) + "\n").rows
    assert isinstance(row.value, dict)
    assert (row.value["text"], row.value["label"]) == ("a", label)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"text": "a", "label": ["x", "y"]}, "label: expected one, found 2"),
        (
            {"text": "a", "label": "x", "answer": "reject", "_timestamp": 1},
            "the answer is 'reject' in Prodigy",
        ),
        (
            {"fields": {"text": "a"}, "responses": {"q": [{"value": "x"}, {"value": "y"}]}},
            "expected one answer",
        ),
        (
            {"data": {"text": "a"}, "annotations": [{"was_cancelled": True, "result": []}]},
            "expected one label",
        ),
        (
            {"text": "a", "annotator": 1, "lead_time": 1.0, "b": "x", "c": "y"},
            "expected one column of labels",
        ),
    ],
)
def test_what_is_no_label_is_never_learned_as_one(
    tmp_path: Path, record: dict[str, object], reason: str
) -> None:
    (row,) = read(tmp_path, "t.jsonl", json.dumps(record) + "\n").rows
    assert reason in str(row.value)


UNANSWERED: dict[str, dict[str, object]] = {
    "the answer is 'reject' in Prodigy": {"text": "x", "label": "a", "answer": "reject", "_task_hash": 1},
    "the answer is 'ignore' in Prodigy": {"text": "x", "label": "a", "answer": "ignore", "_task_hash": 1},
    "was discarded in Argilla": {"fields": {"text": "x"}, "responses": {}, "status": "discarded"},
    "has no answer in Argilla": {"fields": {"text": "x"}, "responses": None, "status": "pending"},
    "expected one label, found 0 in 0": {"data": {"text": "x"}, "annotations": [{"was_cancelled": True}]},
    "has no label in Label Studio": {"text": "x", "annotator": 1, "lead_time": 1.0, "intent": ""},
    "has no label: its list": {"text": "x", "labels": []},
}


@pytest.mark.parametrize("reason", UNANSWERED)
def test_what_nobody_labelled_says_nothing_bad_about_the_rest(tmp_path: Path, reason: str) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps(UNANSWERED[reason]) + "\n")
    (record,) = read_records(tmp_path / "t.jsonl", name="t.jsonl")
    assert record.problem.startswith(reason)
    checked = check_feedback([record], month=Month(2026, 2), labels=LabelSet(("a",)), golden_texts=())
    (rejection,) = checked.rejected
    assert (rejection.code, rejection.on_purpose) == ("unanswered", True)


def test_prodigys_rejected_answers_stop_no_month(launched: Path) -> None:
    file = launched / "feedback/2026-02.jsonl"
    rows = toy.read_jsonl(file)
    answers = ["accept", "reject"] + ["accept"] * (len(rows) - 2)
    toy.write_jsonl(
        file,
        [{**row, "answer": answers[n], "_task_hash": n} for n, row in enumerate(rows)]
        + [{"text": f"other {n}", "label": "login", "answer": "ignore"} for n in range(20)],
    )
    done = call("ingest", "--month", "2026-02", "-w", launched)
    assert done.code == 0, done.err
    summary = json.loads((launched / "runs/2026-02/001/ingest/summary.json").read_text())
    assert (summary["rows"], summary["rejected_by_rule"]) == (len(rows) - 1, {"unanswered": 21})


@pytest.mark.parametrize(
    "record",
    [
        {"id": 1, "data": {"utterance": "x"}, "annotations": [{"result": [{"value": {"choices": ["a"]}}]}]},
        {"fields": {"utterance": "x", "context": "y"}, "responses": {"intent": [{"value": "a"}]}},
    ],
)
def test_a_column_may_be_one_that_a_labelling_tool_wraps_up(
    tmp_path: Path, record: dict[str, object]
) -> None:
    table = read(tmp_path, "t.json", json.dumps([record]), columns={"text": "utterance"})
    (fields,) = values(table)
    assert isinstance(fields, dict)
    assert (fields["text"], fields["label"]) == ("x", "a")
    assert "text is 'utterance'" in table.told
    with pytest.raises(BadData, match=r"ingest.columns names text: words, found the columns .*utterance"):
        read(tmp_path, "t.json", json.dumps([record]), columns={"text": "words"})


@pytest.mark.parametrize("turn", [1, -1])
def test_a_column_that_few_rows_have_is_found_whatever_their_order(tmp_path: Path, turn: int) -> None:
    rows: list[dict[str, object]] = [
        *({**row, "n": n} for n in range(300) for row in ROWS[:1]),
        {**ROWS[1], "agent": "ann"},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows[::turn])
    table = read(tmp_path, "t.jsonl", text, columns={"user": "agent"})
    users = [row.value.get("user") for row in table.rows if isinstance(row.value, dict)]
    assert [user for user in users if user is not None] == ["ann"]


def test_a_column_that_is_named_and_nowhere_is_told(tmp_path: Path) -> None:
    table = read(tmp_path, "t.csv", CSV, columns={"user": "agent", "id": "ticket"})
    assert table.told == ("it has none of what ingest.columns names user: agent, id: ticket",)
    assert read(tmp_path, "t.csv", CSV, columns={"text": "utterance"}).told == ()


def test_a_rasa_file_gives_its_intents(tmp_path: Path) -> None:
    text = (
        "version: '3.1'\nnlu:\n- intent: greet\n  examples: |\n    - hello\n    - hi [Ann](name)\n"
        "- synonym: x\n  examples: |\n    - y\n- intent: bye\n  examples: |\n    - see you\n"
    )
    table = read(tmp_path, "nlu.yml", text)
    fields = [row.value for row in table.rows if isinstance(row.value, dict)]
    assert [(f["text"], f["label"]) for f in fields] == [
        ("hello", "greet"),
        ("hi Ann", "greet"),
        ("see you", "bye"),
    ]
    assert "1 block(s) of synonyms and the like are no rows" in table.told
    with pytest.raises(BadData, match="holds an alias"):
        read(tmp_path, "bomb.yml", "a: &a [x]\nnlu: *a\n")


def test_a_folder_that_datasets_saved_is_a_table(tmp_path: Path) -> None:
    folder = tmp_path / "2026-02"
    folder.mkdir()
    for name in ("state.json", "dataset_info.json"):
        (folder / name).write_text("{}")
    table = pa.table({name: [row[name] for row in ROWS] for name in ROWS[0]})
    with (
        pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    assert is_saved_dataset(folder)
    assert values(read_table(folder, sha256=table_hash(folder))) == ROWS
    with pytest.raises(BadData, match="changed while this command ran"):
        read_table(folder, sha256="0" * 64)


def test_whole_number_labels_are_named_by_the_file_itself(tmp_path: Path) -> None:
    features = {"info": {"features": {"label": {"names": ["x", "y"], "_type": "ClassLabel"}}}}
    schema = pa.schema(
        [("text", pa.string()), ("label", pa.int64())], metadata={"huggingface": json.dumps(features)}
    )
    table = pa.table({"text": ["a", "b", "c"], "label": [1, 0, 7]}, schema=schema)
    pq.write_table(table, tmp_path / "t.parquet")
    found = values(read_table(tmp_path / "t.parquet"))
    assert found[:2] == [{"text": "a", "label": "y"}, {"text": "b", "label": "x"}]
    assert found[2] == "label: 7 is no id of the 2 labels"


def test_whole_number_labels_are_ids_of_the_models_labels(launched: Path) -> None:
    labels = json.loads((launched / "runs/2026-01/001/ingest/labels.json").read_text())
    file = launched / "feedback/2026-02.jsonl"
    rows = toy.read_jsonl(file)
    ids = [{**row, "label": labels.index(row["label"])} if row["label"] in labels else row for row in rows]
    toy.write_jsonl(file, ids)
    done = call("ingest", "--month", "2026-02", "-w", launched)
    assert done.code == 0, done.err
    assert f"its whole-number labels are taken for ids of the model's {len(labels)} labels" in done.err
    table = pq.read_table(launched / "runs/2026-02/001/ingest/train.parquet").to_pylist()
    wanted = {row["id"]: row["label"] for row in rows}
    assert all(row["label"] == wanted[row["id"]] for row in table)


def test_columns_that_are_missing_are_told_with_the_nearest_names(tmp_path: Path) -> None:
    table = read(tmp_path, "t.csv", "Utterance,intent\na,b\n")
    with pytest.raises(BadData) as raised:
        require_fields(tmp_path / "t.csv", table.rows, ("text", "label"))
    assert str(raised.value).endswith(
        "found the columns Utterance, intent; text and label are missing. "
        "Set ingest.columns.text: Utterance, ingest.columns.label: intent"
    )


def test_a_mapping_that_names_no_column_of_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        BadData, match=r"ingest\.columns names text: utterance, found the columns body, label"
    ):
        read(tmp_path, "t.csv", "body,label\na,b\n", columns={"text": "utterance"})
    plain = read(tmp_path, "t.csv", CSV, columns={"text": "utterance"})
    assert values(plain) == ROWS


def test_another_format_stands_in_for_an_absent_file_and_two_are_told(tmp_path: Path) -> None:
    asked = tmp_path / "2026-02.jsonl"
    assert in_another_format(asked) is None
    (tmp_path / "2026-02.csv.gz").write_bytes(b"")
    assert in_another_format(asked) == tmp_path / "2026-02.csv.gz"
    (tmp_path / "2026-02.parquet").write_bytes(b"")
    with pytest.raises(BadData, match="expected one"):
        in_another_format(asked)


def test_feedback_and_golden_sets_are_found_in_any_format(launched: Path) -> None:
    feedback, golden = launched / "feedback/2026-02.jsonl", launched / "golden/2026-02.jsonl"
    for file in (feedback, golden):
        file.with_suffix(".json").write_text(json.dumps(toy.read_jsonl(file)))
        file.unlink()
    done = call("run", "--month", "2026-02", "-w", launched, "--promote")
    assert done.code == 0, done.err
    card = json.loads((launched / "runs/2026-02/001/eval/scorecard.json").read_text())
    assert card["own"]["overall"]["n"] == len(json.loads(golden.with_suffix(".json").read_text()))


def test_everything_that_reads_golden_sets_knows_the_names_of_their_columns(
    launched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in [*launched.glob("golden/*.jsonl"), launched / "feedback/2026-02.jsonl"]:
        rows = [{**row, "utterance": row["text"], "intent": row["label"]} for row in toy.read_jsonl(file)]
        toy.write_jsonl(file, [{k: v for k, v in row.items() if k not in ("text", "label")} for row in rows])
    monkeypatch.setenv("RETRAIN_INGEST__COLUMNS", "{text: utterance, label: intent}")
    for words in (
        ["run", "--month", "2026-02", "--promote"],
        ["report", "2026-02", "--include-text"],
        ["diagnose", "2026-02", "--include-text", "--rows", "5"],
        ["eval", "--golden", "prior-months", "--report-only"],
        ["doctor", "--threads", "1"],
        ["labels"],
    ):
        done = call(*words, "-w", launched)
        assert done.code == 0, (words, done.err, done.out)


@pytest.mark.parametrize("name", ["2026-02.xls", "export_2026_02.txt", "202602-part1.jsonl"])
def test_no_month_is_recorded_as_empty_beside_what_looks_like_its_feedback(launched: Path, name: str) -> None:
    (launched / "feedback/2026-02.jsonl").rename(launched / "feedback" / name)
    for words in (("--allow-empty",), ("--dry-run",), ()):
        done = call("run", "--month", "2026-02", "-w", launched, *words)
        assert done.code == 65, words
        assert f"{name}: looks like the month's feedback and is not read" in done.err
    assert not (launched / "runs/2026-02").exists()


@pytest.mark.parametrize(("name", "data"), [("2026-02.parquet", b"PAR1"), ("2026-02.csv", b"")])
def test_a_dry_run_refuses_what_a_run_cannot_read(launched: Path, name: str, data: bytes) -> None:
    (launched / "feedback/2026-02.jsonl").unlink()
    (launched / "feedback" / name).write_bytes(data)
    assert call("run", "--month", "2026-02", "-w", launched, "--dry-run").code == 65


@pytest.mark.parametrize(
    ("name", "data", "shown"),
    [
        ("t.jsonl", b"\n \n{", False),  # a line that has not ended may be cut
        ("t.jsonl", b"\n{}\n", True),
        ("t.csv", b"text,label\n", False),
        ("t.csv", b"text,label\n,\n \n", False),
        ("t.csv", b"text,label\na,b\n", True),
        ("t.csv", b"sep=;\ntext;label\n", False),
        ("t.parquet", b"PAR1", False),
    ],
)
def test_a_look_shows_whether_there_is_a_row(tmp_path: Path, name: str, data: bytes, shown: bool) -> None:
    (tmp_path / name).write_bytes(data)
    assert surely_has_rows(tmp_path / name) is shown


def workbook(folder: Path, rows: list[list[object]], *others: str) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for name in others:
        book.create_sheet(name)
    book.save(folder / "t.xlsx")
    return folder / "t.xlsx"


def test_the_first_sheet_of_a_workbook_is_a_table(tmp_path: Path) -> None:
    moment = datetime(2026, 2, 1, 10, 0)
    rows: list[list[object]] = [
        ["text", "label", None, "created_at"],
        ["a", "b", "x", moment],
        [None, "", None, None],
    ]
    table = read_table(workbook(tmp_path, [*rows, ["N/A", 7, None, None]], "notes"))
    assert [(row.line, row.value) for row in table.rows] == [
        (2, {"text": "a", "label": "b", "created_at": "2026-02-01T10:00:00"}),
        (4, {"text": "N/A", "label": 7, "created_at": None}),
    ]
    assert table.told == ("it is the sheet 'Sheet'; 1 other sheet(s) are not read",)


def test_a_workbook_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadData, match="cannot be read as an Excel workbook"):
        read(tmp_path, "t.xlsx", b"PK no archive")
    file = workbook(tmp_path, [["text", "text"]])
    with pytest.raises(BadData, match="the header must name every column once"):
        read_table(file)
    with pytest.raises(BadData, match="its first sheet, 'Sheet', is empty"):
        read_table(workbook(tmp_path, []))
    monkeypatch.setattr("pipeline.sources.xlsx.FILE_LIMIT_BYTES", 100)
    with pytest.raises(BadData, match=r"unpacks to [0-9]+ bytes, at most 100 are read"):
        read_table(file)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(BadConfig, match=r"pip install 'monthly-retrain\[xlsx\]'"):
        read_table(file)


CELLS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\x1a"), min_size=1, max_size=30
)


@given(
    rows=st.lists(st.tuples(CELLS, st.sampled_from(["refund", "delivery"])), min_size=1, max_size=8),
    delimiter=st.sampled_from([",", ";", "\t"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    ending=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_a_csv_writer_wrote_is_read_back_or_refused_by_line(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    delimiter: str,
    quoting: Literal[0, 1],
    ending: str,
    encoding: str,
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=ending)
    writer.writerow(["id", "text", "label"])
    writer.writerows([str(n), cell, label] for n, (cell, label) in enumerate(rows))
    folder = tmp_path_factory.mktemp("csv")
    table = read(folder, "t.csv", text.getvalue().encode(encoding))
    if all(isinstance(row.value, dict) for row in table.rows):
        found = [(row.value["text"], row.value["label"]) for row in table.rows if isinstance(row.value, dict)]
        assert found == rows
    else:
        assert any("look like rows" in str(row.value) for row in table.rows)
        assert any(f"{delimiter}refund" in cell or f"{delimiter}delivery" in cell for cell, _ in rows)
