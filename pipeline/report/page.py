"""One attempt as one HTML file: no network, no script, a policy that allows nothing but its own style sheet."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from pipeline.evaluation.scorecard import Comparison, Flip, Scorecard
from pipeline.ewc.movement import KINDS
from pipeline.report.charts import Interval, Series, interval_chart, line_chart
from pipeline.report.contents import LambdaFrontier, ReportContents

HEAT_LEVELS = 9
SHOWN_LABELS = 5
"""Labels that lost the most."""
SHOWN_SETS = 12
"""Golden sets whose comparisons are open to see: the first and the newest; a table of accuracies with more is closer."""
SHOWN_PAIRS = 12
"""Label pairs that are open to see; the others are folded away."""


@dataclass(frozen=True)
class Cell:
    """A cell of a heat map: its text, and the classes `h1` (least) to `h9` (most) and `own`."""

    text: str
    css: str


@dataclass(frozen=True)
class FlippedRow:
    golden: str
    id: str
    text: str


@dataclass(frozen=True)
class FlipGroup:
    """Rows that flipped between the same two labels."""

    first: str
    second: str
    rows: tuple[FlippedRow, ...]

    @property
    def count(self) -> int:
        return len(self.rows)


def render_page(contents: ReportContents) -> str:
    """The whole HTML file; equal contents give equal text.

    Everything that comes from data is escaped, and control characters are shown as escapes.
    """
    folder = files("pipeline.report")
    style = (folder / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=False, keep_trailing_newline=True
    )
    environment.filters["visible"] = visible
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    card = contents.card
    return template.render(
        c=contents,
        css=Markup(style),
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        tone=_tone(contents),
        refusals=contents.verdict.reasons if contents.verdict else (),
        held=[check.text for check in contents.verdict.checks if check.passed] if contents.verdict else [],
        figures=_figures(card) if card else [],
        heat=_matrix(contents),
        changes=_changes(card) if card else None,
        comparisons=_comparisons(card) if card else ([], []),
        many=len(contents.matrix.golden_sets) > SHOWN_SETS,
        beyond=_beyond_accuracy(card) if card else [],
        worst=card.worst_labels[:SHOWN_LABELS] if card else [],
        confidence=f"{100 * card.confidence:g}" if card else "",
        flips=_flips(card, contents.texts) if card else [],
        shown_pairs=SHOWN_PAIRS,
        curves=_curves(contents.metrics),
        frontier=_frontier(contents.frontier) if contents.frontier else None,
        layers=_layers(contents),
        kinds=_kinds(contents),
    )


def visible(text: str) -> str:
    """The text with control and direction-changing characters as escapes, so that they cannot mislead."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode()
        for c in str(text).encode("utf-8", "backslashreplace").decode("utf-8")
    )


def flip_groups(flips: Sequence[Flip], texts: dict[tuple[str, str], str], *, lost: bool) -> list[FlipGroup]:
    """Flips grouped by label pair, the largest group first: `lost` gives label -> wrong answer, else
    wrong answer -> label."""
    groups: dict[tuple[str, str], list[FlippedRow]] = {}
    for flip in flips:
        if flip.is_loss == lost:
            row = FlippedRow(flip.golden, flip.id, texts.get((flip.golden, flip.id), ""))
            groups.setdefault((flip.before, flip.after), []).append(row)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [FlipGroup(first, second, tuple(rows)) for (first, second), rows in ordered]


def heat_level(value: float, low: float, high: float) -> int:
    """1 at `low` to 9 at `high`, evenly."""
    if not high > low:
        return 1
    return 1 + min(int((value - low) / (high - low) * HEAT_LEVELS), HEAT_LEVELS - 1)


def _tone(contents: ReportContents) -> str:
    if contents.verdict is None:
        return "hold"
    if not contents.verdict.passed:
        return "bad" if contents.outcome == "refused" else "hold"
    return "good" if contents.outcome.startswith("promoted") else "hold"


def _figures(card: Scorecard) -> list[tuple[str, str]]:
    figures = []
    if card.own is not None and card.own.overall.accuracy_after is not None:
        figures.append(
            (_points(card.own.overall.accuracy_after), f"accuracy on {card.own.name}, its own month")
        )
        if card.own.overall.difference is not None:
            figures.append((f"{card.own.overall.difference:+.2f}", "points gained on its own month"))
    if card.pooled is not None and card.pooled.difference is not None:
        figures.append((f"{card.pooled.difference:+.2f}", "points on all earlier months together"))
        figures.append((str(card.pooled.right_to_wrong), f"of {card.pooled.n} earlier rows became wrong"))
    return figures


def _matrix(contents: ReportContents) -> list[tuple[str, list[Cell]]]:
    matrix = contents.matrix
    known = [value for row in matrix.accuracies for value in row if value is not None]
    high = max(known, default=0.0)
    low = min([*known, high - 10.0])  # a table of nearly equal figures is not to look like a cliff
    rows = []
    for month, values in zip(matrix.months, matrix.accuracies, strict=True):
        cells = []
        for name, value in zip(matrix.golden_sets, values, strict=True):
            own = " own" if name == month else ""
            cells.append(
                Cell("–", "")
                if value is None
                else Cell(f"{value:.1f}", f"h{heat_level(value, low, high)}{own}")
            )
        rows.append((month, cells))
    return rows


