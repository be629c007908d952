"""What a month brings, as its ingest counted it: what the recipe is chosen by."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.recipe import MonthContents
from pipeline.recorded.names import SUMMARY_FILE
from pipeline.store import reading
from pipeline.store.stage_directory import require_output


def recorded_contents(ingested: Path) -> MonthContents | None:
    """What a finished ingest folder holds; None before there is one."""
    file = ingested / SUMMARY_FILE
    if not file.exists():
        return None
    summary: Any = reading.read_json(require_output(ingested, SUMMARY_FILE))
    return MonthContents(
        rows=summary["train"],
        new_labels=len(summary["new_labels"]),
        new_label_rows=summary.get("new_label_rows", 0),  # which early releases did not count
    )


def cut_texts(summary: Mapping[str, Any]) -> dict[str, str]:
    """In words, how many texts are longer than the model reads; empty where ingest did not count them."""
    counted = {"cut rows": "lengths", "cut golden": "golden_lengths"}
    return {
        title: f"{found['cut']:,} of {found['texts']:,} ({found['enough']} tokens hold 99% of them whole)"
        for title, key in counted.items()
        if (found := summary.get(key))
    }
