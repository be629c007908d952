"""Exports as people really have them, from the folder beside the project: what is accepted, refused and told."""

import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from tests import toy
from tests.conftest import Done, call

CASES = Path(__file__).parents[3] / "shared" / "cases" / "ingest"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is absent")
KIND = ("-o", "ingest.kind=correction")
ACCEPTED = {
    "c_date_epochms": (),
    "c_epoch_jsonl": (),
    "c_date_tzname": (),
    "c_semicolon": (),
    "c_utf16": (),
    "c_gz": (),
    "c_array": (),
    "c_index_csv": (),
    "c_emptyrows_csv": (),
    "c_decimal_parquet": (),
    "c_nested_extra_parquet": (),
    "c_nanfloat_pa_parquet": (),
    "c_string_view": (),
    "c_classlabel": (),
    "c_floatid_parquet": (),
    "c_listlabel_parquet": (),
    "c_doccano": KIND,
    "c_ls_min": KIND,
    "c_ls_csv": KIND,
    "c_argilla": KIND,
    "c_rasa": KIND,
    "c_nokind_csv": KIND,
    "c_header_other": ("-o", "ingest.columns={text: utterance, label: intent}"),
    "c_dsdisk": (),
    "c_wslabel": (),
}
TOLD = {
    "c_semicolon": "separated by semicolons",
    "c_utf16": "its encoding is utf-16",
    "c_ls_min": "Label Studio's flat export",
    "c_ls_csv": "Label Studio's flat export",
    "c_argilla": "Argilla's export",
    "c_rasa": "Rasa's training data",
    "c_classlabel": "its whole-number labels stand for the 3 names",
    "c_dsdisk": "a folder that datasets saved",
    "c_wslabel": "is read as 'delivery'",
}


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    workspace = toy.write_workspace(folder / "workspace", toy.write_base(folder / "base"))
    texts = {
        "refund": "please give my money back",
        "delivery": "where is my parcel",
        "login": "cannot sign in",
    }
    rows = [{"text": f"{texts[label]} {n}", "label": label} for n in range(8) for label in texts]
    toy.write_jsonl(workspace / "launch.jsonl", rows)
    shutil.rmtree(workspace / "golden")
    shutil.rmtree(workspace / "feedback")
    (workspace / "feedback").mkdir()
    golden = [
        {"text": f"{text} golden {n}", "label": label} for label, text in texts.items() for n in range(20)
    ]
    toy.write_jsonl(workspace / "golden" / "2026-01.jsonl", golden)
    done = call("launch", "--data", workspace / "launch.jsonl", "--month", "2026-01", "-w", workspace)
    assert done.code == 0, done.err
    return workspace


@pytest.fixture
def workspace(launched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(launched, tmp_path / "workspace", symlinks=True))


