"""Every way in which the pipeline refuses to go on.

RetrainError
├── UsageError            the command line asks for something that does not exist
├── BadConfig             a configuration value, key or file is wrong
├── BadData               the rows are there, but cannot be used
├── NoInput               a file, month or checkpoint that is needed is absent
├── ArtifactCorrupt       an artifact is not what was recorded, or belongs to another one
├── TrainingDiverged      a loss, penalty or weight is not finite
├── CannotWrite           the disk is full, or an input/output error
├── AccessDenied          the operating system forbids a read or write
├── WorkspaceLocked       another run holds the workspace
└── StoppedBySignal       SIGINT or SIGTERM; running again resumes

A message says where, what was expected, what was found, and what to run next. The library raises;
`cli.exit_codes` maps each class to the exit code of the process.
"""


class RetrainError(Exception):
    """Base of all errors that a user can cause or mend; its text is shown as it is, without a traceback."""


class UsageError(RetrainError):
    """The command line names something that does not exist or does not fit together."""


class BadConfig(RetrainError):
    """A configuration key is unknown, or a value is wrong; the text lists every problem at once."""


class BadData(RetrainError):
    """Rows cannot be used: unknown labels, too many refused rows, a file that is not what its name says."""


class NoInput(RetrainError):
    """Something that must be read is absent: a month's feedback, a golden set, a champion."""


class ArtifactCorrupt(RetrainError):
    """An artifact's bytes, shapes or binding differ from what was recorded."""


class TrainingDiverged(RetrainError):
    """A loss, penalty or weight became infinite or not a number; nothing was promoted."""


class CannotWrite(RetrainError):
    """The file system refused a write: full, read-only, or broken."""


class AccessDenied(RetrainError):
    """The operating system denied access to a path."""


class WorkspaceLocked(RetrainError):
    """Another process holds the workspace's lock."""


class StoppedBySignal(RetrainError):
    """The run was stopped by a signal and can be resumed.

    Args:
        message: what was saved, and the command that resumes.
        signum: the signal's number, 2 (SIGINT) or 15 (SIGTERM).
    """

    def __init__(self, message: str, *, signum: int) -> None:
        super().__init__(message)
        self.signum = signum
