"""Free memory is what the kernel or a container's limit leaves, whichever is less."""

from pathlib import Path

import pytest
import torch

from pipeline.modeling.memory import free_bytes

CPU = torch.device("cpu")
KILOBYTE, MEGABYTE = 2**10, 2**20


def system(folder: Path, *, available: str, limit: str | None = None) -> dict[str, Path]:
    (folder / "meminfo").write_text(f"MemTotal: 9999 kB\n{available}", encoding="ascii")
    if limit is not None:
        (folder / "memory.max").write_text(f"{limit}\n", encoding="ascii")
        (folder / "memory.current").write_text(f"{6 * MEGABYTE}\n", encoding="ascii")
        (folder / "memory.stat").write_text(f"anon 7\ninactive_file {MEGABYTE}\n", encoding="ascii")
    return {"meminfo": folder / "meminfo", "cgroup": folder}


@pytest.mark.parametrize(
    ("limit", "free"),
    [
        (None, 8 * MEGABYTE),
        ("max", 8 * MEGABYTE),
        (str(10 * MEGABYTE), 5 * MEGABYTE),
        (str(100 * MEGABYTE), 8 * MEGABYTE),
        (str(MEGABYTE), 0),
    ],
)
def test_the_nearer_of_kernel_and_container_counts(tmp_path: Path, limit: str | None, free: int) -> None:
    available = f"MemAvailable: {8 * KILOBYTE} kB\n"
    assert free_bytes(CPU, **system(tmp_path, available=available, limit=limit)) == free


def test_a_system_that_does_not_say_gives_nothing(tmp_path: Path) -> None:
    assert free_bytes(CPU, **system(tmp_path, available="")) is None
    assert free_bytes(CPU, meminfo=tmp_path / "absent", cgroup=tmp_path / "absent") is None
    assert free_bytes(torch.device("meta")) is None
