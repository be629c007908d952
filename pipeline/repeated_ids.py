"""Rows that are one row given several times, of which one alone can be kept: by their id, or by text and label."""

from collections.abc import Hashable, Sequence

from pipeline.rows import Row


def repeated_ids(rows: Sequence[Row]) -> dict[int, int]:
    """Places of rows whose id another row has that is kept instead, to that row's place.

    The row that was given last is kept, of several such the first by kind, text and label.
    """
    return _repeated(rows, [row.id for row in rows])


def repeated_texts(rows: Sequence[Row], texts: Sequence[str]) -> dict[int, int]:
    """The same of rows whose text and label another row has; of several given last the first by kind, text and id.

    Args:
        texts: of the rows, in the form in which texts are compared.
    """
    return _repeated(rows, [(text, row.label) for text, row in zip(texts, rows, strict=True)])


def _repeated(rows: Sequence[Row], keys: Sequence[Hashable]) -> dict[int, int]:
    places: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    found: dict[int, int] = {}
    for same in places.values():
        if len(same) > 1:
            last = max(rows[place].created_at for place in same)
            newest = [place for place in same if rows[place].created_at == last]
            kept = min(newest, key=lambda place: _order(rows[place]))
            found |= {place: kept for place in same if place != kept}
    return found


def _order(row: Row) -> tuple[str, ...]:
    return row.kind, row.text, row.label, row.id
