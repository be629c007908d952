"""Strict JSON refuses what Python's own reader lets through."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.store import strict_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_every_json_value_survives_the_round_trip(value: object) -> None:
    assert strict_json.parse(json.dumps(value)) == value
    assert strict_json.parse(json.dumps(value, ensure_ascii=False).encode("utf-8")) == value


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b"[-Infinity]", "-Infinity is not a JSON number"),
        (b"[1e999]", "the number 1e999 is too large"),
        (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' occurs twice"),
        (b'["\\ud800"]', "half of a surrogate pair"),
        (b'{"\\udfff": 1}', "half of a surrogate pair"),
        (b'["\xff"]', "not UTF-8 at byte 3"),
        (b"[1,", "not JSON: .* at line 1, column 4"),
        (b"", "not JSON"),
        (b"[" * 65 + b"]" * 65, "nested deeper than 64 levels"),
        (b"[" * 100_000, "nested deeper than 64 levels"),
        (b"9" * 5000, "a number of 5000 digits"),
    ],
)
def test_what_is_not_strict_json_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        strict_json.parse(data)


def test_the_deepest_permitted_nesting_is_read() -> None:
    assert strict_json.parse("[" * 64 + "]" * 64) is not None


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert strict_json.parse(b'"\\ud83d\\ude00"') == "\N{GRINNING FACE}"
