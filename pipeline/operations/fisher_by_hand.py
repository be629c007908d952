"""A checkpoint's Fisher by hand: as the month would compute it, or of rows, parameters and a place that a person names."""

from dataclasses import replace
from pathlib import Path

from pipeline.config import Config
from pipeline.errors import BadData, NoInput, UsageError
from pipeline.progress import Progress
from pipeline.recorded.lineage import require_sound
from pipeline.recorded.rows import training_hash, training_rows
from pipeline.rows import Row
from pipeline.stages.feedback_files import read_records
from pipeline.stages.fisher import ensure_fisher, metadata_of
from pipeline.stages.fisher_pass import FisherSettings, estimate_fisher
from pipeline.store.fisher_file import write_fisher
from pipeline.store.hashing import FISHER_FILE, checkpoint_hash, sha256_file
from pipeline.store.output_places import require_place_for_a_fisher
from pipeline.store.workspace import Found, Workspace


def compute_fisher(
    workspace: Workspace,
    checkpoint: str,
    config: Config,
    *,
    data: Path | None,
    output: Path | None,
    force: bool,
    device: str,
    progress: Progress,
    pattern: str | None = None,
    until_stable: float = 0.0,
) -> tuple[Path, str] | None:
    """Compute a checkpoint's Fisher by hand.

    Without `data`, for a checkpoint that the workspace made, this is what the monthly job would compute,
    put where it looks for it. With `data`, the Fisher covers just those rows.

    Returns:
        The file, and why `auto` picked its estimator ('' when nothing was computed or picked); None in a process that
        another one leads, which tells of it.

    Raises:
        NoInput: when there is no such checkpoint, or no data is known for it.
        UsageError: when the file exists and `force` is not given, or other data would take the place where the
            monthly job looks.
    """
    found = workspace.find(checkpoint)
    file = output if output is not None else found.checkpoint / FISHER_FILE
    _refuse_the_jobs_place(found, file, data)
    if output is not None:
        require_place_for_a_fisher(output, force=force)
    require_sound(workspace, found)
    settings = replace(FisherSettings.of(config), pattern=pattern or "*", until_stable=until_stable)
    as_the_job = pattern is None and not until_stable
    if data is None and output is None and found.ref is not None and as_the_job:
        return ensure_fisher(
            workspace, found.ref, settings, device=device, progress=progress, force=force
        ), ""
    if data is None and found.run is None:
        raise NoInput(f"{found.checkpoint}: it is not known what it was trained on. Give it with --data FILE")
    if file.exists() and not force:
        raise UsageError(
            f"{file}: exists already. Replace it with --force, or write elsewhere with --output FILE"
        )
    if data is not None:
        data_sha256 = sha256_file(data)
        rows = _rows_by_hand(data, data_sha256, found.checkpoint)
    else:
        assert found.run is not None
        rows, data_sha256 = tuple(training_rows(found.run)), training_hash(found.run)
    alone = replace(settings, months="latest", gamma=1.0)
    done = estimate_fisher(found.checkpoint, rows, alone, device=device, progress=progress)
    diagonal = {name: tensor.cpu() for name, tensor in done.estimate.diagonal.items()}
    metadata = metadata_of(
        done,
        diagonal,
        alone,
        checkpoint_sha256=checkpoint_hash(found.checkpoint, follow_links=found.run is None),
        data_sha256=data_sha256,
        months=(),
    )
    if done.processes.leads:
        write_fisher(file, diagonal, metadata)
    done.processes.wait()
    return (file, done.estimate.reason) if done.processes.leads else None


def _refuse_the_jobs_place(found: Found, file: Path, data: Path | None) -> None:
    """Other data's Fisher, where the next month looks for that of the training rows, would stop that month."""
    own = (found.checkpoint / FISHER_FILE).resolve()
    if data is not None and found.run is not None and file.resolve() == own:
        raise UsageError(
            f"{file}: is where the next month looks for the Fisher of what attempt {found.run.attempt} was trained "
            f"on; found --data {data}, which would stop that month. Write elsewhere with --output FILE, or leave "
            "--data out"
        )


def _rows_by_hand(data: Path, sha256: str, checkpoint: Path) -> tuple[Row, ...]:
    """The rows of a file of that hash that is given for a checkpoint; of its task."""
    from pipeline.modeling.tasks import task_of

    checked = task_of(checkpoint).check(read_records(data, name=data.name, sha256=sha256), checkpoint)
    if checked.rejected:
        first = checked.rejected[0]
        raise BadData(
            f"{data}: {len(checked.rejected)} of {len(checked.rejected) + len(checked.rows)} rows cannot be used. "
            f"First: line {first.line}: {first.reason}"
        )
    return checked.rows
