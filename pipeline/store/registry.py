"""The registry: which checkpoint serves, how it came to, and the `champion` link that follows it.

`registry.json` is the truth and is replaced first; the link is for servers and is mended when it lags behind.
Call what writes here with the workspace's lock held.
"""

import os

from pipeline.errors import ArtifactCorrupt, NoInput
from pipeline.store import atomic, reading
from pipeline.store.hashing import FISHER_FILE, checkpoint_hash
from pipeline.store.records import (
    Action,
    CheckpointRef,
    GateOutcome,
    Promotion,
    Registry,
    read_registry_file,
    write_record,
)
from pipeline.store.remaking import remaking
from pipeline.store.removed_weights import removed_weights
from pipeline.store.workspace import Workspace


def read_registry(workspace: Workspace) -> Registry:
    """The registry; an empty one where nothing was promoted yet.

    Raises:
        ArtifactCorrupt: it is damaged, or missing though an attempt was promoted.
    """
    registry = read_registry_file(workspace.registry_file)
    if registry.champion is None:
        workspace.require_nothing_promoted()
    return registry


def promote(
    workspace: Workspace,
    ref: CheckpointRef,
    *,
    action: Action,
    by: str,
    reason: str,
    verdict: GateOutcome | None,
    at: str,
) -> Registry:
    """Make a checkpoint the champion, after proving that it is what its record says.

    Promoting the champion again changes nothing but a link that lags behind: a run that was killed after the
    promotion repeats it safely.

    Args:
        ref: the checkpoint.
        action: how it comes about, for the history.
        by: who, such as a login name.
        reason: why, in words.
        verdict: what the gate had said, if it was asked.
        at: when, UTC, ISO 8601 in seconds with Z.

    Returns:
        The registry as it now is.

    Raises:
        ArtifactCorrupt: the checkpoint or the registry is damaged; nothing was written.
        AccessDenied, CannotWrite: as `atomic.write_file`.
    """
    registry = read_registry_file(workspace.registry_file)
    verify_checkpoint(workspace, ref)
    if registry.champion != ref:
        entry = Promotion(
            action=action,
            checkpoint=ref,
            previous=registry.champion,
            at=at,
            by=by,
            reason=reason,
            verdict=verdict,
        )
        registry = Registry(champion=ref, history=(*registry.history, entry))
        write_record(workspace.registry_file, registry)
    mend_link(workspace, registry)
    return registry


def rollback(workspace: Workspace, *, by: str, reason: str, at: str) -> Registry:
    """Make the champion before the present one the champion again; a second rollback goes one further back.

    Raises:
        NoInput: there is no earlier champion.
        ArtifactCorrupt: the earlier checkpoint or the registry is damaged; nothing was written.
        AccessDenied, CannotWrite: as `atomic.write_file`.
    """
    target = rollback_target(workspace)
    return promote(workspace, target, action="rollback", by=by, reason=reason, verdict=None, at=at)


def rollback_target(workspace: Workspace, month: str | None = None) -> CheckpointRef:
    """The champion that a rollback goes back to: that of a month, or the one before the present one.

    Raises:
        NoInput: there is none.
        ArtifactCorrupt: the registry is damaged.
    """
    line = succession(read_registry(workspace))
    if month is None:
        if len(line) < 2:
            raise NoInput(
                f"{workspace.registry_file}: there is no earlier champion to go back to. Run: retrain status"
            )
        return line[-2]
    target = next((ref for ref in reversed(line) if ref.month == month), None)
    if target is None:
        raise NoInput(
            f"{workspace.registry_file}: no champion of {month} led to the present one; found "
            f"{', '.join(ref.month for ref in line) or 'none'}. Run: retrain status"
        )
    return target


