"""Draws the pictures of the documentation from small computations: `python docs/draw.py [FOLDER]`.

Every curve and number comes out of the project's own functions on the classifier of `toy_task.py`. The
pictures carry both colour schemes and follow the reader's.
"""

import json
import re
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import matplotlib

matplotlib.use("svg")
import torch
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn import functional as F
from toy_task import (
    CLASSES,
    Classifier,
    Task,
    Weights,
    diagonal,
    divergence,
    flat,
    full_fisher,
    loss,
    task,
    train,
    unflat,
    weights_of,
    with_weights,
)

from pipeline.ewc.growth import aligned_rows
from pipeline.ewc.merge import merge_online
from pipeline.ewc.penalty import importance, mean_fisher
from pipeline.modeling.head import NEW_ROW_NORM

PAPER, INK, MUTED, GRID = "#ffffff", "#1f2328", "#57606a", "#d8dee4"
BLUE, ORANGE, GREEN, PURPLE, RED = "#0969da", "#bc4c00", "#1a7f37", "#8250df", "#cf222e"
IN_THE_DARK = {
    PAPER: "#0d1117",
    INK: "#e6edf3",
    MUTED: "#9da7b3",
    GRID: "#30363d",
    BLUE: "#58a6ff",
    ORANGE: "#f0883e",
    GREEN: "#3fb950",
    PURPLE: "#bc8cff",
    RED: "#f85149",
}
STYLE = {
    "svg.hashsalt": "docs",
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "font.size": 10,
    "lines.linewidth": 1.8,
}
NOISE = 1.2
RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"


def save(figure: Any, file: Path) -> None:
    """Write an SVG that follows the reader's colour scheme; the same computation gives the same bytes."""
    figure.tight_layout()
    figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)
    rules = "".join(
        f'[style*="{part}: {light}"]{{{part}:{dark} !important}}'
        for light, dark in IN_THE_DARK.items()
        for part in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>"
    text = file.read_text(encoding="utf-8")
    file.write_text(re.sub(r"(<svg [^>]*>)", lambda found: found[1] + style, text, count=1), encoding="utf-8")


def launched() -> tuple[Weights, Task]:
    """The toy's champion and what it was trained on."""
    old = task(noise=NOISE)
    return train(weights_of(Classifier()), old, steps=150), old


def next_month() -> Task:
    """A month of feedback about two of the six classes, said in new ways."""
    return task(1.0, rows=40, seed=1, noise=NOISE).only(0, 1)


def curvature(file: Path) -> None:
    """KL along the stiffest, a middling and a free direction, beside one half of d^T F d."""
    anchor, old = launched()
    values, directions = torch.linalg.eigh(full_fisher(with_weights(anchor), old))
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.2), sharey=True)
    for axis, (title, k) in zip(
        axes, (("stiffest direction", -1), ("20th stiffest", -20), ("nearly free", 20)), strict=True
    ):
        steps = torch.linspace(-3, 3, 61, dtype=torch.float64)
        moved = [unflat(flat(anchor) + s * directions[:, k]) for s in steps]
        axis.plot(steps, [divergence(anchor, w, old) for w in moved], color=BLUE, label="KL, as measured")
        axis.plot(steps, values[k] * steps**2 / 2, color=ORANGE, linestyle="--", label="½ F d²")
        axis.set(
            title=f"{title}: F = {float(values[k]):.2g}",
            xlabel="step d",
            xlim=(-3, 3),
            xticks=[-2, 0, 2],
            ylim=(-0.03, 0.8),
        )
    axes[0].set_ylabel("change of predictions, nats")
    axes[1].legend(loc="upper center")
    save(figure, file)


def random_ratios(full: Tensor, count: int = 2000) -> Tensor:
    """d^T F d over its diagonal part, for random directions."""
    generator = torch.Generator().manual_seed(0)
    d = torch.randn(count, len(full), generator=generator, dtype=torch.float64)
    ratios: Tensor = ((d @ full) * d).sum(1) / (d.square() @ full.diag())
    return ratios