def _changes(card: Scorecard) -> Markup | None:
    items = [(golden.name, golden.overall) for golden in card.scores]
    if card.pooled is not None and len(card.prior) > 1:
        items.insert(len(card.prior), ("all earlier", card.pooled))
    rows = [
        Interval(visible(name), item.low, item.difference, item.high)
        for name, item in items
        if item.low is not None and item.difference is not None and item.high is not None
    ]
    return interval_chart(rows, title="Change of accuracy", unit="points of accuracy") if rows else None


def _comparisons(card: Scorecard) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """A line a golden set and slice: of the sets that are open to see, and of those folded away."""
    scores = list(card.scores)
    between = range(1, len(scores) - (SHOWN_SETS - 1))
    shown: list[dict[str, str]] = []
    folded: list[dict[str, str]] = []
    for place, golden in enumerate(scores):
        rows = folded if place in between else shown
        rows.append(_comparison(golden.name, "all", golden.overall))
        rows += [_comparison("", name, item) for name, item in golden.slices.items()]
    return shown, folded


def _beyond_accuracy(card: Scorecard) -> list[tuple[str, str, str]]:
    """What the prior rows say beside accuracy: name, before, after."""
    if card.quality is None:
        return []
    quality = card.quality
    figures = (
        ("macro-F1", quality.macro_f1_before, quality.macro_f1_after),
        ("calibration error", quality.calibration_error_before, quality.calibration_error_after),
    )
    return [(name, _points(before), _points(after)) for name, before, after in figures]


def _comparison(name: str, part: str, item: Comparison) -> dict[str, str]:
    return {
        "name": name,
        "part": part,
        "n": str(item.n),
        "before": _points(item.accuracy_before),
        "after": _points(item.accuracy_after),
        "change": "–" if item.difference is None else f"{item.difference:+.2f}",
        "p": "–" if item.p is None else f"{item.p:.2g}",
        "lost": str(item.right_to_wrong),
        "gained": str(item.wrong_to_right),
    }


def _flips(card: Scorecard, texts: dict[tuple[str, str], str]) -> list[tuple[str, int, list[FlipGroup]]]:
    sides = []
    for title, lost in (("Right before, wrong now", True), ("Wrong before, right now", False)):
        groups = flip_groups(card.flips, texts, lost=lost)
        sides.append((title, sum(group.count for group in groups), groups))
    return sides


def _curves(metrics: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    wanted = (
        (
            "Loss (nats)",
            ("task_loss", "new_validation_loss", "prior_validation_loss"),
            ("training, this month", "validation, this month", "validation, earlier months"),
        ),
        ("Penalty (as added to the loss)", ("penalty",), ("penalty",)),
        ("Distance from the start ‖θ − θ*‖", ("weight_change",), ("distance",)),
    )
    curves = []
    for title, keys, names in wanted:
        series = []
        for colour, (key, name) in enumerate(zip(keys, names, strict=True), start=1):
            points = tuple((float(row["step"]), float(row[key])) for row in metrics if key in row)
            if points and any(y for _, y in points):
                series.append(Series(name, points, colour))
        if series:
            curves.append(
                {
                    "title": title,
                    "legend": [(s.name, s.colour) for s in series] if len(series) > 1 else [],
                    "svg": line_chart(series, title=title, x_label="optimizer step"),
                }
            )
    return curves


def _frontier(frontier: LambdaFrontier) -> dict[str, Any]:
    series = []
    for trained in (False, True):
        points = [p for p in frontier.points if p.trained == trained and p.lambda_ > 0.0]
        for colour, name, attribute in (
            (2, "earlier months", "prior_change"),
            (1, "this month", "new_change"),
        ):
            placed = tuple((p.lambda_, float(getattr(p, attribute))) for p in points)
            bars = (
                tuple((p.lambda_, p.prior_low, p.prior_high) for p in points)
                if trained and colour == 2
                else ()
            )
            if placed:
                series.append(Series(name, placed, colour, "marks" if trained else "line", bars))
    return {
        "legend": [("earlier months", 2), ("this month", 1)],
        "svg": line_chart(
            series,
            title="Change of validation loss by lambda",
            x_label="lambda",
            log_x=True,
            vertical=frontier.chosen,
        )
        if series
        else Markup(""),
    }


def _layers(contents: ReportContents) -> list[tuple[str, list[Cell]]]:
    deltas = contents.deltas
    rows = []
    for delta in deltas:
        cells = [Cell(f"{delta['size']:,}", "")]
        for key in ("relative", "fisher_mass", "weighted_share"):
            most = max((d[key] for d in deltas if d[key] is not None), default=0.0)
            value = delta[key]
            cells.append(
                Cell("–", "") if value is None else Cell(_percent(value), f"h{heat_level(value, 0.0, most)}")
            )
        rows.append((str(delta["group"]), cells))
    return rows


def _kinds(contents: ReportContents) -> dict[str, Any] | None:
    shares = {(c.layer, c.kind): c.weighted_share for c in contents.cells if c.weighted_share is not None}
    if not shares:
        return None
    layers = list(dict.fromkeys(layer for layer, _ in shares))
    kinds = [kind for kind in KINDS if any(found == kind for _, found in shares)]
    most = max(shares.values())
    rows = []
    for layer in layers:
        found = [shares.get((layer, kind)) for kind in kinds]
        cells = [
            Cell("–", "") if v is None else Cell(_percent(v), f"h{heat_level(v, 0.0, most)}") for v in found
        ]
        rows.append((layer, cells))
    return {"names": kinds, "rows": rows}


def _points(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%" if value >= 0.001 or value == 0 else "<0.1%"
