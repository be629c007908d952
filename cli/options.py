"""Options that many commands share, and the workspace that they name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import NoInput, UsageError

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.month.wish import Runtime
    from pipeline.months import Month

WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", "-w", help="The workspace's folder [default: $RETRAIN_WORKSPACE or here]."),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="A retrain.yaml; its folder is the workspace.")
]
OverrideOption = Annotated[
    list[str] | None, typer.Option("--override", "-o", metavar="KEY=VALUE", help="Such as -o ewc.lambda=10.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, max=1024, help="Threads of torch on the CPU.")
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", min=0, max=2**32 - 1, help="The same as -o seed=N.")
]
WaitOption = Annotated[
    float, typer.Option("--wait", min=0, metavar="SECONDS", help="Wait for a run that holds the workspace.")
]
MonthOption = Annotated[
    str | None, typer.Option("--month", metavar="YYYY-MM", help="[default: the previous month, UTC]")
]


def workspace_root(workspace: Path | None, config_file: Path | None) -> Path:
    """The workspace's folder: --workspace, the folder of -c, $RETRAIN_WORKSPACE, or the current one."""
    if workspace is not None:
        return workspace
    if config_file is not None:
        return config_file.parent
    return Path(os.environ.get("RETRAIN_WORKSPACE") or ".")


def existing_root(workspace: Path | None, config_file: Path | None) -> Path:
    """`workspace_root`, of a workspace that is there.

    Raises:
        NoInput: it is not, or the folder is none; or the configuration that is named is not there.
    """
    root = workspace_root(workspace, config_file)
    if config_file is not None and not config_file.is_file():
        raise NoInput(f"{config_file.absolute()}: there is no such configuration. Run: retrain init {root}")
    if config_file is None and not any((root / name).exists() for name in ("retrain.yaml", "runs")):
        raise NoInput(f"{root.absolute()}: there is no such workspace. Run: retrain init {root}")
    return root


def opened(
    workspace: Path | None, config_file: Path | None, overrides: list[str] | None, seed: int | None = None
) -> tuple[Path, Config]:
    """The workspace's folder, and its configuration in force.

    Raises:
        BadConfig: as `config_in_force`.
    """
    root = workspace_root(workspace, config_file)
    return root, config_in_force(root, config_file, overrides, seed)


def config_in_force(
    root: Path, config_file: Path | None, overrides: list[str] | None, seed: int | None = None
) -> Config:
    """The configuration by its precedence: options, environment, file, defaults. Files are written with its umask from now on.

    Raises:
        BadConfig: when there is no retrain.yaml, or anything in it is wrong.
    """
    from pipeline.config_loading import load_config
    from pipeline.store.atomic import set_file_mask

    extra = list(overrides or ()) + ([f"seed={seed}"] if seed is not None else [])
    config = load_config(config_file or root / "retrain.yaml", overrides=extra, environment=os.environ)
    set_file_mask(int(config.files.umask, 8))
    return config


@contextmanager
def locked_and_mended(root: Path, wait: float = 0.0) -> Iterator[bool]:
    """Hold the workspace, before anything heavy is imported; sweep what killed runs left in it.

    Yields:
        Whether the `champion` link lagged behind the registry, as a command that was stopped between them leaves it.

    Raises:
        UsageError: a launcher started several processes of the command, of which each would do the whole work.
    """
    processes = os.environ.get("WORLD_SIZE", "1")
    if processes not in ("", "0", "1"):
        raise UsageError(
            f"WORLD_SIZE is {processes}: a launcher such as torchrun started several processes, and a workspace is worked "
            "on by one. Run the command without the launcher"
        )
    from pipeline.store.lock import workspace_lock

    with workspace_lock(root, wait_seconds=wait):
        from pipeline.store.registry import mend_link
        from pipeline.store.workspace import Workspace

        space = Workspace(root)
        space.sweep()
        yield mend_link(space)


def prepare_torch(threads: int | None) -> int:
    """Quieten the libraries and set torch's threads; returns how many are used."""
    import torch

    from pipeline.modeling.checkpoint import quiet_libraries

    quiet_libraries()
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def month_or_previous(text: str | None) -> Month:
    """The month that is named, or the one before the present one in UTC."""
    from pipeline.months import Month

    return Month.parse(text) if text is not None else Month.of(datetime.now(UTC)).previous


def runtime(threads: int, device: str = "auto") -> Runtime:
    """What only the process knows: clock, bars, the command line and who runs it."""
    from cli.progress_bars import progress_on_stderr
    from pipeline.month.wish import Runtime

    # a path on the command line may hold bytes that are no text, and a manifest holds text alone
    words = (Path(sys.argv[0]).name, *sys.argv[1:])
    return Runtime(
        clock=lambda: datetime.now(UTC),
        device=device,
        threads=threads,
        command=tuple(word.encode("utf-8", "backslashreplace").decode("utf-8") for word in words),
        by=who_asks(),
        progress=progress_on_stderr(),
        environment=os.environ,
    )


def who_asks() -> str:
    """The user's name, for the registry's history."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
