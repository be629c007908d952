"""The tables of the arms over the monthly streams, from what benchmarks/headline.py measured."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markdown_tables import signed, table

STREAMS = ("clinc150-fixed", "banking77-fixed", "clinc150", "banking77")
SHARE_OF_PLAIN = 85.0
"""Per cent of plain fine-tuning's accuracy on a month's drifted and new rows that the default must reach."""
Parts = Sequence[Mapping[str, Any]]
Arm = Mapping[str, Any]


@dataclass(frozen=True)
class Aims:
    """What the default is to reach on a stream, in points; `end` None: the highest of all arms but joint."""

    prior: float
    worst: float
    launch: float
    end: float | None


AIMS = {
    "clinc150-fixed": Aims(-0.2, -0.8, 0.0, 95.0),
    "banking77-fixed": Aims(-0.4, -1.5, 0.0, 88.0),
    "clinc150": Aims(-0.4, -1.2, -1.0, 92.0),
    "banking77": Aims(-0.5, -1.5, -1.5, None),
}
EWC_AIMS = {"clinc150-fixed": (-0.4, 1.5)}
"""What the penalty alone is to reach: change of the prior rows a month, and of each month's own."""


def arms_table(parts: Parts) -> str:
    """Every arm of every stream, in points."""
    head = [
        "stream",
        "arm",
        "seeds",
        "prior, a month",
        "worst month",
        "launch set",
        "own month",
        "drifted / new, after",
        "end",
        "s a month",
    ]
    lines = []
    for stream, arm in _arms(parts):
        seeds = list(arm["prior_by_seed"].values())
        spread = f" ({signed(min(seeds))} to {signed(max(seeds))})" if len(seeds) > 1 else ""
        slices = [
            f"{arm['own_by_slice'][name]:.1f}" for name in ("drifted", "new") if name in arm["own_by_slice"]
        ]
        lines.append(
            [
                stream,
                arm["arm"],
                str(len(seeds)),
                f"{signed(arm['prior_change'])}{spread}",
                signed(_worst(arm)),
                signed(arm["launch_change"]),
                signed(arm["gain"]),
                " / ".join(slices),
                f"{arm['final_accuracy']:.2f}",
                f"{arm['seconds']:.0f}",
            ]
        )
    return table(head, lines)


def arms_targets(parts: Parts) -> str:
    """Each aim of each stream: what was asked for, what the arm reached, and whether that holds."""
    found: dict[str, dict[str, Arm]] = {}
    for stream, arm in _arms(parts):
        found.setdefault(stream, {})[arm["arm"]] = arm
    lines = [line for stream, arms in found.items() for line in _stream_targets(stream, arms)]
    return table(["stream", "arm", "aim", "measured", "holds"], lines)


def _stream_targets(stream: str, arms: Mapping[str, Arm]) -> Iterator[list[str]]:
    def line(arm: str, aim: str, limit: float, value: float) -> list[str]:
        shown = f"{value:.2f}" if limit > 50.0 else signed(value)
        return [stream, arm, aim, shown, "yes" if value >= limit else f"no, by {limit - value:.2f}"]

    aims, default = AIMS[stream], arms.get("default")
    if default is not None:
        yield line("default", f"prior, a month >= {aims.prior:g}", aims.prior, default["prior_change"])
        yield line("default", f"worst month >= {aims.worst:g}", aims.worst, _worst(default))
        yield line("default", f"launch set >= {aims.launch:g}", aims.launch, default["launch_change"])
        others = {
            name: arm["final_accuracy"] for name, arm in arms.items() if name not in ("default", "joint")
        }
        best = max(others, key=others.__getitem__)
        end, asked = (
            (others[best], f"end >= that of every arm but joint ({best}: {others[best]:.2f})")
            if aims.end is None
            else (aims.end, f"end >= {aims.end:g}")
        )
        yield line("default", asked, end, default["final_accuracy"])
    if default is not None and "plain" in arms:
        for name in ("drifted", "new"):
            if name in default["own_by_slice"]:
                share = 100.0 * default["own_by_slice"][name] / arms["plain"]["own_by_slice"][name]
                aim = f"{name} rows >= {SHARE_OF_PLAIN:g}% of plain's"
                yield line("default", aim, SHARE_OF_PLAIN, share)
    if stream in EWC_AIMS and "ewc" in arms:
        prior, gain = EWC_AIMS[stream]
        yield line("ewc", f"prior, a month >= {prior:g}", prior, arms["ewc"]["prior_change"])
        yield line("ewc", f"own month >= {gain:g}", gain, arms["ewc"]["gain"])


def month_table(result: Mapping[str, Any]) -> str:
    """CPU seconds of each month of the default and of plain, ingest to gate, and their ratio."""
    lines = []
    for stream, months in result["streams"].items():
        total = {arm: sum(month[arm] for month in months.values()) for arm in ("plain", "default")}
        for name, month in [*months.items(), ("all", total)]:
            ratio = f"{month['default'] / month['plain']:.2f}"
            lines.append([stream, name, f"{month['plain']:.1f}", f"{month['default']:.1f}", ratio])
    return table(["stream", "month", "plain, CPU s", "default, CPU s", "ratio"], lines)


def headline_table(parts: Parts) -> str:
    """Plain fine-tuning, EWC alone, the default and the ceiling, for the front page."""
    head = [
        "stream",
        "arm",
        "prior golden rows, a month",
        "launch golden set after six months",
        "all golden sets at the end",
    ]
    lines = [
        [
            stream,
            f"`{arm['arm']}`",
            signed(arm["prior_change"]),
            signed(arm["launch_change"]),
            f"{arm['final_accuracy']:.1f}",
        ]
        for stream, arm in _arms(parts)
        if arm["arm"] in ("plain", "ewc", "default", "joint")
    ]
    return table(head, lines)


def arms_where(parts: Parts) -> str:
    """Dates, machine and commits of the arms' runs."""
    first = parts[0]["environment"]
    arms = [arm for _, arm in _arms(parts)]
    commits = sorted({commit[:7] for arm in arms for commit in arm["git_commits"]})
    return (
        f"Measured up to {max(arm['date'] for arm in arms)[:10]}: {first['cpu']}, {first['cores']} cores "
        f"({first['cpu_capability']}), shared with other work, {first['threads']} thread, torch "
        f"{first['packages']['torch']}, commits {', '.join(commits)}."
    )


def _arms(parts: Parts) -> Iterator[tuple[str, Arm]]:
    """Stream and arm of all results, in the order of STREAMS."""
    found = {part["stream"]: part["arms"] for part in parts}
    for stream in STREAMS:
        for arm in found.get(stream, {}).values():
            yield stream, arm


def _worst(arm: Arm) -> float:
    """The worst month of a seed, mean over seeds."""
    by_seed = arm["worst_by_seed"]
    return float(sum(by_seed.values()) / len(by_seed))
