"""How much memory is free for a pass through a model."""

from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device, *, meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int | None:
    """Bytes that may still be allocated on a device; None where the system does not say.

    On a GPU: what the driver has free and what torch keeps unused. On a CPU (Linux): what the kernel says is
    available, or less where a container's limit is nearer.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + unused)
    if device.type != "cpu":
        return None
    found = [_available(meminfo), _below_limit(cgroup)]
    return min((bytes_ for bytes_ in found if bytes_ is not None), default=None)


def _available(meminfo: Path) -> int | None:
    for line in _lines(meminfo):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _below_limit(cgroup: Path) -> int | None:
    """The limit of a control group (version 2) less what is used of it, file cache that can go apart."""
    limit, used = _lines(cgroup / "memory.max"), _lines(cgroup / "memory.current")
    if not limit or not used or limit[0] == "max":
        return None
    cache = [line.split()[1] for line in _lines(cgroup / "memory.stat") if line.startswith("inactive_file ")]
    return max(int(limit[0]) - int(used[0]) + int(cache[0] if cache else 0), 0)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
