"""Too little room is told before the work begins."""

from pathlib import Path

import pytest

from pipeline.errors import CannotWrite
from pipeline.store.disk import require_free_space


def test_enough_room_is_silent(tmp_path: Path) -> None:
    require_free_space(tmp_path, 1, purpose="fine-tuning")


def test_too_little_room_is_told_with_both_sizes(tmp_path: Path) -> None:
    expected = r"fine-tuning needs 1,099,511,627,776 MiB of free space, there are [0-9,]+ MiB\. Free some"
    with pytest.raises(CannotWrite, match=expected):
        require_free_space(tmp_path, 2**60, purpose="fine-tuning")


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match="none: cannot ask for the free space of it"):
        require_free_space(tmp_path / "none", 1, purpose="fine-tuning")