def what_the_diagonal_drops(file: Path) -> None:
    """Left: the full ellipse and the diagonal's in two weights. Right: the true cost over the diagonal's."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.6))
    correlated = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
    turn = torch.linspace(0, 2 * torch.pi, 200, dtype=torch.float64)
    circle = torch.stack([turn.cos(), turn.sin()])
    ellipse = torch.linalg.cholesky(torch.linalg.inv(correlated)) @ circle
    left.plot(*ellipse, color=BLUE, label="equal cost, full F")
    left.plot(*circle, color=ORANGE, linestyle="--", label="equal cost, diagonal of F")
    for end, place, colour, text in (
        ((1, 1), (1.1, 1.3), RED, "together: costs 1.9 times\nwhat the diagonal charges"),
        ((1, -1), (2.5, -1.2), GREEN, "against each\nother: 0.1 times"),
    ):
        left.annotate("", xy=end, xytext=(0, 0), arrowprops={"arrowstyle": "->", "color": colour})
        left.text(*place, text, color=colour, fontsize=9, va="center")
    left.set(
        title="two weights that act together", xlabel="d₁", ylabel="d₂", xlim=(-2.6, 5.2), ylim=(-3.4, 2.6)
    )
    left.set_aspect("equal")
    left.legend(loc="lower left", ncols=2)

    anchor, old = launched()
    full = full_fisher(with_weights(anchor), old)
    change = flat(train(anchor, next_month(), steps=60)) - flat(anchor)
    ratio = float(change @ full @ change / (change.square() @ full.diag()))
    right.hist(random_ratios(full).log10(), bins=40, color=BLUE, label="2,000 random directions")
    right.axvline(torch.tensor(ratio).log10(), color=RED, label=f"plain fine-tuning: {ratio:.0f}")
    right.set(
        title="dᵀF d over what the diagonal charges", xlabel="ratio", ylabel="directions", ylim=(0, 190)
    )
    right.set_xticks([-0.5, 0, 0.5, 1, 1.5], ["0.3", "1", "3", "10", "30"])
    right.legend()
    save(figure, file)


def the_dial(file: Path) -> None:
    """Left: what each lambda costs and buys. Right: the old rows' change beside its two predictions."""
    anchor, old = launched()
    new, old_test = next_month(), task(rows=100, seed=99, noise=NOISE)
    new_test = task(1.0, rows=100, seed=98, noise=NOISE).only(0, 1)
    fisher = diagonal(with_weights(anchor), old)
    weights = importance(fisher, fisher.keys(), "mean")
    grid = torch.logspace(-4, 2, 13).tolist()
    trained = [train(anchor, new, anchors=((anchor, weights),), lambda_=value) for value in grid]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.6))
    for data, colour, name in ((old_test, RED, "old rows"), (new_test, GREEN, "new rows")):
        changes = [loss(w, data) - loss(anchor, data) for w in trained]
        left.plot(grid, changes, "o-", color=colour, label=name)
    left.axhline(0, color=MUTED, linewidth=0.8)
    left.set(xscale="log", xlabel="λ", ylabel="change of loss, nats", title="what each λ costs and buys")
    left.legend()

    full = full_fisher(with_weights(anchor), old)
    moved = [flat(w) - flat(anchor) for w in trained]
    right.plot(
        grid,
        [divergence(anchor, w, old) for w in trained],
        "o-",
        color=RED,
        label="KL on old rows, as measured",
    )
    right.plot(grid, [float(d @ full @ d) / 2 for d in moved], "--", color=BLUE, label="½ dᵀF d, full F")
    right.plot(
        grid,
        [float(full.diag() @ d.square()) / 2 for d in moved],
        "--",
        color=ORANGE,
        label="½ ΣFᵢdᵢ², diagonal",
    )
    right.set(
        xscale="log", yscale="log", xlabel="λ", ylabel="nats", title="what the change was predicted to be"
    )
    right.legend(loc="lower left")
    save(figure, file)


def squared_batch(model: Classifier, data: Task, size: int) -> Weights:
    """What is often taken for a Fisher: the mean over batches of the square of the batch's mean gradient."""
    order = torch.randperm(len(data.y), generator=torch.Generator().manual_seed(0))
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    batches = torch.split(order, size)
    for rows in batches:
        model.zero_grad()
        F.cross_entropy(model(data.x[rows]), data.y[rows]).backward()  # type: ignore[no-untyped-call]
        for name, p in model.named_parameters():
            assert p.grad is not None
            total[name] += p.grad.square() / len(batches)
    return total


