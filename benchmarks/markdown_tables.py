"""Tables in Markdown."""

from collections.abc import Sequence


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A head and lines of as many cells."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def signed(points: float) -> str:
    """Two decimals with a sign, and none for what rounds to zero."""
    return f"{points:+.2f}" if round(points, 2) else "0.00"
