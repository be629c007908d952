"""How long `retrain --help` takes beside a bare Typer app.

Runs both in turn, in processes of their own, and compares the CPU time (user and system) of the whole
process: a busy machine delays the wall clock, not that. Each pair gives one ratio; the median is printed
with its spread, the times and the environment. The aim is a ratio below 3.

    python benchmarks/startup.py [PAIRS]
"""

import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version

AIM = 3.0
BARE = """
import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def hello(name: str = "you") -> None:
    "Say hello."


@app.command()
def goodbye(name: str = "you") -> None:
    "Say goodbye."


app()
"""
RETRAIN = "from cli.main import run_retrain; run_retrain()"


def cpu_seconds(code: str) -> float:
    """User and system seconds of one process that runs the code with `--help`."""
    before = os.times()
    subprocess.run([sys.executable, "-c", code, "--help"], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    cpu_seconds(BARE), cpu_seconds(RETRAIN)  # compiled files and the disk's cache are warm from here on
    bare: list[float] = []
    ours: list[float] = []
    for pair in range(pairs):
        for code, times in ((BARE, bare), (RETRAIN, ours))[:: 1 if pair % 2 else -1]:
            times.append(cpu_seconds(code))
    ratios = [mine / theirs for mine, theirs in zip(ours, bare, strict=True)]
    quartiles = statistics.quantiles(ratios, n=4)
    result = {
        "pairs": pairs,
        "bare_typer_seconds": round(statistics.median(bare), 3),
        "retrain_seconds": round(statistics.median(ours), 3),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_quartiles": [round(quartiles[0], 2), round(quartiles[2], 2)],
        "aim": AIM,
        "environment": {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "typer": version("typer"),
            "rich": version("rich"),
        },
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
