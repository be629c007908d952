"""JSON as this project accepts it: UTF-8, no duplicate keys, finite numbers, bounded depth, whole characters."""

import json
import math
from typing import NoReturn

DEEPEST = 64
"""The greatest nesting of lists and objects that is accepted."""


def parse(data: bytes | str) -> object:
    """Parse one JSON document.

    Args:
        data: UTF-8 bytes, or text.

    Raises:
        ValueError: with a short reason, when the document is not strict JSON. Python's own reader accepts
            `NaN`, repeated keys, `1e999` and lone surrogates, and overflows its stack on deep nesting.
    """
    if isinstance(data, bytes):
        try:
            data = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8 at byte {error.start + 1}") from None
    try:
        value = _DECODER.decode(data)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise ValueError(f"nested deeper than {DEEPEST} levels") from None
    if not _is_plain(data):
        _check(value)
    return value


def _is_plain(text: str) -> bool:
    """Whether a look at a document tells that `_check` would find nothing, which it does of most."""
    return text.isascii() and "\\u" not in text and text.count("[") + text.count("{") <= DEEPEST


def _check(root: object) -> None:
    """Refuse lone surrogates and deep nesting, without recursion."""
    waiting: list[tuple[object, int]] = [(root, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, str):
            _check_text(value)
            continue
        if not isinstance(value, dict | list):
            continue
        if depth > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST} levels")
        if isinstance(value, dict):
            for key in value:
                _check_text(key)
            value = list(value.values())
        waiting.extend((item, depth + 1) for item in value)


def _check_text(text: str) -> None:
    # isascii is much quicker than encoding, and true of most text
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("half of a surrogate pair, which is no character") from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {repeated!r} occurs twice")
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _int(text: str) -> int:
    if len(text) > 400:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_int=_int, parse_constant=_constant
)