def the_kinds(file: Path) -> None:
    """Traces of the kinds of Fisher while a model grows confident; and their shapes once divided by the mean."""
    old = task(noise=NOISE)
    kinds: dict[str, tuple[str, Callable[[Classifier], Weights]]] = {
        "exact": (BLUE, lambda model: diagonal(model, old)),
        "lowrank, two columns": (PURPLE, lambda model: diagonal(model, old, "lowrank", draws=2)),
        "mc, one label": (GREEN, lambda model: diagonal(model, old, "mc", draws=1)),
        "empirical": (ORANGE, lambda model: diagonal(model, old, "empirical")),
        "squared batch of 32": (RED, lambda model: squared_batch(model, old, 32)),
    }
    traces: dict[str, list[float]] = {name: [] for name in kinds}
    apart: dict[str, list[float]] = {name: [] for name in kinds}
    doubt = []
    weights = weights_of(Classifier())
    for _ in range(9):
        weights = train(weights, old, steps=25)
        model = with_weights(weights)
        with torch.no_grad():
            doubt.append(1 - float(model(old.x).softmax(-1).amax(-1).mean()))
        found = {name: flat(kind(model)) for name, (_, kind) in kinds.items()}
        exact = found["exact"] / found["exact"].mean()
        for name, values in found.items():
            traces[name].append(float(values.sum()))
            apart[name].append(float((values / values.mean() - exact).abs().mean()))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.6))
    for name, (colour, _) in kinds.items():
        left.plot(doubt, traces[name], "o-", color=colour, label=name)
        if name != "exact":
            right.plot(doubt, apart[name], "o-", color=colour, label=name)
    left.set(yscale="log", ylabel="trace", title="raw: orders apart")
    right.set(ylabel="mean |W − W exact|", title="over their means: how far from exact", ylim=(0, 2))
    for axis in (left, right):
        axis.set(xscale="log", xlabel="1 − mean confidence: the model is surer to the right")
        axis.invert_xaxis()
    left.legend()
    right.legend()
    save(figure, file)


def many_months(file: Path) -> None:
    """Twelve months of drift about two classes each, under five forms of the penalty; three streams."""
    anchor, old = launched()
    test = task(rows=100, seed=99, noise=NOISE)
    months, streams, strength = 12, 3, 0.3
    forms = {
        "no penalty": MUTED,
        "last month's F": ORANGE,
        "online, F over its mean": BLUE,
        "online, F summed": GREEN,
        "separate anchors": PURPLE,
    }
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.6), sharex=True)
    for form, colour in forms.items():
        kept, learned = torch.zeros(months), torch.zeros(months)
        for stream in range(streams):
            pairs = Random(stream).choices(list(combinations(range(CLASSES), 2)), k=months)
            weights, own = anchor, diagonal(with_weights(anchor), old)
            unit = mean_fisher(own, own.keys())
            merged, terms = own, [(anchor, {n: f / unit for n, f in own.items()})]
            for month, pair in enumerate(pairs):
                seen = task(0.5, rows=20, seed=1000 * stream + month, noise=NOISE).only(*pair)
                later = task(0.5, rows=60, seed=1000 * stream + 500 + month, noise=NOISE).only(*pair)
                anchors: list[Any] = {
                    "no penalty": [],
                    "last month's F": [(weights, importance(own, own.keys(), "mean"))],
                    "online, F over its mean": [(weights, importance(merged, merged.keys(), "mean"))],
                    "online, F summed": [(weights, {n: f / unit for n, f in merged.items()})],
                    "separate anchors": terms,
                }[form]
                weights = train(weights, seen, steps=60, rate=0.02, anchors=tuple(anchors), lambda_=strength)
                own = diagonal(with_weights(weights), seen)
                merged = merge_online(merged, own, 1.0)
                terms = [*terms, (weights, {n: f / unit for n, f in own.items()})]
                kept[month] += accuracy(weights, test) / streams
                learned[month] += accuracy(weights, later) / streams
        left.plot(range(1, months + 1), kept, "o-", markersize=3, color=colour, label=form)
        right.plot(range(1, months + 1), learned, "o-", markersize=3, color=colour)
    left.set(xlabel="month", ylabel="points", title="accuracy on the launch's test rows")
    right.set(xlabel="month", ylabel="points", title="accuracy on the month's own test rows")
    left.legend(loc="center", bbox_to_anchor=(0.62, 0.42))
    save(figure, file)


def accuracy(weights: Weights, data: Task) -> float:
    """Points, 0 to 100."""
    with torch.no_grad():
        return 100 * float((with_weights(weights)(data.x).argmax(1) == data.y).double().mean())


