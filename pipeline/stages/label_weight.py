"""How many labels a month may bring: said before anything is trained on them."""

import logging
from collections import Counter
from collections.abc import Sequence

from pipeline.errors import BadData
from pipeline.rows import Row
from pipeline.stages.stage import RunContext

MANY_NEW_LABELS = 100
FEW_ROWS_A_LABEL = 2
"""A launch of less on average is warned of."""
logger = logging.getLogger("retrain")


def weigh_labels(
    context: RunContext, rows: Sequence[Row], known: Sequence[str], new: Sequence[str], where: str
) -> None:
    """Refuse more new labels than a month may bring, and warn of many, before anything is trained on them.

    Raises:
        BadData: with what it would cost, and what it most often means.
    """
    limit = context.config.ingest.max_new_labels
    counts = Counter(row.label for row in rows)
    own = sum(counts[label] for label in new)
    cost = (
        f"The head grows from {len(known)} to {len(known) + len(new)} labels, and every step, the Fisher and `retrain tune` "
        "become slower by it"
    )
    if context.base is not None and len(new) > limit:
        raise BadData(
            f"{where}: {len(new)} new labels in {own} rows, at most {limit} are expected (ingest.max_new_labels), such as "
            f"{', '.join(map(repr, new[:3]))}. Does the label column hold something else, such as an id? {cost}. If they "
            f"are meant: -o ingest.max_new_labels={len(new)}"
        )
    if context.base is not None and len(new) > max(MANY_NEW_LABELS, len(known)):
        logger.warning(
            "ingest: %d new labels in %d rows, %.1f rows each. %s", len(new), own, own / len(new), cost
        )
    if context.base is None and len(rows) < FEW_ROWS_A_LABEL * len(new) and len(new) > MANY_NEW_LABELS:
        logger.warning(
            "ingest: %d labels in %d rows. Does the label column hold something else, such as an id? A label of few rows "
            "is hardly learned",
            len(new),
            len(rows),
        )
