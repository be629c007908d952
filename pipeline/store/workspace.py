"""Where everything lies: the workspace, its months, and what a REF names in it."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ArtifactCorrupt, NoInput, UsageError
from pipeline.months import Month
from pipeline.store import atomic, reading
from pipeline.store.hashing import checkpoint_hash
from pipeline.store.records import CheckpointRef, read_registry_file
from pipeline.store.refusals import explained
from pipeline.store.remaking import MONTH_FORM, remaking
from pipeline.store.run_directory import RunDirectory

_NUMBER = re.compile(r"\A[0-9]{3,6}\Z")


@dataclass(frozen=True)
class Found:
    """What a REF names: a checkpoint's folder, and the attempt that it belongs to, if any."""

    checkpoint: Path
    run: RunDirectory | None
    ref: CheckpointRef | None
    """None for a folder outside the workspace's runs."""


class Workspace(os.PathLike[str]):
    """The folder with `retrain.yaml`, feedback, golden sets, runs and the registry; made by `retrain init`.

    Args:
        root: the folder; symbolic links above and at it are resolved once. `runs` itself may be a link, to where there
            is room; none is followed inside of it.

    Raises:
        UsageError: the folder's path is no UTF-8 text, which tokenizers cannot open.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        try:
            str(self.root).encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError(
                f"{self.root}: expected a path of UTF-8 text, found other bytes. Rename the folder"
            ) from None
        self.config_file = self.root / "retrain.yaml"
        self.feedback = self.root / "feedback"
        self.golden = self.root / "golden"
        self.runs = self.root / "runs"
        self.registry_file = self.root / "registry.json"
        self.champion_link = self.root / "champion"
        self.label_changes_file = self.root / "label-changes.json"

    def __fspath__(self) -> str:
        return str(self.root)

    def __repr__(self) -> str:
        return f"Workspace({str(self.root)!r})"

    def relative(self, path: Path) -> str:
        """A path inside the workspace as the records write it: POSIX, relative.

        Raises:
            UsageError: the path lies outside the workspace.
        """
        try:
            return Path(os.path.abspath(path)).relative_to(self.root).as_posix()
        except ValueError:
            raise UsageError(f"{path}: lies outside the workspace {self.root}") from None

    def name_of(self, path: Path) -> str:
        """A file as records and messages name it wherever it lies: POSIX, seen from the workspace."""
        return Path(os.path.relpath(path, self.root)).as_posix()

    def resolve(self, relative: str) -> Path:
        """The path of something that a record names; symbolic links on the way, but for `runs` itself, are refused.

        Raises:
            ArtifactCorrupt: the name leads outside the workspace, or a link is on the way.
        """
        parts = relative.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\0" in relative:
            raise ArtifactCorrupt(f"{self.root}: a record names the path {relative!r}, which is not inside")
        path = self.root
        for part in parts:
            path = path / part
            if path != self.runs:
                _refuse_link(path)
        return path

    def sweep(self) -> list[Path]:
        """Remove what killed processes left unfinished; with the lock held. Users' own folders are left alone.

        Returns:
            The paths that were removed.

        Raises:
            AccessDenied, CannotWrite: as `atomic.sweep`.
        """
        removed = atomic.sweep(self.root, below=False)
        if self.runs.is_dir():
            removed += atomic.sweep(self.runs.resolve())
        return removed

    def months(self) -> list[Month]:
        """The months that have attempts, in order."""
        return [
            Month.parse(folder.name) for folder in _folders(self.runs, MONTH_FORM) if self._attempts(folder)
        ]

    def attempts(self, month: Month) -> list[RunDirectory]:
        """A month's attempts, oldest first; a folder in which nothing was written yet is none.

        Raises:
            ArtifactCorrupt: a symbolic link stands where a month or an attempt should be.
        """
        folder = self.runs / str(month)
        _refuse_link(folder)
        return self._attempts(folder)

    def latest_attempt(self, month: Month) -> RunDirectory | None:
        """A month's newest attempt, None when it has none."""
        attempts = self.attempts(month)
        return attempts[-1] if attempts else None

    def attempt(self, attempt_id: str) -> RunDirectory:
        """The attempt of an id such as `2026-03/001`.

        Raises:
            UsageError: it is not such an id. NoInput: there is no such attempt.
        """
        month, _, number = attempt_id.partition("/")
        if not MONTH_FORM.match(month) or not _NUMBER.match(number):
            raise UsageError(f"attempt {attempt_id!r}: expected an id such as 2026-03/001")
        for run in self.attempts(Month.parse(month)):
            if run.folder.name == number:
                return run
        raise NoInput(f"attempt {attempt_id}: there is none in {self.root}. {self._existing()}")

    def new_attempt(self, month: Month) -> RunDirectory:
        """Make the folder of a month's next attempt; one that was left empty is used again.

        Raises:
            AccessDenied, CannotWrite: as `atomic.make_folder`.
        """
        begun = self.latest_attempt(month)
        number = begun.number + 1 if begun else 1
        run = RunDirectory(self.runs / str(month) / f"{number:03d}")
        atomic.make_folder(run.folder)
        return run

    def find(self, ref: str) -> Found:
        """The checkpoint that a REF names.

        `champion`: the registry's. A month: its newest promoted attempt, or, when none was promoted, its newest
        finished attempt with a candidate; never one that is still running. An attempt id: that attempt's
        candidate. Anything else is a path, of a checkpoint's folder or of an attempt's, from the current
        folder or from the workspace.

        Raises:
            NoInput: there is nothing of that name; the text lists what exists.
            ArtifactCorrupt: a record on the way is damaged, or a symbolic link is inside `runs/`.
        """
        if ref == "champion":
            champion = read_registry_file(self.registry_file).champion
            if champion is None:
                self.require_nothing_promoted()
                raise NoInput(
                    f"{self.registry_file}: there is no champion yet. Run: retrain launch --data FILE"
                )
            return self._found(champion, self.attempt(champion.attempt))
        if MONTH_FORM.match(ref):
            return self._find_month(Month.parse(ref))
        month, _, number = ref.partition("/")
        if MONTH_FORM.match(month) and _NUMBER.match(number):
            run = self.attempt(ref)
            return self._found(self._candidate(run), run)
        return self._find_path(ref)

    def require_nothing_promoted(self) -> None:
        """Refuse a workspace that names no champion though it had one.

        Raises:
            ArtifactCorrupt: the registry is lost; names what mends it.
        """
        promoted = self._served() or self._newest_promoted()
        if promoted is not None:
            raise ArtifactCorrupt(
                f"{self.registry_file}: is missing, though {promoted} was promoted: nothing says which checkpoint is the "
                f"champion. Restore it from a backup, or run: retrain promote {promoted}"
            )

    def _served(self) -> str | None:
        """The attempt that the `champion` link leads to."""
        if reading.kind_of(self.champion_link) != "symbolic link":
            return None
        path = self.root / os.readlink(self.champion_link)
        if not path.is_relative_to(self.runs):
            return None
        attempt = "/".join(path.relative_to(self.runs).parts[:2])
        there = [run.attempt for month in self.months() for run in self.attempts(month) if run.has_manifest()]
        return attempt if attempt in there else None

    def _newest_promoted(self) -> str | None:
        for month in reversed(self.months()):
            for run in reversed(self.attempts(month)):
                verdict = run.read_manifest().verdict if run.has_manifest() else None
                if verdict is not None and verdict.promoted:
                    return run.attempt
        return None

    def _find_month(self, month: Month) -> Found:
        promoted: list[tuple[CheckpointRef, RunDirectory]] = []
        finished: list[tuple[CheckpointRef, RunDirectory]] = []
        ever_champion = {entry.checkpoint.attempt for entry in read_registry_file(self.registry_file).history}
        for run in self.attempts(month):
            if not run.has_manifest():
                continue
            manifest = run.read_manifest()
            if manifest.status != "finished" or manifest.candidate is None:
                continue
            finished.append((manifest.candidate, run))
            if run.attempt in ever_champion:
                promoted.append((manifest.candidate, run))
        if not finished:
            raise NoInput(f"month {month}: no finished attempt has a checkpoint. {self._existing()}")
        return self._found(*(promoted or finished)[-1])

    def _find_path(self, ref: str) -> Found:
        if "\0" in ref or not ref:
            raise NoInput(f"{ref!r}: is neither a month, nor an attempt, nor a path. {self._existing()}")
        for start in (Path.cwd(), self.root):
            path = self._seen_from_here(Path(os.path.abspath(start / ref)))
            if not _is_folder(path):
                continue
            if path == self.champion_link:
                return self.find("champion")
            inside = path.is_relative_to(self.runs)
            if inside:
                if any(part.startswith(".") for part in path.relative_to(self.runs).parts):
                    raise NoInput(f"{path}: belongs to a stage that is not finished. {self._existing()}")
                self.resolve(self.relative(path))
                month, _, rest = path.relative_to(self.runs).as_posix().partition("/")
                number, _, rest = rest.partition("/")
                if MONTH_FORM.match(month) and _NUMBER.match(number):
                    run = self.attempt(f"{month}/{number}")
                    if not rest:
                        return self._found(self._candidate(run), run)
                    if _is_checkpoint(path):
                        return Found(path, run, self.reference(path, run))
            if _is_checkpoint(path):
                return Found(path, None, None)
            raise NoInput(f"{path}: is no checkpoint (config.json is missing). {self._existing()}")
        raise NoInput(f"{ref!r}: is neither a month, nor an attempt, nor a folder. {self._existing()}")

    def _seen_from_here(self, path: Path) -> Path:
        """A path in the folder that `runs` is a link to, as one in `runs`."""
        elsewhere = self.runs.resolve()
        return self.runs / path.relative_to(elsewhere) if path.is_relative_to(elsewhere) else path

    def reference(self, checkpoint: Path, run: RunDirectory) -> CheckpointRef:
        """The record that names a checkpoint; reads all of its files to hash them."""
        return CheckpointRef(
            path=self.relative(checkpoint),
            sha256=checkpoint_hash(checkpoint),
            month=str(run.month),
            attempt=run.attempt,
        )

    def _candidate(self, run: RunDirectory) -> CheckpointRef:
        candidate = run.read_manifest().candidate if run.has_manifest() else None
        if candidate is None:
            raise NoInput(f"attempt {run.attempt}: has no checkpoint. {self._existing()}")
        return candidate

    def _found(self, ref: CheckpointRef, run: RunDirectory) -> Found:
        checkpoint = self.resolve(ref.path)
        if reading.kind_of(checkpoint) != "folder":
            raise ArtifactCorrupt(
                f"{checkpoint}: is missing; attempt {run.attempt} names it. "
                f"Restore it from a backup, or run: {remaking(self.runs / ref.month)}"
            )
        return Found(checkpoint, run, ref)

    def _attempts(self, folder: Path) -> list[RunDirectory]:
        runs = [RunDirectory(path) for path in _folders(folder, _NUMBER)]
        return sorted((run for run in runs if run.is_begun()), key=lambda run: run.number)

    def _existing(self) -> str:
        ids = [run.attempt for month in self.months() for run in self.attempts(month)]
        if not ids:
            return f"There are no attempts in {self.root} yet. Run: retrain launch --data FILE"
        shown = ", ".join(ids[-20:])
        return f"Attempts here: {'... ' if len(ids) > 20 else ''}{shown}. Run: retrain status"


def _folders(parent: Path, name: re.Pattern[str]) -> Iterator[Path]:
    """The folders below `parent` whose names match, in order; a symbolic link of such a name is refused."""
    with explained("list it", parent):
        try:
            entries = sorted(os.listdir(parent))
        except (FileNotFoundError, NotADirectoryError):
            return
    for entry in entries:
        path = parent / entry
        if name.match(entry):
            _refuse_link(path)
            if reading.kind_of(path) == "folder":
                yield path


def _is_checkpoint(path: Path) -> bool:
    with explained("look into it", path):
        return (path / "config.json").is_file()


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        # a name that is too long, or a folder on the way that may not be entered
        return False


def _refuse_link(path: Path) -> None:
    if reading.kind_of(path) == "symbolic link":
        raise ArtifactCorrupt(
            f"{path}: expected a file or folder, found a symbolic link; links are not followed here. Remove it"
        )
