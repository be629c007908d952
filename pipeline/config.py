"""The configuration of a workspace: immutable and strict; `pipeline/config_loading.py` reads it."""

import os
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pipeline.addresses import address_problem

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


def _usable_address(value: str) -> str:
    problem = address_problem(value)
    if problem is not None:
        raise ValueError(problem)
    return value


class SqlSection(Section):
    address: Annotated[str, AfterValidator(_usable_address)]
    """Of the database, as SQLAlchemy writes it; a file of SQLite is relative to the workspace. `${NAME}` stands for an
    environment variable; a password stands in none but one."""
    query: Annotated[str, Field(min_length=1, max_length=100_000)]
    """A select of a month's rows: `:month` stands for YYYY-MM, `:start` and `:end` for its first day and the next one's."""

    @field_validator("query")
    @classmethod
    def _asks_for_a_month(cls, value: str) -> str:
        named = {name for name in ("month", "start", "end") if re.search(rf"(?<!:):{name}\b", value)}
        if "month" not in named and not {"start", "end"} <= named:
            raise ValueError(
                "must hold :month, or :start and :end, or every month would learn the same rows: where month = :month"
            )
        return value


class IngestSection(Section):
    sources: Annotated[tuple[Source, ...], Field(min_length=1)] = (Source(path="feedback/{month}.jsonl"),)
    """Where a month's feedback lies."""
    sql: SqlSection | None = None
    """A database that has feedback, too: `retrain pull` and `retrain run` write a month's rows to feedback/{month}.sql.jsonl."""
    columns: dict[
        Literal["id", "created_at", "kind", "text", "label", "slice", "user"],
        Annotated[str, Field(min_length=1)],
    ] = Field(default_factory=dict)
    """Which of the files' columns or keys hold what is read, where they have other names: `text: utterance`."""
    kind: Literal["correction", "escalation", "catalog"] | None = None
    """The kind of rows that have none."""
    encoding: Annotated[str, Field(min_length=1)] | None = None
    """Of text files, such as cp1252; found out where it is UTF-8 or UTF-16."""
    delimiter: Annotated[str, Field(pattern=r'^[^\w\n\r"]$')] | None = None
    """What separates a CSV file's cells; found out where the header shows it."""
    validation: Fraction = 0.1
    """Share of the rows held out to watch the loss; never trained on."""
    max_rejected: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05
    """Largest share of rows that may be refused before the month stops with exit code 65."""
    max_new_labels: Rows = 1000
    """Most labels that a month may bring before it stops with exit code 65: more is mostly a wrong column."""
    conflicts: Literal["newest", "majority", "refuse"] = "newest"
    """Which rows are kept of a text that has several labels: those given last, those that most give, or none."""
    duplicates: Literal["report", "refuse"] = "report"
    """What becomes of a text that occurs again with the same label: it is counted, or refused."""
    near_duplicates: Literal["ignore", "report", "refuse"] = "report"
    """What becomes of a text that is nearly another one of its label: nothing, it is counted, or all but one are refused."""
    near_golden: Literal["warn", "refuse"] = "warn"
    """What follows where a row is nearly a golden one, but for a word in fourteen: it is counted, or refused."""
    max_rows: Rows = 0
    """The most rows that a month is trained on: of more, each label's share is drawn. 0: all."""
    mask: tuple[Literal["email", "iban", "card", "ip", "phone"], ...] = ()
    """Personal data that is replaced by what it is in everything that is kept of the texts; best effort."""
    max_user_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.2
    """Largest share of a month's rows that one user gives, where the rows say who (`user`)."""
    max_label_jump: Annotated[float, Field(gt=0.0, le=1.0)] = 0.3
    """By how much a known label's share of a month may be larger than in the months before."""
    floods: Literal["warn", "refuse"] = "warn"
    """What follows where one user or label has more: a warning, or a user's rows beyond it are refused, and a month whose
    label jumps stops with exit code 65."""
    carry_refused: bool = True
    """Train on the feedback of earlier months whose candidate was refused, too."""
    leave_out: tuple[Annotated[str, Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")], ...] = ()
    """Months whose feedback no later month learns, such as one that was refused for wrong rows; never run, they are no gap."""
    reviewed: FilePath = "reviewed/{month}.jsonl"
    """Where the decisions of a month's review are kept, relative to the workspace."""
    golden_fraction: Fraction = 0.0
    """Share of the rows set aside as the month's golden set where the team keeps none."""

    @field_validator("reviewed")
    @classmethod
    def _names_the_month(cls, value: str) -> str:
        if "{month}" not in value:
            raise ValueError(
                "must contain {month}, or one month's decisions would be taken for every month's"
            )
        return value


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
    least_steps: Rows = 24
    """Optimizer steps that a month takes at least, in more epochs where its rows are few; 0 for as many as they give."""


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
