"""Where and when a benchmark ran: stored beside its figures."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from pipeline.store.environment import gather_environment


def environment() -> dict[str, Any]:
    """Date, processor, load, threads, versions and commit."""
    facts = gather_environment(
        device="cpu",
        precision="fp32",
        threads=torch.get_num_threads(),
        torch_facts={"cpu_capability": torch.backends.cpu.get_cpu_capability(), "accelerator": None},
    )
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        **facts.model_dump(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )
