"""Is this machine fit to run the month? Versions, device, permissions, disk, clock, and a small write."""

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline.config import Config
from pipeline.config_loading import load_config
from pipeline.errors import RetrainError
from pipeline.months import Month
from pipeline.recorded.gate_evidence import recorded_power
from pipeline.recorded.golden_sets import golden_file, read_golden
from pipeline.recorded.lineage import ancestors, finished_attempt
from pipeline.recorded.names import SCORECARD_FILE
from pipeline.recorded.scorecards import recorded_scorecard
from pipeline.sources.table import dialect_of
from pipeline.store import atomic, reading
from pipeline.store.environment import gather_environment
from pipeline.store.lock import holder_of
from pipeline.store.registry import link_problem, read_registry
from pipeline.store.stage_directory import find_output
from pipeline.store.workspace import Workspace

LEAST_FREE_BYTES = 2**30
EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)
"""A clock before this was never set."""
TOLERANCE = timedelta(hours=1)
PROBE = ".doctor.probe"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        sound: False when a run would fail or its record would be wrong.
        text: what was found, and what to do about it.
    """

    name: str
    sound: bool
    text: str


def examine(
    workspace: Workspace, *, now: datetime, device: str = "auto", config_file: Path | None = None
) -> list[Finding]:
    """Look at everything; leaves nothing behind.

    Args:
        workspace: need not exist.
        now: the machine's time, UTC.
        device: as for `retrain run`.
        config_file: the configuration; None for the workspace's retrain.yaml.
    """
    found = [*_software(device)]
    config_file = config_file or workspace.config_file
    if not config_file.is_file():
        text = f"{config_file.parent}: no {config_file.name}. Run: retrain init {workspace.root}"
        return [*found, Finding("workspace", False, text)]
    return [
        *found,
        *_inputs(workspace, config_file),
        _permissions(workspace),
        _write(workspace),
        _disk(workspace),
        _clock(workspace, now),
        _lock(workspace),
    ]


def _software(device: str) -> list[Finding]:
    import torch

    from pipeline.modeling.device import choose_device, torch_facts

    try:
        chosen = choose_device(device)
    except RetrainError as error:
        return [Finding("device", False, str(error))]
    machine = gather_environment(
        device=str(chosen), precision="fp32", threads=torch.get_num_threads(), torch_facts=torch_facts()
    )
    versions = ", ".join(f"{name} {version}" for name, version in sorted(machine.packages.items()))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    crowded = machine.threads > cores
    return [
        Finding("python", True, f"{machine.python} on {machine.platform}"),
        Finding("packages", True, versions),
        Finding(
            "device",
            True,
            f"{machine.device}{f' ({machine.accelerator})' if machine.accelerator else ''}, "
            f"{machine.cpu_capability}",
        ),
        Finding(
            "threads",
            not crowded,
            f"{machine.threads} on {cores} usable core(s)"
            + (f"; more threads than cores are slower. Run with --threads {cores}" if crowded else ""),
        ),
    ]


def _inputs(workspace: Workspace, config_file: Path) -> list[Finding]:
    """The configuration, the registry, and the golden sets of the champion's line."""
    try:
        config = load_config(config_file, environment=os.environ)
    except RetrainError as error:
        return [Finding("configuration", False, str(error))]
    found = [Finding("configuration", True, str(config_file))]
    try:
        champion = read_registry(workspace).champion
        line = [Month.parse(ref.month) for ref in ancestors(workspace, champion)]
    except RetrainError as error:
        return [*found, Finding("registry", False, str(error))]
    wrong_link = link_problem(workspace)
    registered = f"champion of {line[-1]}" if line else "no champion yet"
    found.append(Finding("registry", wrong_link is None, wrong_link or registered))
    return [*found, _golden_sets(workspace, config, line), *_power(workspace)]