def roll_back_to(workspace: Workspace, month: str, *, by: str, reason: str, at: str) -> Registry:
    """Go back, champion by champion, to the one of a month; where it is the champion already, nothing is done.

    Only the champion that is gone back to is proved, and the history is written once: what lies between may have lost its
    weights, and there is no stopping halfway.

    Raises:
        NoInput: no champion that led to the present one is of that month, or its weights were removed; nothing was written.
        ArtifactCorrupt, AccessDenied, CannotWrite: as `rollback`.
    """
    rollback_target(workspace, month)
    registry = read_registry(workspace)
    line, history = succession(registry), registry.history
    while line[-1].month != month:
        left = line.pop()
        history = (
            *history,
            Promotion(
                action="rollback",
                checkpoint=line[-1],
                previous=left,
                at=at,
                by=by,
                reason=reason,
                verdict=None,
            ),
        )
    if history != registry.history:
        verify_checkpoint(workspace, line[-1])
        registry = Registry(champion=line[-1], history=history)
        write_record(workspace.registry_file, registry)
    mend_link(workspace, registry)
    return registry


def succession(registry: Registry) -> list[CheckpointRef]:
    """The champions that led to the present one, oldest first; those that were rolled back are left out."""
    line: list[CheckpointRef] = []
    for entry in registry.history:
        if entry.action == "rollback":
            line.pop()
        else:
            line.append(entry.checkpoint)
    return line


def verify_checkpoint(workspace: Workspace, ref: CheckpointRef) -> None:
    """Prove that the checkpoint in the workspace is the one that a record names.

    Raises:
        ArtifactCorrupt: it is missing or has another hash.
        NoInput: its weights were removed on purpose.
    """
    folder = workspace.resolve(ref.path)
    if has_lost_weights(workspace, ref):
        raise NoInput(
            f"{folder}: the weights of attempt {ref.attempt} were removed by retrain gc, expected a whole checkpoint. "
            "Restore them from a backup, or name a newer attempt; which ones there are says: retrain status"
        )
    mend = f"Restore it from a backup, or run: {remaking(workspace.runs / ref.month)}"
    try:
        found = checkpoint_hash(folder)
    except NoInput:
        raise ArtifactCorrupt(
            f"{folder}: the checkpoint of attempt {ref.attempt} is missing. {mend}"
        ) from None
    if found != ref.sha256:
        raise ArtifactCorrupt(
            f"{folder}: damaged: attempt {ref.attempt} recorded the checkpoint's hash {ref.sha256}, "
            f"it has {found}. {mend}"
        )


def has_lost_weights(workspace: Workspace, ref: CheckpointRef) -> bool:
    """Whether a checkpoint's weights were removed on purpose, so that nothing can start from it.

    Raises:
        ArtifactCorrupt: the record of it is damaged.
    """
    month, _, number = ref.attempt.partition("/")
    attempt = workspace.runs / month / number
    lost = removed_weights(attempt)
    return any(
        workspace.resolve(ref.path) in (attempt / name).parents
        for name in lost
        if not name.endswith(FISHER_FILE)
    )


def mend_link(workspace: Workspace, registry: Registry | None = None) -> bool:
    """Point the `champion` link where the registry says; returns whether it had to be changed.

    Raises:
        ArtifactCorrupt: the registry is damaged.
        AccessDenied, CannotWrite: as `atomic.replace_link`.
    """
    champion = (registry or read_registry_file(workspace.registry_file)).champion
    if champion is None:
        return False
    link = workspace.champion_link
    target = workspace.resolve(champion.path)
    if reading.kind_of(link) == "symbolic link" and os.readlink(link) == os.path.relpath(target, link.parent):
        return False
    atomic.replace_link(link, target)
    return True


def link_problem(workspace: Workspace) -> str | None:
    """What is wrong with the `champion` link that servers follow; None where it leads to the champion.

    Raises:
        ArtifactCorrupt: as `read_registry`.
    """
    champion, link = read_registry(workspace).champion, workspace.champion_link
    kind = reading.kind_of(link)
    if kind not in ("nothing", "symbolic link"):
        return f"{link}: expected the link to the champion, found a {kind}. Move it away"
    if champion is None:
        return (
            None if kind == "nothing" else f"{link}: leads to {os.readlink(link)}, and there is no champion"
        )
    target = os.path.relpath(workspace.resolve(champion.path), link.parent)
    found = os.readlink(link) if kind == "symbolic link" else "nothing"
    if found == target:
        return None
    return (
        f"{link}: leads to {found}, the champion is {target}. The next run mends it, at once: "
        f"retrain promote {champion.attempt}"
    )
