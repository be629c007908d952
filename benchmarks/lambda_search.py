"""How near the search for lambda comes to a full sweep, and at what share of its trainings.

Run `retrain tune --sweep --month M` first; then `python benchmarks/lambda_search.py RUN/tune/lambda.json`.
The sweep trained every candidate, so that the search can be replayed on its table without training anew.
"""

import json
import sys
from dataclasses import fields
from pathlib import Path

from pipeline.ewc.lambda_choice import Measured, choose, next_to_train

MOST_TRAININGS = 4


def main(file: Path) -> dict[str, object]:
    """Replay the search on a sweep's table."""
    table = json.loads(file.read_text(encoding="utf-8"))
    if not table["sweep"]:
        raise SystemExit(f"{file}: was made without --sweep; the search cannot be compared")
    names = [field.name for field in fields(Measured)]
    points: dict[str, list[Measured]] = {"plain": [], "predicted": [], "trained": []}
    for row in table["points"]:
        points[row["kind"]].append(Measured(**{name: row[name] for name in names}))
    plain, keep, grid = points["plain"][0], table["keep"], table["grid"]
    trained: dict[int, Measured] = {}
    while len(trained) < MOST_TRAININGS:
        index = next_to_train(points["predicted"], trained, plain=plain, keep=keep)
        if index is None:
            break
        trained[index] = points["trained"][index]
    swept = choose(points["trained"], plain=plain, keep=keep).lambda_
    searched = choose(list(trained.values()), plain=plain, keep=keep).lambda_
    apart = None
    if swept is not None and searched is not None:
        apart = abs(grid.index(swept) - grid.index(searched))
    return {
        "month": table["month"],
        "grid": grid,
        "sweep chooses": swept,
        "search chooses": searched,
        "grid steps apart": apart,
        "search trains": [0.0, *sorted(point.lambda_ for point in trained.values())],
        "share of the sweep's trainings": round((len(trained) + 1) / (len(grid) + 1), 3),
        "mean |predicted - trained| prior change, nats": table["mean_distance"],
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python benchmarks/lambda_search.py RUN/tune/lambda.json")
    print(json.dumps(main(Path(sys.argv[1])), indent=1))
