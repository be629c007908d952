"""Warn of a month that one user or one label floods, or stop it: the defence against poisoned feedback."""

import logging
from collections import Counter

from pipeline.errors import BadData
from pipeline.floods import jumping_labels
from pipeline.label_changes import present_rows
from pipeline.recorded.rows import training_rows
from pipeline.rows import CheckedRows, UserCap
from pipeline.stages.stage import RunContext

MONTHS_BEFORE = 6
"""Months that a label's share is compared with: more would make each later month read more."""
MOST_TOLD = 5
"""Users and labels that the log names."""
logger = logging.getLogger("retrain")


def user_cap(context: RunContext) -> UserCap:
    """What one user may give, as the configuration says."""
    ingest = context.config.ingest
    return UserCap(ingest.max_user_share, ingest.floods == "refuse", context.config.seed)


def watch_floods(context: RunContext, checked: CheckedRows, where: str) -> list[str]:
    """Tell of users and labels with more of a month than is expected, in words for the summary, too.

    Raises:
        BadData: a label's share jumps, and the configuration refuses that.
    """
    settings = context.config.ingest
    refused = settings.floods == "refuse"
    for flood in checked.floods[:MOST_TOLD]:
        left = (
            " (ingest.max_user_share); rows beyond it are left out" if refused else " (ingest.max_user_share)"
        )
        logger.warning("ingest: %s%s", flood, left)
    jumps = jumping_labels(
        [row.label for row in checked.rows], labels_before(context), settings.max_label_jump
    )
    for flood in jumps[:MOST_TOLD]:
        logger.warning("ingest: %s, by its share in the months before (ingest.max_label_jump)", flood)
    if jumps and refused:
        raise BadData(
            f"{where}: {jumps[0]}, by its share in the months before. Look at who sent them. If they are meant: "
            f"-o ingest.max_label_jump={min(1.0, jumps[0].share):.2f}"
        )
    return [str(flood) for flood in (*checked.floods, *jumps)]


def labels_before(context: RunContext) -> Counter[str]:
    """How many rows each label had in the feedback of some months before; at the launch where there was none yet."""
    line = context.line[1:][-MONTHS_BEFORE:] or context.line
    rows = [row for ref in line for row in training_rows(context.workspace.attempt(ref.attempt))]
    return Counter(row.label for row in present_rows(rows, context.label_changes))
