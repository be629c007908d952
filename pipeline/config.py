"""The configuration of a workspace: immutable, strict, every problem reported at once.

Precedence, strongest first: command-line flags and `-o section.key=value`, environment variables
(`RETRAIN_SECTION__KEY`), the file, the defaults below.
"""

import copy
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pipeline.errors import AccessDenied, BadConfig

ENVIRONMENT_PREFIX = "RETRAIN_"
ENVIRONMENT_KEYS_ELSEWHERE = frozenset({"RETRAIN_WORKSPACE", "RETRAIN_DEBUG"})

Arm = Literal["default", "ewc", "l2sp", "plain", "head", "freeze", "joint"]
# The upper limits lie beyond all that a run can use: what is larger is a slip, and would overflow the numbers of fp32,
# or never end. What is smaller and still too much, such as a penalty that explodes, training itself finds and tells.
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
LARGEST_STRENGTH = 1e30
Strength = Annotated[float, Field(ge=0.0, le=LARGEST_STRENGTH)]
"""Of a penalty: F as it is may be below 1e-12, and lambda as large as that asks for."""
Weight = Annotated[float, Field(ge=0.0, le=1000.0)]
LearningRate = Annotated[float, Field(gt=0.0, le=1e30)]
Points = Annotated[float, Field(ge=0.0, le=1000.0)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Rows = Annotated[int, Field(ge=0, le=10**9)]
StepRows = Annotated[int, Field(ge=1, le=2**16)]
"""Rows of an optimizer step: they are held in memory at once."""


class Section(BaseModel):
    """Base of every section: unknown keys are errors, values never change, no NaN or infinity."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, populate_by_name=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_truth_value(cls, value: Any, info: ValidationInfo) -> Any:
        """`seed: yes` would be read as 1."""
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and field.annotation is not bool:
            raise ValueError("true and false (or yes, no, on, off) are no value of this key")
        return value


def _usable_path(value: str) -> str:
    if any(ord(character) < 32 or character == "\x7f" for character in value):
        raise ValueError("holds a control character")
    if any(len(os.fsencode(part)) > 255 for part in value.split("/")):
        raise ValueError("holds a name of more than 255 bytes, which no file can have")
    return value


def _usable_pattern(value: str) -> str:
    if any("**" in part and part != "**" for part in value.split("/")):
        raise ValueError(
            "** must stand alone between slashes, as in feedback/**/*.jsonl; within a name * is enough"
        )
    return value


FilePath = Annotated[str, Field(min_length=1), AfterValidator(_usable_path)]


class ModelSection(Section):
    base: FilePath = "sentence-transformers/all-MiniLM-L6-v2"
    """What launch starts from: a Hub name, a folder, or `package:NAME/FOLDER` inside a Python package."""
    max_length: Annotated[int, Field(ge=8, le=10**6)] = 64
    """Tokens kept of each text."""


class Source(Section):
    path: Annotated[FilePath, AfterValidator(_usable_pattern)]
    """A file, folder or glob, relative to the workspace; `{month}` stands for YYYY-MM."""


class IngestSection(Section):
    sources: Annotated[tuple[Source, ...], Field(min_length=1)] = (Source(path="feedback/{month}.jsonl"),)
    """Where a month's feedback lies."""
    validation: Fraction = 0.1
    """Share of the rows held out to watch the loss; never trained on."""
    max_rejected: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05
    """Largest share of rows that may be refused before the month stops with exit code 65."""
    max_new_labels: Rows = 1000
    """Most labels that a month may bring before it stops with exit code 65: more is mostly a wrong column."""
    carry_refused: bool = True
    """Train on the feedback of earlier months whose candidate was refused, too."""
    golden_fraction: Fraction = 0.0
    """Share of the rows set aside as the month's golden set where the team keeps none."""


class GoldenSection(Section):
    path: FilePath = "golden/{month}.jsonl"
    """Where a month's golden set lies, relative to the workspace."""

    @field_validator("path")
    @classmethod
    def _names_the_month(cls, value: str) -> str:
        if "{month}" not in value:
            raise ValueError("must contain {month}, or every month would be tested on the same rows")
        return value


class FisherSection(Section):
    estimator: Literal["auto", "exact", "mc", "lowrank", "empirical"] = "auto"
    """How the label is drawn in the Fisher's expectation."""
    samples: Count = 300
    """Upper limit of training rows that the Fisher is averaged over."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the pass through the model, as for training; squares are summed in fp32 either way."""


class EwcSection(Section):
    lambda_: Strength = Field(default=0.5, alias="lambda")
    """lambda in lambda * sum_i F_i (theta_i - theta*_i)^2, where nothing else holds the old months."""
    replay_lambda: Strength = 0.3
    """lambda where old rows are replayed, too; the penalty then leaves the head free."""
    growth_lambda: Strength = 0.0
    """The same in a month that brings new labels, which need an encoder that moves; above 0 it loses less at once and
    learns the new labels worse."""
    form: Literal["gradient", "proximal"] = "gradient"
    """`gradient` adds the penalty's gradient to the task's; `proximal` pulls after the step, at another lambda."""
    scale: Literal["mean", "raw"] = "mean"
    """`mean` divides F by its mean over the trained parameters; `raw` uses F as it is."""
    months: Literal["online", "separate", "latest"] = "online"
    """`online`: all months' Fisher around the last optimum; `separate`: each around its own; `latest`: the last alone."""
    gamma: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """How much of the older months' Fisher each further month keeps (online only)."""


class L2spSection(Section):
    lambda_: Annotated[float, Field(gt=0.0, le=LARGEST_STRENGTH)] = Field(default=0.1, alias="lambda")
    """lambda in lambda * |theta - theta*|^2, the penalty of the l2sp arm."""


class ReplaySection(Section):
    launch_rows: Rows = 240
    """Rows of the launch data that may be learned again each month."""
    month_rows: Rows = 80
    """Rows of each later month that may be learned again."""
    per_step: Annotated[int, Field(ge=0, le=2**16)] = 16
    """Replayed rows in an optimizer step, beside train.batch_size new ones, and more of them where most of a month's rows
    have new labels; 0 where policy forbids it."""
    interference: Annotated[float, Field(ge=0.0, le=0.9)] = 0.5
    """Share of the replayed rows that go to those that the month's labels pull at; the others are drawn alike."""


class DistillSection(Section):
    temperature: Annotated[float, Field(ge=0.01, le=1000.0)] = 2.0
    """Softens the champion's answers before they are taught."""
    replay_weight: Weight = 1.0
    """Weight of the champion's answer on replayed rows, beside the cross-entropy's 1."""
    new_weight: Weight = 0.3
    """The same on the month's rows, but for those of labels that the champion does not know."""


class InterpolateSection(Section):
    steps: Annotated[int, Field(ge=0, le=100)] = 0
    """0: off. n: of the weights at 1/n, 2/n, ..., 1 of the way from champion to candidate the ones with the lowest
    validation loss are kept, earlier months and this one weighing alike."""


class CalibrateSection(Section):
    new_labels: bool = False
    """Correct the new labels' bias after training, on validation rows of old and new labels."""


class TrainSection(Section):
    layers: Annotated[str, Field(pattern=r"^(all|encoder|head|top:[1-9][0-9]{0,3})$")] = "top:3"
    """`all`, `encoder` (all but the embeddings), `top:N` (the N topmost layers and the head) or `head`."""
    learning_rate: LearningRate = 2e-4
    """Peak learning rate of the encoder."""
    head_learning_rate: LearningRate | None = 1e-3
    """Peak learning rate of the classification head; null for the encoder's."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 5
    batch_size: StepRows = 32
    """Rows per optimizer step and process (the product of micro-batch and accumulation)."""
    gradient_accumulation: StepRows | None = None
    """Micro-batches per optimizer step; must divide batch_size. null: 1 on a GPU, more on a CPU to save padding."""
    warmup: Fraction = 0.1
    """Share of the steps over which the learning rate rises; it then falls linearly to 0."""
    weight_decay: Weight = 0.0
    label_smoothing: Fraction = 0.0
    """Share of each target that is spread over all labels."""
    max_grad_norm: Annotated[float, Field(ge=0.0, le=1e12)] = 1.0
    """Clips the task gradient (never the penalty's); 0 switches clipping off."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` is bf16 autocast on a GPU that has it, fp32 elsewhere."""

    @field_validator("gradient_accumulation")
    @classmethod
    def _divides(cls, value: int | None, info: Any) -> int | None:
        if value and "batch_size" in info.data and info.data["batch_size"] % value:
            raise ValueError(f"must divide batch_size ({info.data['batch_size']})")
        return value


class LaunchSection(TrainSection):
    """How the first champion is trained from the base model; the same keys as `train`."""

    layers: Annotated[str, Field(pattern=r"^(all|encoder|head|top:[1-9][0-9]{0,3})$")] = "encoder"
    learning_rate: LearningRate = 2e-4
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    label_smoothing: Fraction = 0.1


class GateSection(Section):
    max_drop: Points = 0.5
    """Points of accuracy that the prior golden rows may lose in a month."""
    max_drift: Points = 1.0
    """Points that they may lie below what the first promoted model, or a surely better one, answered on each set."""
    min_gain: Annotated[float, Field(ge=-1000.0, le=1000.0)] = 0.0
    """Points that the month's own golden set must gain."""
    max_label_drop: Points = 25.0
    """Points that the prior golden rows of any one label may lose in a month."""
    slices: dict[str, Points] = Field(default_factory=dict)
    """Points that the prior golden rows of a slice may lose in a month, by the slice's name."""
    false_refusals: Annotated[float, Field(ge=1e-6, le=0.5)] = 0.016
    """Largest share of months in which a candidate that lost nothing is refused by chance, however many golden sets;
    of years, at most twelve times that share."""
    unsure: Literal["promote", "refuse"] = "promote"
    """What follows where an estimate is beyond its limit and the golden rows cannot tell it from chance."""
    patience: Annotated[int, Field(ge=0, le=1000)] = 2
    """Months in a row that may be refused for what they lost before the next is trained with a stronger lambda; 0: never."""
    confidence: Annotated[float, Field(gt=0.5, le=0.9999)] = 0.95
    """Confidence of the intervals that are told."""
    min_rows: Count = 50
    """A golden set with fewer rows proves nothing and refuses."""


class NotifySection(Section):
    webhook_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Name of the environment variable that holds the address of a webhook; the address itself stays out of files."""


class FilesSection(Section):
    umask: Annotated[str, Field(pattern=r"^0?0[0-7][0-7]$")] = "077"
    """Permission bits that new files never get, octal; "027" lets the group read. The owner keeps all."""


class Config(Section):
    version: Literal[1] = 1
    arm: Arm = "default"
    """What the monthly job does about forgetting."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    model: ModelSection = ModelSection()
    ingest: IngestSection = IngestSection()
    golden: GoldenSection = GoldenSection()
    fisher: FisherSection = FisherSection()
    ewc: EwcSection = EwcSection()
    l2sp: L2spSection = L2spSection()
    replay: ReplaySection = ReplaySection()
    distill: DistillSection = DistillSection()
    interpolate: InterpolateSection = InterpolateSection()
    calibrate: CalibrateSection = CalibrateSection()
    train: TrainSection = TrainSection()
    launch: LaunchSection = LaunchSection()
    gate: GateSection = GateSection()
    notify: NotifySection = NotifySection()
    files: FilesSection = FilesSection()

    @model_validator(mode="after")
    def _steps_divide(self) -> "Config":
        step = self.train.batch_size + self.replay.per_step
        if step % (self.train.gradient_accumulation or 1):
            raise ValueError(
                f"train.gradient_accumulation must divide train.batch_size + replay.per_step ({step})"
            )
        return self

    def resolved(self) -> dict[str, Any]:
        """The whole configuration as plain JSON values, by the names that the file uses."""
        return self.model_dump(mode="json", by_alias=True)


class _NotPlain(yaml.constructor.ConstructorError):
    """YAML that is not read; `advice` says why without the value, which may be secret."""

    def __init__(self, found: str, advice: str, mark: Any) -> None:
        super().__init__(None, None, f"{found}: {advice}", mark)
        self.advice = advice


class _StrictLoader(yaml.SafeLoader):
    """Plain YAML without tags and aliases; a key given twice is an error instead of a silent overwrite."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        # a few hundred bytes of aliases to aliases stand for more values than memory holds
        if self.check_event(yaml.AliasEvent):
            event: Any = self.get_event()  # type: ignore[no-untyped-call]
            raise _NotPlain(
                f"alias *{event.anchor}", "aliases are not read; write the value out", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Refuses 010 (octal: 8) and 1:30 (to base 60: 90), which are meant as something else."""
        text = str(node.value)
        digits = text.lstrip("+-")
        if ":" in digits or (len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567_"):
            read_as = "to base 60" if ":" in digits else "as an octal number"
            raise _NotPlain(
                text,
                f'YAML reads it {read_as}; put it in double quotes inside the value (files.umask: "027") where text is '
                "meant, and write a number without leading zeros and colons",
                node.start_mark,
            )
        return super().construct_yaml_int(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is not text", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)


def load_config(
    file: Path | None = None,
    *,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Read, merge and check a configuration.

    Args:
        file: the YAML file; None for the defaults.
        overrides: `a.b=value` strings, the value read as YAML; the last one wins.
        environment: variables of which `RETRAIN_A__B=value` counts as `a.b=value`.

    Raises:
        BadConfig: naming the file, every wrong key and what was expected.
    """
    values = _read_yaml(file) if file is not None else {}
    origins = [str(file)] if file is not None else []
    secret: list[str] = []  # an environment variable may hold a password that was meant for another name
    for name, text in sorted((environment or {}).items()):
        if name.startswith(ENVIRONMENT_PREFIX) and name not in ENVIRONMENT_KEYS_ELSEWHERE:
            path = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
            _assign(values, path, text, where=f"environment variable {name}", secret=True)
            origins.append(name)
            secret.append(path)
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator:
            raise BadConfig(f"-o {override}: expected KEY=VALUE, such as -o ewc.lambda=10")
        _assign(values, path.strip(), text, where=f"-o {override[:80]}{'...' if len(override) > 80 else ''}")
        origins.append(f"-o {path.strip()}")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        origin = ", ".join(dict.fromkeys(origins)) or "configuration"
        lines = [f"{origin}: {error.error_count()} problem(s). Run: retrain config schema"]
        for problem in error.errors(include_url=False):
            key = ".".join(str(part) for part in problem["loc"]) or "(top)"
            hidden = problem["type"] == "missing" or _is_of(key, secret)
            found = "" if hidden else f", found {_shown(problem['input'])}"
            lines.append(f"  {key}: {problem['msg']}{found}")
        raise BadConfig("\n".join(lines)) from None


def _is_of(key: str, paths: Sequence[str]) -> bool:
    """Whether a key is, lies under or holds one of the paths."""
    return any(f"{key}.".startswith(f"{path}.") or f"{path}.".startswith(f"{key}.") for path in paths)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadConfig(f"{file}: no such file. Run: retrain init") from None
    except PermissionError:
        raise AccessDenied(
            f"{file}: may not be read. Check the owner and permissions of {file.parent}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{file}: cannot be read as UTF-8 text: {error}") from None
    values = _parse_yaml(text, where=str(file))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise BadConfig(f"{file}: expected sections such as `ewc:`, found {_shown(values)}")
    return values


def _parse_yaml(text: str, *, where: str, secret: bool = False) -> Any:
    try:
        value = yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        found = str(error)
        if secret:
            advice = f": {error.advice}" if isinstance(error, _NotPlain) else ""
            found = f"its value, which is not told here, cannot be read{advice}"
        raise BadConfig(f"{where}: not valid YAML: {found}") from None
    return value


def _assign(values: dict[str, Any], path: str, text: str, *, where: str, secret: bool = False) -> None:
    parts = path.split(".")
    if not all(parts):
        raise BadConfig(f"{where}: expected a key such as ewc.lambda, found {path!r}")
    node = values
    for part in parts[:-1]:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise BadConfig(f"{where}: {part} is a value, not a section")
        node = child
    node[parts[-1]] = copy.deepcopy(_parse_yaml(text, where=where, secret=secret))
