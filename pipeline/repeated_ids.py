"""Rows that have one id, of which one alone can be kept."""

from collections.abc import Sequence

from pipeline.rows import Row


def repeated_ids(rows: Sequence[Row]) -> dict[int, int]:
    """Places of rows whose id another row has that is kept instead, to that row's place.

    The row that was given last is kept, of several such the first by kind, text and label.
    """
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.id, []).append(place)
    found: dict[int, int] = {}
    for same in places.values():
        if len(same) > 1:
            last = max(rows[place].created_at for place in same)
            newest = [place for place in same if rows[place].created_at == last]
            kept = min(newest, key=lambda place: (rows[place].kind, rows[place].text, rows[place].label))
            found |= {place: kept for place in same if place != kept}
    return found