def ingested(workspace: Path, case: str, *options: str) -> tuple[Done, dict[str, Any], list[dict[str, Any]]]:
    source = CASES / case
    for part in source.iterdir() if source.is_dir() else [source]:
        name = part.name if source.is_dir() else f"2026-02{part.suffix}"
        target = workspace / "feedback" / name
        shutil.copytree(part, target) if part.is_dir() else shutil.copy(part, target)
    done = call("ingest", "--month", "2026-02", "-w", workspace, *options)
    folder = next(iter(sorted((workspace / "runs/2026-02").glob("*/ingest"))), None)
    if done.code or folder is None:
        return done, {}, []
    rejected = (folder / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    return done, json.loads((folder / "summary.json").read_text()), [json.loads(line) for line in rejected]


def accounted(summary: dict[str, Any]) -> int:
    return sum(summary[part] for part in ("rows", "rejected", "passed_over", "given_again"))


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_people_export_is_read(workspace: Path, case: str) -> None:
    done, summary, _ = ingested(workspace, case, *ACCEPTED[case])
    assert done.code == 0, done.err
    assert (summary["rows"], summary["rejected"], summary["labels"]) == (100, 0, 3)
    assert summary["read"] == accounted(summary) == 100
    assert TOLD.get(case, "") in done.err


@pytest.mark.parametrize(
    ("case", "told"),
    [
        (
            "c_header_other",
            "found the columns id, created_at, kind, utterance, intent; text and label are missing",
        ),
        ("c_header_other", "Set ingest.columns.text: utterance, ingest.columns.label: intent"),
        ("c_nokind_csv", "kind is missing. Set ingest.kind: correction"),
    ],
)
def test_columns_that_are_missing_are_told_with_the_setting(workspace: Path, case: str, told: str) -> None:
    done, *_ = ingested(workspace, case)
    assert done.code == 65
    assert told in done.err


def test_a_stray_quote_costs_its_own_line_alone(workspace: Path) -> None:
    done, summary, rejected = ingested(workspace, "c_unbalanced1")
    assert done.code == 0, done.err
    assert (summary["rows"], summary["rejected"]) == (99, 1)
    assert rejected[0]["line"] == 11
    assert "a quote that opens here does not close in the right place" in rejected[0]["reason"]


def test_two_stray_quotes_never_give_a_row_another_rows_label(workspace: Path) -> None:
    done, summary, rejected = ingested(workspace, "c_unbalanced2")
    assert done.code == 0, done.err
    assert summary["read"] == accounted(summary) == 100
    assert [row["line"] for row in rejected] == [11, 41]


def test_times_since_1970_in_a_file_of_several_months_are_read(workspace: Path) -> None:
    done, summary, _ = ingested(workspace, "all_epoch.csv")
    assert done.code == 0, done.err
    assert (summary["rows"], summary["passed_over"]) == (100, 0)


def test_only_what_was_accepted_in_prodigy_is_learned(workspace: Path) -> None:
    rows = [json.loads(line) for line in (CASES / "c_prodigy_bin/2026-02.jsonl").read_text().splitlines()]
    accepted = sum(row["answer"] == "accept" for row in rows)
    done, summary, rejected = ingested(workspace, "c_prodigy_bin", "-o", "ingest.max_rejected=1")
    assert done.code == 0, done.err
    assert (summary["rows"], summary["rejected"]) == (accepted, len(rows) - accepted)
    assert {row["reason"] for row in rejected} == {
        f"the answer is '{answer}' in Prodigy: only what was accepted is learned"
        for answer in {row["answer"] for row in rows} - {"accept"}
    }


def test_a_text_with_two_labels_is_decided_by_the_policy_and_told(workspace: Path) -> None:
    done, summary, rejected = ingested(workspace, "c_dup_text_conflict")
    assert done.code == 0, done.err
    assert summary["rejected_by_rule"]["conflict"] == len(rejected) > 0
    assert "have a text that others give another label" in done.err
    assert summary["read"] == accounted(summary)


@pytest.mark.parametrize(("launch", "month"), [("launch", "2026-02"), ("launch", "few"), ("variants", "few")])
def test_labels_and_texts_are_the_same_in_every_unicode_form(
    launched: Path, tmp_path: Path, launch: str, month: str
) -> None:
    fresh = toy.write_workspace(tmp_path / "fresh", launched / "base")
    for name in ("2026-01", "2026-02"):
        shutil.copy(CASES / f"nfd/golden-{name}.jsonl", fresh / "golden" / f"{name}.jsonl")
    shutil.copy(CASES / f"nfd/{month}.jsonl", fresh / "feedback/2026-02.jsonl")
    done = call("launch", "--data", CASES / f"nfd/{launch}.jsonl", "--month", "2026-01", "-w", fresh)
    assert done.code == 0, done.err
    done = call("ingest", "--month", "2026-02", "-w", fresh, "-o", "ingest.max_rejected=1")
    assert done.code == 0, done.err
    names = json.loads((fresh / "runs/2026-02/001/ingest/labels.json").read_text())
    folded = ["".join(unicodedata.normalize("NFKC", label).casefold().split()) for label in names]
    assert len(set(folded)) == len(names)
