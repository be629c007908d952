"""The programs `retrain` and `fisher`: their commands, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from importlib import metadata
from types import FrameType
from typing import Annotated, NoReturn

import typer

from cli import (
    commands_backtest,
    commands_config,
    commands_explain,
    commands_fisher,
    commands_labels,
    commands_maintenance,
    commands_month,
    commands_registry,
    commands_view,
    render,
)
from cli.exit_codes import BUG, exit_code
from pipeline.errors import AccessDenied, CannotWrite, RetrainError, StoppedBySignal
from pipeline.store.atomic import set_file_mask

retrain = typer.Typer(
    name="retrain",
    help="Retrain a text classifier every month on its feedback, with forgetting bounded, measured and explained.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
fisher = typer.Typer(
    name="fisher",
    help="Compute and look at the Fisher diagonal of a checkpoint.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        render.data(f"monthly-retrain {metadata.version('monthly-retrain')}")
        raise typer.Exit


@retrain.callback()
@fisher.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


commands_month.register(retrain)
commands_view.register(retrain)
commands_explain.register(retrain)
commands_registry.register(retrain)
commands_labels.register(retrain)
commands_backtest.register(retrain)
commands_config.register(retrain)
commands_maintenance.register(retrain)
commands_fisher.register(fisher)
retrain.add_typer(fisher, name="fisher")


OWNER_ONLY = 0o077
"""Feedback holds what customers wrote: nobody else may read what is made from it."""


def run_retrain() -> None:
    """The program `retrain`; raises SystemExit where its code is not 0."""
    _run("retrain", retrain)


def run_fisher() -> None:
    """The program `fisher`; as `run_retrain`."""
    _run("fisher", fisher)


def retrain_process() -> NoReturn:
    """The console script `retrain`: a process of its own."""
    _end_with(run_retrain)


def fisher_process() -> NoReturn:
    """The console script `fisher`."""
    _end_with(run_fisher)


def _end_with(program: Callable[[], None]) -> NoReturn:
    """Run a program and end the process with its exit code, at once.

    Threads of the libraries that are still there when the interpreter is torn down abort some processes in a hundred, with
    134 for an exit code after all was done and said.
    """
    code = 0
    try:
        program()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else BUG if ended.code else 0
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # whoever read it is gone, or the disk is full
            code = code or exit_code(CannotWrite())
    os._exit(code)


def _run(program: str, app: Callable[[], None]) -> None:
    global _stopped
    _stopped = None
    set_file_mask(OWNER_ONLY)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    try:
        _unless_stopped(app)
    except RetrainError as error:
        render.failure(program, str(error))
        sys.exit(exit_code(error))
    except PermissionError as error:
        render.failure(program, f"{error.filename or error}: access denied: {error.strerror}")
        sys.exit(exit_code(AccessDenied()))
    except OSError as error:
        render.failure(program, f"{error.filename or 'input/output'}: {error.strerror or error}")
        sys.exit(exit_code(CannotWrite()))
    except Exception as error:
        render.failure(program, f"a bug in this program: {type(error).__name__}: {error}")
        if os.environ.get("RETRAIN_DEBUG"):
            traceback.print_exc()
        else:
            render.note("Set RETRAIN_DEBUG=1 and run it again to see where, and report it.")
        sys.exit(BUG)


def _unless_stopped(app: Callable[[], None]) -> None:
    """Run an app; what a library makes of a signal's exception on the way is taken for the signal again."""
    try:
        app()
    except SystemExit as ended:
        if (
            _stopped is None or ended.code != BUG
        ):  # 1 is what click makes of an interruption, and no command's own end
            raise
        raise _stopped from ended
    except Exception as error:
        if _stopped is None or error is _stopped or isinstance(error, StoppedBySignal):
            raise
        raise _stopped from error


_stopped: StoppedBySignal | None = None
"""The signal that came, if one did."""


def _stop(signum: int, frame: FrameType | None) -> None:
    global _stopped
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # a second signal stops at once
    _stopped = StoppedBySignal(
        f"stopped by {signal.Signals(signum).name}; nothing finished is lost. Run the same command again to resume",
        signum=signum,
    )
    raise _stopped
