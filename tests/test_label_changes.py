"""What labels are called after any number of renames, merges and retirements."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.label_changes import ChangeKind, LabelChange, LabelChanges
from pipeline.labels import LabelSet
from pipeline.months import Month

MAY = Month(2026, 5)
LABELS = LabelSet(("a", "b", "c", "d"))


def changed(*changes: tuple[ChangeKind, str, str | None]) -> LabelChanges:
    return LabelChanges(tuple(LabelChange(*change, MAY) for change in changes))


def test_without_changes_everything_is_as_it_was() -> None:
    none = LabelChanges()
    assert none.renamed(LABELS) is not None
    assert none.renamed(LABELS) == LABELS
    assert (none.name_of("a"), none.retired("a"), none.closed_ids(LABELS)) == ("a", None, ())


def test_a_chain_of_renames_ends_at_the_last_name_and_the_first_id() -> None:
    changes = changed(("rename", "a", "x"), ("rename", "x", "y"))
    assert [changes.name_of(name) for name in ("a", "x", "y")] == ["y", "y", "y"]
    assert changes.renamed(LABELS).ids["y"] == 0
    assert changes.renamed(LabelSet(("x", "b"))).ids["y"] == 0  # a model that has the first rename


def test_a_name_that_was_taken_back_is_the_present_one() -> None:
    changes = changed(("rename", "a", "x"), ("rename", "x", "a"))
    assert (changes.name_of("a"), changes.name_of("x")) == ("a", "a")
    assert changes.renamed(LABELS) == LABELS
    assert changes.renamed(LabelSet(("x", "b", "c", "d"))) == LABELS


def test_merges_and_retirements_close_ids_and_keep_names() -> None:
    changes = changed(("merge", "a", "b"), ("rename", "b", "bee"), ("retire", "c", None))
    labels = changes.renamed(LABELS)
    assert labels.names == ("a", "bee", "c", "d")
    assert changes.closed_ids(labels) == (0, 2)
    assert changes.merges(labels) == ((0, 1),)
    assert changes.name_of("a") == "bee"
    assert changes.retired("c") is not None
    assert changes.retired("a") is None


def test_a_label_that_was_merged_into_a_retired_one_is_retired() -> None:
    changes = changed(("merge", "a", "b"), ("retire", "b", None))
    assert changes.retired("a") == changes.changes[1]


def test_only_changes_after_the_launch_and_up_to_the_month_are_in_force() -> None:
    months = [Month(2026, number) for number in (1, 2, 3, 4)]
    changes = LabelChanges(tuple(LabelChange("rename", str(m), f"{m}x", m) for m in months))
    assert [c.since for c in changes.between(months[0], months[2]).changes] == months[1:3]


def test_a_name_never_goes_from_one_id_to_another() -> None:
    changes = changed(("rename", "b", "x"), ("merge", "x", "a"))
    with pytest.raises(UsageError, match="was the name of another label"):
        changes.require_sense(LabelChange("rename", "a", "b", MAY), changes.renamed(LABELS))


def test_a_name_that_came_by_itself_is_not_renamed_onto() -> None:
    with pytest.raises(UsageError, match="retrain labels merge 'a' 'b'"):
        changed(("rename", "a", "b")).renamed(LABELS)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["rename", "merge", "retire"]),
            st.sampled_from("abcdxyz"),
            st.sampled_from("abcdxyz"),
        ),
        max_size=12,
    )
)
def test_whatever_is_accepted_leaves_every_id_one_name_and_every_present_name_itself(
    wishes: list[tuple[ChangeKind, str, str]],
) -> None:
    changes = LabelChanges()
    for kind, label, to in wishes:
        wish = LabelChange(kind, label, None if kind == "retire" else to, MAY)
        try:
            changes.require_sense(wish, changes.renamed(LABELS))
        except UsageError:
            continue
        changes = LabelChanges((*changes.changes, wish))
    labels = changes.renamed(LABELS)
    assert len(labels) == len(LABELS)
    live = [name for name in labels.names if name not in changes.closed]
    assert len(live) >= 2
    for name in live:
        assert changes.name_of(name) == name  # an answer of today is read as it stands
        assert changes.retired(name) is None
    for name in LABELS.names:
        assert changes.name_of(name) in live or changes.retired(name) is not None
    assert changes.renamed(labels) == labels  # a model that has all changes stays as it is
