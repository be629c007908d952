"""What ingest measured of a month's drift, as the page shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.report.contents import Drift

NOT_TESTED = "–"


def recorded_drift(summary: Mapping[str, Any], *, include_text: bool) -> tuple[Drift, ...]:
    """A month's drift against each month that it was compared with; none at a launch, or of a release that measured none.

    Args:
        summary: what ingest recorded.
        include_text: whether new words are shown, which are what customers wrote.
    """
    from pipeline.report.contents import Drift

    return tuple(
        Drift(
            against=f"{found['month']} ({found['against']})",
            rows=found["rows"],
            labels=_labels(found["labels"]),
            words=_words(found["words"]),
            texts=_texts(found["texts"]),
            texts_of_like_labels=_texts(found["texts_of_like_labels"]),
            shifts=tuple(found["shifts"]),
            changed=tuple(
                (item["label"], f"{100 * item['before']:.1f}% → {100 * item['now']:.1f}%")
                for item in (found["labels"] or {}).get("changed", ())
            ),
            new_words=tuple(
                (word, f"{rows:,} of {found['words']['rows']:,} rows")
                for word, rows in found["words"]["new_in_rows"].items()
            )
            if include_text
            else (),
        )
        for found in summary.get("drift", ())
    )


def _labels(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return NOT_TESTED
    return f"V {found['cramers_v']:.2f}, {100 * found['total_variation']:.0f}% moved, p {found['p']:.2g}"


def _words(found: Mapping[str, Any]) -> str:
    usual = found["usual_share"]
    return f"{100 * found['new_share']:.1f}%" + (f" ({100 * usual:.1f}% usual)" if usual is not None else "")


def _texts(found: Mapping[str, Any] | None) -> str:
    return NOT_TESTED if found is None else f"MMD² {found['mmd2']:.4f}, p {found['p']:.2g}"
