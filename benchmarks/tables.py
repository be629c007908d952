"""The tables of docs/benchmarks.md and README.md, written from benchmarks/results/.

    python benchmarks/tables.py

Each table stands between `<!-- NAME: begin -->` and `<!-- NAME: end -->`; a test holds the page to the results.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from headline_tables import arms_table, arms_targets, arms_where, headline_table, month_table
from markdown_tables import table
from years_tables import FILES as YEARS
from years_tables import years_aims, years_table, years_where

ROOT = Path(__file__).parents[1]
PAGE, README = ROOT / "docs" / "benchmarks.md", ROOT / "README.md"
GATE_PAGE = ROOT / "docs" / "decisions" / "0007-the-gates-errors-are-stated.md"
RESULTS = ROOT / "benchmarks" / "results"
FLOOR, OURS, LOOP = "forward + backward (floor)", "this engine", "loop of single examples"
OTHERS = {"vmap": "vmap(grad)", "BackPACK": "BackPACK (Linear only)", "Opacus": "Opacus"}
FISHER_COLUMNS = {"ours": OURS, "loop": LOOP, **OTHERS}
COMMAND_AIM = 0.85
HEADLINE = "headline-*.json"
Rows = Mapping[str, Mapping[str, float]]


def fisher_table(result: Mapping[str, Any]) -> str:
    """Ratio to the floor, peak MB and L1 error of each contender, a line a case."""
    head = ["case", "forward + backward", *FISHER_COLUMNS]
    lines = []
    for case, rows in result["cases"].items():
        floor = rows[FLOOR]
        cells = [f"{1000 * floor['seconds']:.0f} ms, {floor['peak_megabytes']:.0f} MB"]
        for name in FISHER_COLUMNS.values():
            row = rows.get(name)
            cells.append(
                "-"
                if row is None
                else f"{row['ratio']:.2f}, {row['peak_megabytes']:.0f} MB, {row['error']:.0e}".replace(
                    "e-0", "e-"
                )
            )
        lines.append([case, *cells])
    return table(head, lines)


def fisher_targets(result: Mapping[str, Any]) -> str:
    """Each target, the cases in which it holds, and those in which it does not with what was measured."""
    cases: Mapping[str, Rows] = result["cases"]
    lines = []
    for target, measured in _targets(cases, result["fisher_megabytes"]):
        kept = [f"{case} ({shown})" for case, shown, good in measured if good]
        missed = [f"{case} ({shown})" for case, shown, good in measured if not good]
        lines.append([target, "; ".join(kept) or "nowhere", "; ".join(missed) or "nowhere"])
    return table(["target", "holds", "does not hold"], lines)


def _targets(
    cases: Mapping[str, Rows], sizes: Mapping[str, float]
) -> Iterator[tuple[str, list[tuple[str, str, bool]]]]:
    def ratios(names: Sequence[str], limit: float) -> list[tuple[str, str, bool]]:
        return [(c, f"{cases[c][OURS]['ratio']:.2f}", cases[c][OURS]["ratio"] <= limit) for c in names]

    def faster(names: Sequence[str], than: str, times: float) -> list[tuple[str, str, bool]]:
        gains = {c: cases[c][than]["ratio"] / cases[c][OURS]["ratio"] for c in names if than in cases[c]}
        return [(c, f"{gain:.2f}", gain >= times) for c, gain in gains.items()]

    large = [c for c in cases if _number(c, "T") >= 32 and _number(c, "B") >= 8]
    yield "ours ≤ 1.15 for T ≥ 32, B ≥ 8", ratios([c for c in large if "tied" not in c], 1.15)
    yield "ours ≤ 1.10 with mixed lengths", ratios([c for c in cases if "mixed" in c], 1.10)
    yield "ours ≤ 1.3 with a tied vocabulary head", ratios([c for c in cases if "tied" in c], 1.3)
    for short, name in OTHERS.items():
        yield f"≥ 3 times faster than {short}", faster(list(cases), name, 3.0)
    yield (
        "≥ 2 times faster than the loop at B ≥ 8",
        faster([c for c in cases if _number(c, "B") >= 8], LOOP, 2.0),
    )
    memory = []
    for case, rows in cases.items():
        beyond = rows[OURS]["peak_megabytes"] - rows[FLOOR]["peak_megabytes"]
        size = sizes[case]
        memory.append((case, f"floor + {beyond:.0f} MB, F {size:.0f} MB", beyond <= size))
    yield "memory ≤ forward + backward, plus F", memory


def _number(case: str, letter: str) -> int:
    found = re.search(rf"\b{letter}=(\d+)", case)
    return int(found[1]) if found else 0


def penalty_table(result: Mapping[str, Any]) -> str:
    """CPU milliseconds, the ratio to AdamW and the peak memory of each way to add the penalty."""
    lines = []
    for name, row in result["contenders"].items():
        ratio, peak = row["of AdamW"], row.get("peak_mebibytes")
        lines.append(
            [
                name,
                f"{row['milliseconds']['median']:.1f}",
                f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})",
                "-" if peak is None else f"{peak:.0f}",
            ]
        )
    return table(["step", "CPU ms", "of AdamW (quartiles)", "peak MiB"], lines)


def penalty_shares(result: Mapping[str, Any]) -> str:
    """What the penalty adds to a training step."""
    lengths = {key.rpartition(", ")[2]: row for key, row in result.items() if key.startswith("share of")}
    names = list(next(iter(lengths.values())))
    return table(
        ["share of a training step", *(f"B=32, {length}" for length in lengths)],
        [[name, *(f"{100 * row[name]:.1f}%" for row in lengths.values())] for name in names],
    )


def command_table(result: Mapping[str, Any]) -> str:
    """CPU seconds of the parts of `fisher compute`."""
    after = result["seconds"]["after start-up"]
    lines = []
    for part, seconds in result["seconds"].items():
        share = "-" if part == "start-up" else f"{100 * seconds / after:.1f}%"
        lines.append([part, f"{seconds:.2f}", share])
    return table(["part", "CPU s", "of the time after start-up"], lines)


def command_share(result: Mapping[str, Any]) -> str:
    """The share in the model beside its target."""
    share, low, high = (result["share in the model"][name] for name in ("median", "low", "high"))
    verdict = "holds" if share >= COMMAND_AIM else "does not hold"
    return (
        f"{result['rows']:,} rows, median of {result['runs']} runs: {share:.1%} of the time after start-up is spent in "
        f"the model ({low:.1%} to {high:.1%}); the target of at least {COMMAND_AIM:.0%} {verdict}."
    )


def gate_table(result: Mapping[str, Any]) -> str:
    """How often the gate refuses, under its former rules and its own, a line a scenario and rules; in percent."""
    head = [
        "golden rows",
        "churn",
        "lost a month",
        "rules",
        "months refused",
        "years with a refusal",
        "stopped",
    ]
    lines = []
    for row in result["rows"]:
        year, errors = row["scenario"], row["errors"]
        later = f" + {year['month_rows']} a month" if year["month_rows"] else ""
        months, years, stopped = (
            f"{100 * errors[name]:.1f}" for name in ("months", "years", "stopped_before_two")
        )
        one_month = year["months"] == 1
        lines.append(
            [
                f"{year['launch_rows']:,}{later}",
                f"{100 * year['churn']:g}",
                f"{year['loss']:g}",
                row["rules"],
                months,
                "-" if one_month else years,
                "-" if one_month or not year["loss"] else stopped,
            ]
        )
    return table(head, lines)


def where(result: Mapping[str, Any]) -> str:
    """Date, machine, versions and commit of a result."""
    e = result["environment"]
    versions = ", ".join(f"{name} {e['packages'][name]}" for name in ("torch", "transformers"))
    commit = f"commit {e['git_commit'][:7]}" + (" with changes" if e["git_dirty"] else "")
    return (
        f"Measured on {e['date'][:10]}: {e['cpu']}, {e['cores']} cores ({e['cpu_capability']}), "
        f"{e['threads']} thread, load {e['load_average'][0]}, Python {e['python']}, {versions}, {commit}."
    )


TABLES: dict[Path, dict[str, tuple[str, Callable[[Any], str]]]] = {
    PAGE: {
        "fisher environment": ("fisher.json", where),
        "fisher table": ("fisher.json", fisher_table),
        "fisher targets": ("fisher.json", fisher_targets),
        "command environment": ("fisher_command.json", where),
        "command table": ("fisher_command.json", command_table),
        "command share": ("fisher_command.json", command_share),
        "penalty environment": ("penalty.json", where),
        "penalty table": ("penalty.json", penalty_table),
        "penalty shares": ("penalty.json", penalty_shares),
        "arms environment": (HEADLINE, arms_where),
        "arms table": (HEADLINE, arms_table),
        "arms targets": (HEADLINE, arms_targets),
        "month environment": ("month_cost.json", where),
        "month table": ("month_cost.json", month_table),
        "years environment": (YEARS, years_where),
        "years table": (YEARS, years_table),
        "years aims": (YEARS, years_aims),
    },
    README: {"headline table": (HEADLINE, headline_table)},
    GATE_PAGE: {"gate table": ("gate.json", gate_table)},
}
"""Page to marker to the result file (all that match a pattern, as a list) and what is made of it."""


def written(text: str, page: Path = PAGE) -> str:
    """The text of a page with every table as the results have it.

    Raises:
        ValueError: when a table's markers are not on the page.
    """
    for name, (file, make) in TABLES[page].items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{page}: expected the markers of {name!r}, found none")
        text = f"{before}{begin}{make(_results(file))}\n{end}{after}"
    return text


def _results(file: str) -> Any:
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob(file))]
    return found if "*" in file else found[0]


if __name__ == "__main__":
    for each in TABLES:
        each.write_text(written(each.read_text(encoding="utf-8"), each), encoding="utf-8")
