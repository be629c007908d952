"""Small records, checkpoints and attempts for the store's tests, and ways to disturb the writing of them."""

import json
import os
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

from pipeline.months import Month
from pipeline.store import atomic
from pipeline.store.records import (
    CheckpointRef,
    Environment,
    GateOutcome,
    Manifest,
    Registry,
    StageRecord,
)
from pipeline.store.registry import promote
from pipeline.store.run_directory import STAGES, RunDirectory
from pipeline.store.stage_directory import commit_stage, open_stage, require_stage
from pipeline.store.workspace import Workspace

KILLED = 137
AT = "2026-04-01T02:00:00Z"


def digest(letter: str) -> str:
    """Something that looks like a SHA-256."""
    return letter * 64


def environment() -> Environment:
    return Environment(
        python="3.11.7",
        platform="Linux",
        machine="x86_64",
        cpu_capability="AVX2",
        accelerator=None,
        threads=1,
        device="cpu",
        precision="fp32",
        packages={"torch": "2.13.0"},
        git_commit=None,
        git_dirty=None,
    )


def stage_record(stage: str = "ingest", *, seed: int = 0) -> StageRecord:
    return StageRecord(
        stage=stage, code_version="1", seed=seed, config={"rate": 0.5}, inputs={"feedback": digest("a")}
    )


def reference(attempt: str = "2026-03/001", letter: str = "c") -> CheckpointRef:
    return CheckpointRef(
        path=f"runs/{attempt}/finetune/checkpoint", sha256=digest(letter), month=attempt[:7], attempt=attempt
    )


def manifest(attempt: str = "2026-03/001", **changes: object) -> Manifest:
    values: dict[str, object] = {
        "month": attempt[:7],
        "attempt": attempt,
        "kind": "month",
        "arm": "ewc",
        "status": "running",
        "seed": 0,
        "config": {"version": 1},
        "parent": None,
        "candidate": None,
        "environment": environment(),
        "command": ("retrain", "run"),
    }
    return Manifest.model_validate({**values, **changes})


def verdict(*, passed: bool = True) -> GateOutcome:
    return GateOutcome(passed=passed, promoted=passed, forced=False, reasons=() if passed else ("a drop",))


def safetensors_bytes(value: float = 0.5) -> bytes:
    """A safetensors file with one tensor of two fp32 numbers, made without the library."""
    header = json.dumps({"weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(header)) + header + struct.pack("<2f", value, value)


def write_checkpoint(folder: Path, *, value: float = 0.5) -> None:
    atomic.make_folder(folder)
    atomic.write_json(folder / "config.json", {"model_type": "bert"})
    atomic.write_file(folder / "model.safetensors", safetensors_bytes(value))


def write_stage(run: RunDirectory, name: str) -> StageRecord:
    """Do a stage's work unless it is finished, as a run that is repeated after a fault does."""
    planned = stage_record(name)
    target = run.stage(name)
    if target.exists():
        return require_stage(target)
    partial = open_stage(target, planned.identity(), resumable=name == "finetune")
    if name == "finetune":
        atomic.write_file(partial / "resume" / "state.bin", b"state")
        write_checkpoint(partial / "checkpoint", value=float(run.folder.parent.name[-2:]))
    atomic.write_json(partial / "summary.json", {"stage": name, "month": run.folder.parent.name})
    return commit_stage(partial, target, planned)


def run_attempt(
    workspace: Workspace, month: str = "2026-03", *, promoted: bool = True, fresh: bool = False
) -> RunDirectory:
    """A month in small: four stages, the promotion, the finished manifest; repeated safely.

    Args:
        fresh: begin a new attempt where there is one already.
    """
    parsed = Month.parse(month)
    run = workspace.latest_attempt(parsed)
    if run is None or fresh:
        run = workspace.new_attempt(parsed)
    if run.has_manifest() and run.read_manifest().status == "finished":
        return run
    running = manifest(run.attempt)
    run.write_manifest(running)
    for name in STAGES:
        running = running.with_stage(write_stage(run, name))
        run.write_manifest(running)
    candidate = workspace.reference(run.checkpoint, run)
    gate = verdict(passed=promoted)
    if promoted:
        promote(
            workspace, candidate, action="promote", by="cron", reason="passed the gate", verdict=gate, at=AT
        )
    run.write_manifest(
        running.model_copy(
            update={
                "status": "finished",
                "candidate": candidate,
                "verdict": gate,
                "exit_code": 0 if promoted else 3,
            }
        )
    )
    return run


def tree(folder: Path) -> dict[str, bytes]:
    """Everything below a folder: file contents with their modes, and where links lead."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = b"-> " + os.readlink(path).encode()
        elif path.is_file():
            found[name] = oct(path.stat().st_mode).encode() + b" " + path.read_bytes()
        else:
            found[name] = oct(path.stat().st_mode).encode()
    return found


def count_steps(work: Callable[[], object]) -> int:
    """How many changes to the disk some work makes."""
    steps = 0

    def count(step: str, path: Path) -> None:
        nonlocal steps
        steps += 1

    atomic.fault_point = count
    try:
        work()
    finally:
        atomic.fault_point = _quiet
    return steps


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Do some work in a forked process that dies, as by kill -9, just before its change `number` to the disk.

    Returns:
        False when the work ended before that.
    """

    def doomed() -> int:
        left = number

        def die(step: str, path: Path) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os._exit(KILLED)

        atomic.fault_point = die
        work()
        return 0

    code = forked(doomed)
    assert code in (0, KILLED), f"the work failed by itself, exit code {code}"
    return code == KILLED


def forked(work: Callable[[], int]) -> int:
    """Do some work in a child process that shares nothing but the disk; returns its exit code, 1 for an error."""
    with warnings.catch_warnings():
        # Python warns of threads that a fork leaves behind; libraries' idle threads are not needed here
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os._exit(work())
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def failing_at(number: int, error: int, work: Callable[[], object]) -> None:
    """Do some work whose change `number` to the disk, and every later one, the operating system refuses."""
    left = number

    def fail(step: str, path: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(error, os.strerror(error), str(path))

    atomic.fault_point = fail
    try:
        work()
    finally:
        atomic.fault_point = _quiet


def champion_of(registry: Registry) -> str | None:
    return registry.champion.attempt if registry.champion else None


def _quiet(step: str, path: Path) -> None:
    return None
