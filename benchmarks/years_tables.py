"""The tables of the arms over years, from what benchmarks/years.py measured."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markdown_tables import signed, table

FILES = "years-*.json"
DRIFT_AIM = 1.0
"""Points that the launch's golden set may lose in all the months beyond what joint training loses there."""
Arm = Mapping[str, Any]
Parts = Sequence[Mapping[str, Any]]


def years_table(parts: Parts) -> str:
    """Every arm of every long stream, in points; seconds of the first and the last three months."""
    head = [
        "stream",
        "arm",
        "prior, a month",
        "launch set",
        "end",
        "macro-F1",
        "not promoted",
        "CPU s a month, first and last three",
    ]
    lines = []
    for part, arm in _arms(parts):
        joint = arm["arm"] == "joint"  # of one month alone
        change = arm["prior_change"]
        spent = list(arm["seconds"].values())
        lines.append(
            [
                _stream(part),
                f"`{arm['arm']}`",
                "-" if joint or change is None else signed(change),
                signed(_drift(arm)),
                f"{arm['end']:.2f}",
                f"{arm['end_macro_f1']:.2f}",
                "-" if joint else str(len(arm["refused"])),
                f"{_mean(spent)}" if joint else f"{_mean(spent[:3])}, {_mean(spent[-3:])}",
            ]
        )
    return table(head, lines)


def years_aims(parts: Parts) -> str:
    """What the launch's golden set lost beyond joint training, beside the aim."""
    lines = []
    for part, arm in _arms(parts):
        joint = part["arms"].get("joint")
        if joint is None or arm["arm"] not in ("default", "forced"):
            continue
        beyond = _drift(arm) - _drift(joint)
        kept = "yes" if beyond >= -DRIFT_AIM else f"no, by {-DRIFT_AIM - beyond:.2f}"
        changes = [signed(points) for points in (_drift(arm), _drift(joint), beyond)]
        lines.append([_stream(part), f"`{arm['arm']}`", *changes, kept])
    return table(["stream", "arm", "launch set", "joint's", "difference", f"at least -{DRIFT_AIM:g}"], lines)


def years_where(parts: Parts) -> str:
    """Dates, machine and commits of the arms' runs."""
    if not parts:
        return "Not measured yet: `make bench-years`."
    first = parts[0]["environment"]
    arms = [arm for _, arm in _arms(parts)]
    commits = sorted({commit[:7] for arm in arms for commit in arm["git_commits"]})
    return (
        f"Measured up to {max(arm['date'] for arm in arms)[:10]}: {first['cpu']}, {first['cores']} cores "
        f"({first['cpu_capability']}), shared with other work, {first['threads']} thread, torch "
        f"{first['packages']['torch']}, commits {', '.join(commits)}."
    )


def _drift(arm: Arm) -> float:
    return float(arm["launch_after"] - arm["launch_before"])


def _mean(seconds: Sequence[float]) -> str:
    return f"{sum(seconds) / len(seconds):.0f}" if seconds else "-"


def _stream(part: Mapping[str, Any]) -> str:
    return f"{part['stream']}, {part['months']} months"


def _arms(parts: Parts) -> Iterator[tuple[Mapping[str, Any], Arm]]:
    for part in parts:
        for arm in part["arms"].values():
            yield part, arm
