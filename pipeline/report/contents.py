"""What a report shows: plain frozen values, so that the page can be drawn from anything that was recorded."""

from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.accuracy_matrix import AccuracyMatrix
from pipeline.evaluation.gate import Verdict
from pipeline.evaluation.scorecard import Scorecard


@dataclass(frozen=True)
class RefusedRows:
    """Feedback rows that ingest refused for one reason."""

    reason: str
    places: tuple[str, ...]
    """`FILE line N` of the first of them."""
    count: int


@dataclass(frozen=True)
class Drift:
    """How the month's rows differ from those of another month, in words.

    Attributes:
        against: which month.
        rows: its rows.
        labels, words, texts, texts_of_like_labels: effect and p value of each test.
        shifts: what is beyond chance.
        changed: labels whose share changed most, each with its shares.
        new_words: the most frequent ones; empty unless customer text was asked for.
    """

    against: str
    rows: int
    labels: str
    words: str
    texts: str
    texts_of_like_labels: str
    shifts: tuple[str, ...]
    changed: tuple[tuple[str, str], ...]
    new_words: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class LambdaPoint:
    """One lambda on the frontier; changes are in nats against the model before the month."""

    lambda_: float
    prior_change: float
    prior_low: float
    prior_high: float
    new_change: float
    trained: bool
    """False for what the curvature path predicts."""


@dataclass(frozen=True)
class LambdaFrontier:
    """What `retrain tune` found for the month."""

    key: str
    """The configuration key that it is about."""
    points: tuple[LambdaPoint, ...]
    chosen: float | None
    reason: str


@dataclass(frozen=True)
class GroupCell:
    """How much of the weighted change went to one kind of parameter in one layer."""

    layer: str
    kind: str
    relative: float
    weighted_share: float | None


@dataclass(frozen=True)
class Ancestor:
    """A checkpoint of the line of descent, and what became of labels with it, in words."""

    month: str
    attempt: str
    sha256: str
    label_changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportContents:
    """One attempt, as the page tells it.

    Attributes:
        attempt: such as `2026-03/001`.
        outcome: in a word or two, such as `promoted`.
        card, verdict: None when the attempt was not evaluated.
        power: what the golden rows are able to show, in words; None where nothing was compared.
        matrix: each month's newest model up to this one, on each golden set.
        metrics: the rows of metrics.jsonl.
        deltas: the rows of deltas.json.
        cells: the change by layer and kind of parameter; empty without a checkpoint before.
        frontier: None where no lambda was searched for.
        counts: what ingest counted, in words.
        texts: golden row (set, id) to its text; empty unless customer text was asked for.
        command: what reproduces the attempt.
        facts: what the bits depend on, such as seed and packages.
        hashes: name to SHA-256 of inputs and outputs, stage by stage.
        drift: how the month's rows differ from earlier ones; empty where that was not measured.
    """

    month: str
    attempt: str
    kind: str
    arm: str
    outcome: str
    card: Scorecard | None
    verdict: Verdict | None
    power: str | None
    matrix: AccuracyMatrix
    metrics: tuple[dict[str, Any], ...]
    deltas: tuple[dict[str, Any], ...]
    cells: tuple[GroupCell, ...]
    frontier: LambdaFrontier | None
    counts: tuple[tuple[str, str], ...]
    refused: tuple[RefusedRows, ...]
    lineage: tuple[Ancestor, ...]
    texts: dict[tuple[str, str], str]
    command: str
    facts: tuple[tuple[str, str], ...]
    hashes: tuple[tuple[str, str], ...]
    drift: tuple[Drift, ...] = ()