def _golden_sets(workspace: Workspace, config: Config, line: list[Month]) -> Finding:
    """Whether the golden set of each month of a line is there, can be read, and has rows enough for the gate."""
    wrong, lacking = [], []
    for month in line:
        try:
            file = golden_file(workspace, config.golden.path, month)
            if file is None:
                lacking.append(str(month))
                continue
            rows = len(read_golden(file, name=str(month), dialect=dialect_of(config)).rows)
        except RetrainError as error:
            wrong.append(str(error))
            continue
        if rows < config.gate.min_rows:
            wrong.append(f"{file}: {rows} rows, at least {config.gate.min_rows} needed, or the gate refuses")
    if lacking:
        wrong.append(
            f"none of {', '.join(lacking)}: the gate refuses without. Put them at {config.golden.path}"
        )
    return Finding("golden sets", not wrong, "; ".join(wrong) or f"of {len(line)} month(s)")


def _power(workspace: Workspace) -> list[Finding]:
    """What the golden rows are able to show, as the newest evaluation found it, of a promoted month or a refused one."""
    try:
        for month in reversed(workspace.months()):
            attempt = finished_attempt(workspace, month)
            if attempt is None or find_output(attempt.stage("eval"), SCORECARD_FILE) is None:
                continue
            text = recorded_power(attempt.read_manifest(), recorded_scorecard(attempt.stage("eval")))
            if text is not None:
                return [Finding("golden rows", True, f"{month}: {text}")]
    except RetrainError as error:
        return [Finding("golden rows", False, str(error))]
    return [Finding("golden rows", True, "the first month will tell what they are able to show")]


def _permissions(workspace: Workspace) -> Finding:
    mode = workspace.root.stat().st_mode
    open_to_all = bool(mode & 0o022)
    wanting = [
        str(path)
        for path in (workspace.root, workspace.runs)
        if path.exists() and not os.access(path, os.R_OK | os.W_OK | os.X_OK)
    ]
    if wanting:
        return Finding(
            "permissions", False, f"cannot read and write {', '.join(wanting)}. Check the owner and mode"
        )
    text = f"{workspace.root} has the mode {mode & 0o777:o}"
    return Finding(
        "permissions",
        not open_to_all,
        text + ("; others may write to it. Run: chmod go-w" if open_to_all else ""),
    )


def _write(workspace: Workspace) -> Finding:
    probe = workspace.root / PROBE
    content = b"a small write test"
    try:
        atomic.write_file(probe, content)
        same = reading.read_file(probe) == content
        atomic.remove_tree(probe)
    except RetrainError as error:
        return Finding("write test", False, str(error))
    return Finding(
        "write test", same, "written, flushed, read back and removed" if same else "read back other bytes"
    )


def _disk(workspace: Workspace) -> Finding:
    free = shutil.disk_usage(workspace.runs if workspace.runs.is_dir() else workspace.root).free
    enough = free >= LEAST_FREE_BYTES
    advice = "" if enough else ". Free some space, or run: retrain gc --keep 12 --dry-run"
    return Finding("disk", enough, f"{free / 2**30:.1f} GiB free{advice}")


def _clock(workspace: Workspace, now: datetime) -> Finding:
    if now < EARLIEST:
        return Finding(
            "clock", False, f"{now:%Y-%m-%d %H:%M} UTC: was never set. The default month depends on it"
        )
    try:
        times = [entry.at for entry in read_registry(workspace).history]
    except RetrainError:
        times = []  # told as the registry's
    last = max((datetime.fromisoformat(at) for at in times), default=EARLIEST)
    if last > now + TOLERANCE:
        return Finding(
            "clock",
            False,
            f"{now:%Y-%m-%d %H:%M} UTC lies before the last promotion ({last:%Y-%m-%d %H:%M}). Set it",
        )
    return Finding("clock", True, f"{now:%Y-%m-%d %H:%M} UTC")


def _lock(workspace: Workspace) -> Finding:
    holder = holder_of(workspace.root)
    return Finding("lock", True, "free" if holder is None else f"held by {holder.rstrip(',')}")
