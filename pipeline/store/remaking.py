"""Which command makes something of a month anew, for messages that can be copied."""

import os
import re
from pathlib import Path

MONTH_FORM = re.compile(r"\A(?!0000)[0-9]{4}-(0[1-9]|1[0-2])\Z")


def remaking(month: Path, *, force: bool = True) -> str:
    """The command for a month's folder `runs/<month>`: the first month of a workspace is its launch.

    Args:
        force: in a new attempt.
    """
    name = month.name if MONTH_FORM.match(month.name) else "MONTH"
    try:
        first = min((entry for entry in os.listdir(month.parent) if MONTH_FORM.match(entry)), default=None)
    except OSError:
        first = None
    return f"retrain {'launch --data FILE' if first == name else 'run'} --month {name}{' --force' if force else ''}"
