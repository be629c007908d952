"""The typed records that the store keeps: stages, manifests, the registry; and how they are sealed.

A sealed file is JSON in exactly the form that `write_record` gives it, with the SHA-256 of its own content under
`self_sha256`: a changed bit or a cut tail is found on reading, and equal records are equal bytes.
"""

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from pipeline.errors import ArtifactCorrupt
from pipeline.store import atomic, reading
from pipeline.store.hashing import sha256_bytes, sha256_file, sha256_json

SEAL = "self_sha256"


def _inside(path: str) -> str:
    parts = path.split("/")
    if not path.isprintable() or "\\" in path or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{path!r} is not a plain path relative to the workspace")
    return str(PurePosixPath(path))


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MonthText = Annotated[str, Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")]
AttemptId = Annotated[str, Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])/[0-9]{3,6}$")]
StageName = Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,30}$")]
UtcSeconds = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]
RelativePath = Annotated[str, AfterValidator(_inside)]
"""POSIX, below the workspace (or the stage's folder), without `.` and `..`."""

Action = Literal["launch", "promote", "force", "rollback"]


class Record(BaseModel):
    """A frozen record; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StageRecord(Record):
    """What a stage read, and what it wrote; it lies as `record.json` in the stage's folder."""

    stage: StageName
    code_version: str
    seed: int
    config: dict[str, object]
    """The part of the configuration that the stage used."""
    inputs: dict[str, Sha256]
    """Logical name, or path relative to the workspace, to the SHA-256 of the content."""
    outputs: dict[RelativePath, Sha256] = {}
    """Path relative to the stage's folder to the SHA-256 of the content."""

    def identity(self) -> dict[str, object]:
        """Everything but the outputs: a stage is fresh when this equals what would be recorded now."""
        return self.model_dump(mode="json", exclude={"outputs"})


class Environment(Record):
    """What the bits of a run depend on besides code, config, data and seed."""

    python: str
    platform: str
    machine: str
    cpu_capability: str
    """The vector instructions that torch chose, such as AVX2."""
    accelerator: str | None
    """The accelerator's name, None on CPU."""
    threads: int
    device: str
    precision: str
    packages: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None


class CheckpointRef(Record):
    """Names one checkpoint: where it lies, what it is, and which attempt made it."""

    path: RelativePath
    sha256: Sha256
    month: MonthText
    attempt: AttemptId


class GateOutcome(Record):
    """What the gate said and what was done about it."""

    passed: bool
    promoted: bool
    forced: bool
    reasons: tuple[str, ...]

    @property
    def status(self) -> Literal["promoted", "kept", "refused"]:
        """In a word; `kept` passed and was not promoted."""
        return "promoted" if self.promoted else "kept" if self.passed else "refused"


class Manifest(Record):
    """Everything needed to repeat an attempt. It holds no times, so that equal runs are equal bits."""

    version: Literal[1] = 1
    month: MonthText
    attempt: AttemptId
    kind: Literal["launch", "month"]
    arm: str
    status: Literal["running", "finished"]
    seed: int
    config: dict[str, object]
    """The whole configuration, resolved."""
    parent: CheckpointRef | None
    candidate: CheckpointRef | None
    environment: Environment
    stages: dict[StageName, StageRecord] = {}
    files: dict[RelativePath, Sha256] = {}
    """Files of the attempt outside its stages, such as config.yaml, relative to the attempt's folder."""
    penalty: dict[str, str | float] | None = None
    """The penalty of the training: its kind, lambda as configured, and lambda on F itself."""
    verdict: GateOutcome | None = None
    exit_code: int | None = None
    command: tuple[str, ...] = ()

    @field_validator("command", mode="before")
    @classmethod
    def _printable(cls, value: object) -> object:
        # arguments that are not UTF-8 reach Python as lone surrogates, which JSON cannot hold
        if not isinstance(value, list | tuple):
            return value
        return tuple(str(word).encode("utf-8", "backslashreplace").decode() for word in value)

    def with_stage(self, record: StageRecord) -> "Manifest":
        """The same manifest with one stage's record put in."""
        return self.model_copy(update={"stages": {**self.stages, record.stage: record}})


class Promotion(Record):
    """One change of the champion."""

    action: Action
    checkpoint: CheckpointRef
    previous: CheckpointRef | None
    at: UtcSeconds
    by: str
    reason: str
    verdict: GateOutcome | None


class Registry(Record):
    """Which checkpoint is the champion, and how it became that; `registry.json` of the workspace."""

    version: Literal[1] = 1
    champion: CheckpointRef | None = None
    history: tuple[Promotion, ...] = ()


R = TypeVar("R", bound=BaseModel)


def render_record(record: BaseModel) -> bytes:
    """The sealed bytes of a record.

    Raises:
        ValueError: when it holds NaN or infinite numbers.
    """
    content = record.model_dump(mode="json")
    return atomic.render_json({**content, SEAL: sha256_json(content)})


def write_record(path: Path, record: BaseModel, *, read_only: bool = False) -> None:
    """Write a sealed record.

    Raises:
        AccessDenied, CannotWrite: as `atomic.write_file`.
    """
    atomic.write_file(path, render_record(record), read_only=read_only)


def read_record(path: Path, kind: type[R], *, mend: str) -> R:
    """Read a sealed record and prove that it is what was written.

    Args:
        path: the file.
        kind: the record's class.
        mend: what to run when the file is damaged, for the message.

    Raises:
        NoInput: there is no such file.
        ArtifactCorrupt: it is damaged, or was changed by hand, or is of another kind.
    """
    content = reading.read_json(path)
    if not isinstance(content, dict):
        raise ArtifactCorrupt(f"{path}: expected an object, found {type(content).__name__}. {mend}")
    recorded = content.pop(SEAL, None)
    found = sha256_json(content)
    if recorded != found:
        raise ArtifactCorrupt(
            f"{path}: damaged or changed by hand: its content should have the hash {recorded}, has {found}. {mend}"
        )
    try:
        record = kind.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'the whole'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise ArtifactCorrupt(f"{path}: not a {kind.__name__} of this version: {problems}. {mend}") from None
    # spelling that JSON reads alike, such as \u001F for \u001f, would slip through the hash of the content; what was
    # read is rendered, not the record, which may have fields that an older version did not write
    written, lying = sha256_bytes(atomic.render_json({**content, SEAL: recorded})), sha256_file(path)
    if written != lying:
        raise ArtifactCorrupt(
            f"{path}: damaged: the file should have the hash {written}, has {lying}. {mend}"
        )
    return record


def read_registry_file(path: Path) -> Registry:
    """The registry, or an empty one where there is none yet.

    Raises:
        ArtifactCorrupt: it is damaged.
    """
    if reading.kind_of(path) == "nothing":
        return Registry()
    return read_record(
        path,
        Registry,
        mend="Restore it from a backup, or move it away and run: retrain promote REF",
    )
