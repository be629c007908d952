"""What `tune` writes beside an attempt: lambda.json and its two pictures; and how it is read back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pipeline.errors import ArtifactCorrupt
from pipeline.store import atomic, reading
from pipeline.store.run_directory import RunDirectory

if TYPE_CHECKING:
    from pipeline.report.contents import LambdaFrontier

TUNE_FOLDER, TABLE_FILE, SVG_FILE, PNG_FILE = "tune", "lambda.json", "lambda.svg", "lambda.png"


@dataclass(frozen=True)
class FrontierPoint:
    """A row of the table; `kind` is plain, predicted or trained.

    Attributes:
        gain_share: of the plain gain; None where plain gains nothing.
        second_order: 1/2 d^T F d with the diagonal F, the predicted change of the prior loss in nats.
        slope, curvature: first order and 1/2 d^T F d of the prior validation loss along the same change,
            with the whole Fisher of those rows; what the diagonal misses shows beside them.
        weight_distance: ||theta_trained - theta_predicted|| / ||d||, d the plain change; trained points only.
    """

    kind: str
    lambda_: float
    prior_change: float
    prior_low: float
    prior_high: float
    new_change: float
    ratio: float | None
    gain_share: float | None
    prior_accuracy: float
    new_accuracy: float
    second_order: float
    slope: float
    curvature: float
    weight_distance: float | None = None


@dataclass(frozen=True)
class TuneResult:
    """What lambda.json holds.

    Attributes:
        key: the configuration key that the lambda is for.
        scale: the lambda at which the penalty is as curved along the plain change as the new month.
        before: accuracies and losses of the model before the month, with its head grown.
        mean_distance: mean over trained points of |trained - predicted| prior change, in nats.
        weight_distance: mean over trained points of the points' weight distances.
        chosen: None when no lambda does both.
    """

    month: str
    attempt: str
    arm: str
    key: str
    keep: float
    confidence: float
    sweep: bool
    scale: float
    grid: tuple[float, ...]
    prior_rows: int
    new_rows: int
    before: dict[str, float]
    points: tuple[FrontierPoint, ...]
    trainings: int
    mean_distance: float | None
    weight_distance: float | None
    chosen: float | None
    reason: str


def save_tuning(attempt: RunDirectory, result: TuneResult) -> None:
    """Write tune/lambda.json, .svg and .png into the attempt's folder; the table last."""
    from pipeline.report.lambda_picture import lambda_picture

    folder = attempt.folder / TUNE_FOLDER
    atomic.make_folder(folder)
    shown = frontier_of(result)
    for name, kind in ((SVG_FILE, "svg"), (PNG_FILE, "png")):
        atomic.write_file(folder / name, lambda_picture(shown, kind))
    atomic.write_json(folder / TABLE_FILE, asdict(result))


def recorded_frontier(attempt: RunDirectory) -> LambdaFrontier | None:
    """The frontier that was drawn for an attempt, if one was.

    Raises:
        ArtifactCorrupt: when the table is not what `tune` writes.
    """
    from pydantic import TypeAdapter, ValidationError

    file = attempt.folder / TUNE_FOLDER / TABLE_FILE
    if not file.exists():
        return None
    try:
        return frontier_of(TypeAdapter(TuneResult).validate_python(reading.read_json(file)))
    except ValidationError as error:
        raise ArtifactCorrupt(
            f"{file}: {error.errors()[0]['msg']}. Run: retrain tune --month {attempt.month}"
        ) from None


def frontier_of(result: TuneResult) -> LambdaFrontier:
    """The part of a result that is drawn."""
    from pipeline.report.contents import LambdaFrontier, LambdaPoint

    return LambdaFrontier(
        key=result.key,
        points=tuple(
            LambdaPoint(
                lambda_=point.lambda_,
                prior_change=point.prior_change,
                prior_low=point.prior_low,
                prior_high=point.prior_high,
                new_change=point.new_change,
                trained=point.kind != "predicted",
            )
            for point in result.points
        ),
        chosen=result.chosen,
        reason=result.reason,
    )
