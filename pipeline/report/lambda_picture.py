"""The frontier over lambda as a picture file; equal frontiers give equal bytes with the same matplotlib."""

import io
from typing import Any, Literal

from pipeline.report.contents import LambdaFrontier

PRIOR_COLOUR, NEW_COLOUR = "#c2410c", "#2563eb"


def lambda_picture(frontier: LambdaFrontier, kind: Literal["svg", "png"] | str) -> bytes:
    """Predicted changes as lines, trained ones as points with their intervals, plain as dashed lines.

    Args:
        frontier: changes in nats.
        kind: `svg` or `png`.
    """
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.8), layout="constrained")
    axes: Any = figure.subplots()
    axes.axhline(0.0, color="0.4", linewidth=0.8)
    for name, colour, attribute in (
        ("earlier months", PRIOR_COLOUR, "prior_change"),
        ("this month", NEW_COLOUR, "new_change"),
    ):
        predicted = [p for p in frontier.points if not p.trained]
        trained = [p for p in frontier.points if p.trained and p.lambda_ > 0.0]
        plain = [p for p in frontier.points if p.trained and p.lambda_ == 0.0]
        axes.plot(
            [p.lambda_ for p in predicted],
            [getattr(p, attribute) for p in predicted],
            color=colour,
            label=f"{name}, predicted",
        )
        heights = [getattr(p, attribute) for p in trained]
        bars = None
        if attribute == "prior_change":
            bars = [
                [p.prior_change - p.prior_low for p in trained],
                [p.prior_high - p.prior_change for p in trained],
            ]
        axes.errorbar(
            [p.lambda_ for p in trained],
            heights,
            yerr=bars,
            fmt="o",
            color=colour,
            capsize=3,
            label=f"{name}, trained",
        )
        for point in plain:
            axes.axhline(
                getattr(point, attribute),
                color=colour,
                linewidth=0.8,
                linestyle="--",
                label=f"{name}, lambda 0",
            )
    if frontier.chosen is not None:
        axes.axvline(frontier.chosen, color="0.2", linestyle=":", label=f"chosen: {frontier.chosen:g}")
    axes.set_xscale("log")
    axes.set_xlabel(f"{frontier.key} (log scale)")
    axes.set_ylabel("change of the validation loss (nats)")
    figure.legend(loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "lambda", "svg.fonttype": "none"}):
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
    return buffer.getvalue()
