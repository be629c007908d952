"""What the bits of a run depend on besides code, config, data and seed: read from this machine."""

import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from pipeline.store.records import Environment

PACKAGES = (
    "accelerate", "monthly-retrain", "numpy", "peft", "pyarrow", "pydantic",
    "safetensors", "scipy", "tokenizers", "torch", "transformers",
)  # fmt: skip
"""The packages whose versions are recorded, where they are installed."""

_GIT_SECONDS = 5


def gather_environment(
    *, device: str, precision: str, threads: int, torch_facts: Mapping[str, str | None]
) -> Environment:
    """Record this machine and its software.

    Args:
        device: where the model runs, such as `cpu` or `cuda:0`.
        precision: of training, such as `fp32`.
        threads: torch's threads within one operation.
        torch_facts: `cpu_capability`, and `accelerator` (a name) where there is one; asked of torch by the
            caller, because importing it takes seconds.
    """
    commit, dirty = _git_state()
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        machine=platform.machine(),
        cpu_capability=torch_facts.get("cpu_capability") or "unknown",
        accelerator=torch_facts.get("accelerator"),
        threads=threads,
        device=device,
        precision=precision,
        packages=_versions(),
        git_commit=commit,
        git_dirty=dirty,
    )


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _git_state() -> tuple[str | None, bool | None]:
    """The commit of this code and whether it was changed since; None outside a checkout."""
    # ls-files fails where the package is merely installed inside somebody else's checkout
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None, None
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain", "--untracked-files=no")
    return commit, None if status is None else bool(status)


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