def a_new_label(file: Path) -> None:
    """Left: a head's Fisher before and after growth. Right: what the new row takes, by its norm."""
    rows = task(noise=NOISE)
    old, new = rows.only(0, 1, 2, 3, 4), rows.only(5)
    weights = train(weights_of(Classifier()), old, steps=150)
    before = diagonal(with_weights(weights), old)["head.weight"][:5]
    fisher = aligned_rows({"head": before}, {"head": (CLASSES, before.shape[1])}, where="toy")["head"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.6))
    shares = (fisher / fisher.max()).sqrt()
    for label in range(CLASSES):
        for column in range(fisher.shape[1]):
            left.add_patch(
                plt.Rectangle(
                    (column, label), 0.92, 0.92, color=BLUE, alpha=float(shares[label, column]), linewidth=0
                )
            )
    left.add_patch(plt.Rectangle((0, 5), fisher.shape[1], 0.92, fill=False, edgecolor=RED))
    left.text(
        fisher.shape[1] / 2,
        5.46,
        "the new label's row: F = 0, free to move",
        color=RED,
        ha="center",
        va="center",
    )
    left.set(
        xlim=(-0.2, fisher.shape[1] + 0.2),
        ylim=(6.1, -0.2),
        xticks=[],
        xlabel="feature",
        ylabel="label",
        title="Fisher of the head's weight",
    )
    left.set_yticks([label + 0.46 for label in range(CLASSES)], [str(label) for label in range(CLASSES)])
    left.grid(False)

    model = with_weights(weights)
    with torch.no_grad():
        features = {name: torch.tanh(model.hidden(data.x)) for name, data in (("old", old), ("new", new))}
        head, offset = weights["head.weight"][:5], weights["head.bias"][:5]
        direction = features["new"].mean(0) / features["new"].mean(0).norm()
        norms = torch.linspace(0, 2, 41, dtype=torch.float64)
        taken: dict[str, list[float]] = {"old": [], "new": []}
        for norm in norms:
            row = direction * head.norm(dim=1).mean() * norm
            for name, x in features.items():
                largest = (x @ head.T + offset).amax(1)
                taken[name].append(100 * float((x @ row > largest).double().mean()))
    right.plot(norms, taken["new"], color=GREEN, label="new label's rows: recognised")
    right.plot(norms, taken["old"], color=RED, label="old labels' rows: taken from them")
    right.axvline(NEW_ROW_NORM, color=MUTED, linestyle="--", linewidth=1.2, label="the norm that it is given")
    right.set(
        xlabel="norm of the new row over the old rows' mean norm",
        ylabel="% of rows",
        title="an imprinted row, before any training",
        ylim=(-3, 130),
        yticks=[0, 25, 50, 75, 100],
    )
    right.legend(loc="upper left")
    save(figure, file)


def the_gates_errors(file: Path) -> None:
    """Years with a needless refusal, and losses that are caught, under the former rules and the present ones."""
    result = json.loads((RESULTS / "gate.json").read_text(encoding="utf-8"))
    named: dict[bool, dict[str, dict[str, float]]] = {True: {}, False: {}}
    for row in result["rows"]:
        year, errors = row["scenario"], row["errors"]
        rows = f"{year['launch_rows']:,}" + (f" + {year['month_rows']}/month" if year["month_rows"] else "")
        harmless = not year["loss"]
        pace = "at once" if year["months"] == 1 else "a month"
        what = f"{rows}, " + (
            f"churn {100 * year['churn']:g}%" if harmless else f"{year['loss']:g} lost {pace}"
        )
        share = errors[
            "years" if harmless else "first_month" if year["months"] == 1 else "stopped_before_two"
        ]
        named[harmless].setdefault(what, {})[row["rules"]] = 100 * share
    figure, panels = plt.subplots(1, 2, figsize=(10.4, 3.9))
    titles = (
        "nothing lost: years with a refusal, %",
        "losses that are stopped, %",
    )
    for panel, scenarios, title in zip(panels, named.values(), titles, strict=True):
        for shift, rules, colour in ((-0.2, "old", MUTED), (0.2, "new", BLUE)):
            places = [place + shift for place in range(len(scenarios))]
            shares = [shown[rules] for shown in scenarios.values()]
            panel.barh(places, shares, 0.36, color=colour, label=f"{rules} rules")
        panel.set_yticks(range(len(scenarios)), list(scenarios))
        panel.invert_yaxis()
        panel.set(title=title, xlim=(0, 100))
        panel.grid(False, axis="y")
    panels[0].axvline(20, color=RED, linestyle="--", linewidth=1.2, label="aim: at most 20")
    panels[1].axvline(85, color=GREEN, linestyle="--", linewidth=1.2, label="aim: 85, of months")
    panels[1].axvline(90, color=PURPLE, linestyle="--", linewidth=1.2, label="aim: 90, of years")
    for panel in panels:
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
    save(figure, file)


PICTURES: dict[str, Callable[[Path], None]] = {
    "curvature.svg": curvature,
    "diagonal.svg": what_the_diagonal_drops,
    "dial.svg": the_dial,
    "kinds.svg": the_kinds,
    "months.svg": many_months,
    "growth.svg": a_new_label,
    "gate.svg": the_gates_errors,
}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures"
    torch.set_num_threads(1)
    with plt.rc_context(STYLE):
        for name, draw in PICTURES.items():
            draw(folder / name)


if __name__ == "__main__":
    main()
