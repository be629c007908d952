"""Where results that a person asks for may be put: never over, or among, what is not theirs."""

from pathlib import Path

from pipeline.errors import ArtifactCorrupt, UsageError
from pipeline.store import reading
from pipeline.store.fisher_file import read_fisher_metadata
from pipeline.store.hashing import FISHER_FILE
from pipeline.store.lock import LOCK_FILE
from pipeline.store.workspace import Workspace


def require_place_for_a_page(workspace: Workspace, output: Path) -> None:
    """Refuse to put a page in the place of something else, such as a champion's weights, or among recorded files.

    Raises:
        UsageError: there is something that is no page, or the place lies in the runs or among the team's data.
    """
    _refuse_inside(workspace, output)
    kind = reading.kind_of(output)
    if kind == "nothing":
        return
    if kind != "file" or output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"--output {output}: expected a new file, or an earlier page (.html) to replace; found a {kind}. "
            "Name another file"
        )


def require_place_for_a_fisher(output: Path, *, force: bool) -> None:
    """Refuse to put a Fisher in the place of anything but a Fisher, or among recorded files.

    Args:
        output: the file that a person named.
        force: whether a Fisher that is there may be replaced.

    Raises:
        UsageError: something is there, or the place lies in the runs or among the team's data of a workspace.
    """
    for above in output.absolute().parents:
        if (above / "retrain.yaml").is_file():
            _refuse_inside(Workspace(above), output)
    kind = reading.kind_of(output)
    if kind == "nothing":
        return
    if kind != "file" or not _is_fisher(output):
        raise UsageError(
            f"--output {output}: expected a new file, or a Fisher's to replace with --force; found a {kind} that is none. "
            "Name another file"
        )
    if not force:
        raise UsageError(
            f"{output}: exists already. Replace it with --force, or write elsewhere with --output FILE"
        )


def require_place_for_a_backtest(workspace: Workspace, folder: Path) -> None:
    """Refuse to put a backtest's workspaces anywhere but in a new folder, an empty one, or an earlier backtest's.

    Raises:
        UsageError: there is something else, or the place lies in the runs or among the team's data.
    """
    _refuse_inside(workspace, folder)
    kind = "folder" if folder.is_dir() else reading.kind_of(folder)
    if kind == "nothing":
        return
    if kind != "folder" or (
        any(folder.iterdir()) and (not (folder / LOCK_FILE).exists() or (folder / "retrain.yaml").exists())
    ):
        raise UsageError(
            f"--output {folder}: expected a new folder, or an earlier backtest's; found a {kind} with something else in "
            "it. Name another folder"
        )


def _refuse_inside(workspace: Workspace, output: Path) -> None:
    for folder, content in (
        (workspace.runs, "whose files are recorded"),
        (workspace.golden, "which holds golden sets"),
        (workspace.feedback, "which holds feedback"),
    ):
        if output.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"--output {output}: lies in {folder}, {content}. Name another place")


def _is_fisher(file: Path) -> bool:
    if file.name == FISHER_FILE:
        return True  # damaged, perhaps, which is why it is made anew
    try:
        read_fisher_metadata(file)
    except ArtifactCorrupt:
        return False
    return True
