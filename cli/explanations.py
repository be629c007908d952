"""What moved and which lambda to take, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli import render

if TYPE_CHECKING:
    from pipeline.ewc.movement import Movement
    from pipeline.inspection.diagnosis import Diagnosis
    from pipeline.recorded.tune_record import TuneResult

SHADES = " ░▒▓█"


def diagnosis_text(found: Diagnosis, top: int) -> str:
    """Groups by harm, the heat map by layer and kind, label pairs, and the hardest pushing rows."""
    parts = [
        f"{found.attempt}, arm {found.arm}: the change should raise the old months' loss by "
        f"{found.predicted_rise:.4f} nats (1/2 sum F d^2)"
        + (
            ""
            if found.slope is None or found.curvature is None
            else f"; along the change itself {found.slope:+.4f} (slope) and {found.curvature:+.4f} (1/2 d'Fd, the whole F)"
        ),
        _groups(found.movements),
        "share of sum F d^2 by layer and kind\n" + heat_text(found.movements),
    ]
    if found.plain_attempt is not None:
        parts.append(f"the same for plain fine-tuning, {found.plain_attempt}\n" + _groups(found.plain))
    if found.flips:
        pairs = [[p.label, p.answer, str(p.count), " ".join(p.ids[:3])] for p in found.flips[:top]]
        header = ["label", "answer now", "rows", "such as"]
        parts.append("right before, wrong now\n" + render.table(header, pairs, left=2))
    if found.rows:
        lines = [
            [
                row.id,
                row.label,
                f"{row.loss:.2f}",
                f"{row.push:.3g}",
                f"{row.concentration:.2f}",
                row.text or "",
            ]
            for row in found.rows
        ]
        header = ["row", "label", "loss", "push", "concentration", ""]
        parts.append(
            "training rows that push hardest against the Fisher\n" + render.table(header, lines, left=2)
        )
    return "\n\n".join(parts)


def _groups(moved: tuple[Movement, ...]) -> str:
    header = [
        "parameter group",
        "size",
        "change",
        "relative",
        "Fisher mass",
        "sum F d^2",
        "share",
        "protected",
    ]
    rows = [
        [
            m.group,
            f"{m.size:,}",
            f"{m.norm:.4f}",
            f"{100 * m.relative:.2f}%",
            f"{100 * m.fisher_mass:.1f}%",
            f"{m.weighted_change:.3g}",
            f"{100 * m.weighted_share:.1f}%",
            "-" if m.protection is None else f"x{m.protection:.2f}",
        ]
        for m in moved
        if m.kind == "all"
    ]
    return render.table(header, rows)


def heat_text(moved: tuple[Movement, ...]) -> str:
    """Layers in rows, kinds in columns, darker where more of sum F d^2 lies."""
    from pipeline.ewc.movement import KINDS

    shares = {(m.group, m.kind): m.weighted_share for m in moved if m.kind != "all"}
    kinds = [kind for kind in KINDS if any(found == kind for _, found in shares)]
    most = max(shares.values(), default=0.0) or 1.0

    def cell(share: float | None) -> str:
        if share is None:
            return "-"
        return f"{SHADES[min(int(share / most * 4.999), 4)] * 2} {100 * share:.1f}%"

    groups = dict.fromkeys(group for group, _ in shares)
    rows = [[group, *(cell(shares.get((group, kind))) for kind in kinds)] for group in groups]
    return render.table(["layer", *kinds], rows)


def frontier_text(result: TuneResult) -> str:
    """Every point of the frontier, how far prediction and training lie apart, and the choice."""
    rows = []
    for point in sorted(result.points, key=lambda p: (p.lambda_, p.kind)):
        rows.append(
            [
                f"{point.lambda_:g}",
                point.kind,
                f"{point.prior_change:+.4f}",
                f"{point.prior_low:+.4f} to {point.prior_high:+.4f}",
                f"{point.second_order:+.4f}",
                f"{point.slope:+.4f}",
                f"{point.curvature:+.4f}",
                f"{point.new_change:+.4f}",
                "-" if point.gain_share is None else f"{point.gain_share:.0%}",
                "-" if point.ratio is None else f"{point.ratio:+.3f}",
                f"{point.prior_accuracy:.2f}",
                f"{point.new_accuracy:.2f}",
            ]
        )
    header = ["lambda", "", "prior change", f"{100 * result.confidence:g}% interval", "1/2 d'Fd", "slope"]
    header += ["whole F", "new change", "gain kept", "prior/new", "prior acc", "new acc"]
    before = result.before
    lines = [
        f"{result.month}: {result.key}, changes of the mean validation loss in nats on {result.prior_rows} rows of "
        f"earlier months and {result.new_rows} of this one",
        f"before: prior loss {before['prior_loss']:.4f}, accuracy {before['prior_accuracy']:.2f}; "
        f"new loss {before['new_loss']:.4f}, accuracy {before['new_accuracy']:.2f}",
        render.table(header, rows, left=2),
    ]
    if result.mean_distance is not None and result.weight_distance is not None:
        lines.append(
            f"predicted and trained prior changes lie {result.mean_distance:.4f} nats apart (mean), the weights "
            f"{result.weight_distance:.2f} of the plain change"
        )
    lines.append(f"{'chosen' if result.chosen is not None else 'none chosen'}: {result.reason}")
    return "\n".join(lines)
