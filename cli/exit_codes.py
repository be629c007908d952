"""The one table from what went wrong to the exit code of the process."""

from pipeline import errors

DONE = 0
BUG = 1
GATE_REFUSED = 3
INTERRUPTED_BASE = 128

EXIT_CODES: dict[type[errors.RetrainError], int] = {
    errors.UsageError: 2,
    errors.TrainingDiverged: 4,
    errors.ArtifactCorrupt: 5,
    errors.BadData: 65,
    errors.NoInput: 66,
    errors.CannotWrite: 74,
    errors.WorkspaceLocked: 75,
    errors.AccessDenied: 77,
    errors.BadConfig: 78,
}


def exit_code(error: errors.RetrainError) -> int:
    """The exit code for an error; 128 + signal number when a signal stopped the run."""
    if isinstance(error, errors.StoppedBySignal):
        return INTERRUPTED_BASE + error.signum
    return EXIT_CODES[type(error)]
