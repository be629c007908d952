"""Bytes to text: compression and encoding."""

from __future__ import annotations

import codecs
import io
import lzma
from pathlib import Path

from pipeline.errors import BadConfig, BadData
from pipeline.sources.table import FILE_LIMIT_BYTES

COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".xz": "xz"}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_PROBE_BYTES = 4096


def uncompressed(path: Path, data: bytes) -> bytes:
    """The content of a file whose last suffix names a compression; other files as they are.

    Raises:
        BadData: it is damaged, or holds more than is read.
    """
    kind = COMPRESSED.get(path.suffix.lower())
    if kind is None:
        return data
    import pyarrow as pa

    try:
        if kind == "xz":
            with lzma.open(io.BytesIO(data)) as stream:
                found = stream.read(FILE_LIMIT_BYTES + 1)
        else:
            with pa.CompressedInputStream(pa.BufferReader(data), kind) as stream:
                found = stream.read(FILE_LIMIT_BYTES + 1)
    except (OSError, EOFError, lzma.LZMAError, pa.ArrowException) as error:
        raise BadData(f"{path}: cannot be decompressed as {kind}: {str(error)[:200]}") from None
    if len(found) > FILE_LIMIT_BYTES:
        raise BadData(
            f"{path}: decompresses to more than {FILE_LIMIT_BYTES} bytes, which is the most that is read; split it"
        )
    return bytes(found)


def decoded(path: Path, data: bytes, encoding: str | None) -> tuple[str, str]:
    """The text of a file, and its encoding. Bytes that are none become lone surrogates, so that they cost their line alone.

    Args:
        encoding: what the team says; None finds out UTF-8 and UTF-16.

    Raises:
        BadConfig: there is no such encoding.
    """
    named = encoding or _found(data)
    try:
        codec = codecs.lookup(named)
    except LookupError:
        raise BadConfig(f"ingest.encoding {encoding!r}: there is no such encoding. Such as cp1252") from None
    for mark, of in _MARKS:
        if data.startswith(mark) and (codec.name == of or (codec.name == "utf-16" and of != "utf-8")):
            data, named = data.removeprefix(mark), of
    if codecs.lookup(named).name in ("utf-8", "ascii"):
        return data.decode("utf-8", "surrogateescape"), "utf-8"
    try:
        return data.decode(named), codecs.lookup(named).name
    except UnicodeDecodeError as error:
        raise BadData(
            f"{path}: is not {named} at byte {error.start + 1}. Save it as UTF-8, or set ingest.encoding"
        ) from None


def is_text(text: str) -> bool:
    """Whether all of it could be decoded."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


NOT_UTF_8 = "not UTF-8. Where the file has another encoding, set ingest.encoding, such as cp1252"


def _found(data: bytes) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding
    probe = data[:_PROBE_BYTES]
    for places, encoding in ((probe[1::2], "utf-16-le"), (probe[0::2], "utf-16-be")):
        if len(places) > 8 and places.count(0) > 0.9 * len(places):  # Latin letters, each with a zero byte
            return encoding
    return "utf-8"
