"""The product's own tables have equal bits."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ArtifactCorrupt, CannotWrite, NoInput
from pipeline.store.tables import (
    ColumnType,
    read_jsonl,
    read_parquet,
    write_jsonl,
    write_parquet,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COLUMNS: dict[str, ColumnType] = {"id": "string", "n": "int", "score": "float", "right": "bool"}


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.none() | TEXT,
            "n": st.none() | st.integers(-(2**63), 2**63 - 1),
            "score": st.none() | st.floats(allow_nan=False),
            "right": st.none() | st.booleans(),
        }
    ),
    max_size=5,
)


@given(rows=ROWS)
def test_parquet_rows_survive_the_round_trip_with_equal_bits(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]
) -> None:
    folder = tmp_path_factory.mktemp("round")
    write_parquet(folder / "a.parquet", rows, COLUMNS)
    write_parquet(folder / "b.parquet", rows, COLUMNS)
    assert read_parquet(folder / "a.parquet") == rows
    assert (folder / "a.parquet").read_bytes() == (folder / "b.parquet").read_bytes()


def test_rows_that_do_not_fit_their_columns_are_never_written(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        write_parquet(tmp_path / "t.parquet", [{"id": "a"}], COLUMNS)
    with pytest.raises((ValueError, TypeError)):
        write_parquet(tmp_path / "t.parquet", [{"n": "x"}], {"n": "int"})
    assert os.listdir(tmp_path) == []


def test_jsonl_rows_survive_the_round_trip(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"line": 1, "reason": "\N{SNOWMAN}\n"}, {}]
    write_jsonl(tmp_path / "t.jsonl", rows)
    assert read_jsonl(tmp_path / "t.jsonl") == rows
    write_jsonl(tmp_path / "t.jsonl", [])
    assert read_jsonl(tmp_path / "t.jsonl") == []


@pytest.mark.parametrize(
    ("read", "name", "reason"),
    [
        (read_jsonl, "t.jsonl", "line 1: not JSON"),
        (read_parquet, "t.parquet", "cannot be decoded as Parquet"),
    ],
)
def test_a_damaged_table_of_our_own_is_corrupt(
    tmp_path: Path, read: Callable[[Path], object], name: str, reason: str
) -> None:
    (tmp_path / name).write_bytes(b"{")
    with pytest.raises(ArtifactCorrupt, match=f"{name}: {reason}"):
        read(tmp_path / name)
    with pytest.raises(NoInput, match="there is no such file"):
        read(tmp_path / f"none-{name}")


def test_a_table_in_a_missing_folder_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match="its folder does not exist"):
        write_parquet(tmp_path / "none" / "t.parquet", [], COLUMNS)
