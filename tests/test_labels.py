"""Label ids are positions, and positions never change."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.errors import ArtifactCorrupt
from pipeline.labels import LabelSet

names = st.lists(st.text(min_size=1), unique=True)


@given(names, names)
def test_old_ids_stay_when_names_are_added(old: list[str], added: list[str]) -> None:
    before = LabelSet(tuple(old))
    after = before.extended(added)
    assert after.names[: len(old)] == before.names
    assert set(after.names) == {*old, *added}


@given(names, names)
def test_adding_names_again_changes_nothing(old: list[str], added: list[str]) -> None:
    once = LabelSet(tuple(old)).extended(added)
    assert once.extended(added) == once


def test_new_names_are_appended_in_sorted_order_whatever_their_own() -> None:
    labels = LabelSet(("z", "b"))
    added = [f"label {letter}" for letter in "qwertzuiopasdfghjkl"]
    assert labels.extended([*added, "b"]).names == ("z", "b", *sorted(added))
    assert labels.extended(added) == labels.extended(added[::-1])


@given(names)
def test_label2id_of_a_configuration_is_read_back(given_names: list[str]) -> None:
    assume(given_names)
    labels = LabelSet(tuple(given_names))
    assert LabelSet.from_config({"label2id": labels.ids}, where="config.json") == labels


@pytest.mark.parametrize("label2id", [{"a": 1}, {"a": 0, "b": 2}, {"a": 0, "b": 0}, {"a": -1, "b": 0}])
def test_ids_with_a_gap_or_a_repetition_are_refused(label2id: dict[str, int]) -> None:
    with pytest.raises(ArtifactCorrupt, match=r"config\.json: label2id must map its names to the ids 0\.\."):
        LabelSet.from_config({"label2id": label2id}, where="config.json")


def test_a_name_that_occurs_twice_is_refused() -> None:
    with pytest.raises(ArtifactCorrupt, match="a name occurs twice"):
        LabelSet(("a", "b", "a"))


def test_length_membership_and_ids_agree() -> None:
    labels = LabelSet(("a", "b"))
    assert len(labels) == 2
    assert "b" in labels
    assert "c" not in labels
    assert labels.ids == {"a": 0, "b": 1}
