"""Where the change of a month went: by layer and kind of parameter, weighed with the Fisher."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.ewc.deltas import group_of

ALL = "all"
_KINDS = (
    ("norm", r"norm|\bln_"),
    ("query", r"query|q_proj|q_lin"),
    ("key", r"key|k_proj|k_lin"),
    ("value", r"value|v_proj|v_lin"),
    ("query, key, value", r"c_attn|qkv|query_key_value"),
    ("attention out", r"attention\.output|out_proj|o_proj|out_lin|attn\.c_proj"),
    ("feed-forward in", r"intermediate|lin1|up_proj|gate_proj|c_fc|fc1"),
    ("feed-forward out", r"output\.dense|lin2|down_proj|mlp\.c_proj|fc2"),
    ("embedding", r"embed|wte|wpe"),
)
KINDS = (*(kind for kind, _ in _KINDS), "dense")
"""In the order in which a heat map shows them."""


@dataclass(frozen=True)
class Movement:
    """The change d = theta - theta* of one kind of parameter in one group; `kind` is `all` for a whole group.

    Attributes:
        size: number of parameters.
        norm: ||d||.
        relative: ||d|| / ||theta*||, 0 when theta* is zero.
        fisher_mass: share of sum F.
        weighted_change: sum F d^2; half of it is the predicted rise of the old months' loss, in nats.
        weighted_share: share of the whole sum F d^2.
        protection: sum F d^2 / (mean F * sum d^2), the means over this part: 1 when the change is blind
            to which weights are protected, above 1 when it went to protected ones, below 1 when it
            spared them; None when nothing moved or F is zero.
    """

    group: str
    kind: str
    size: int
    norm: float
    relative: float
    fisher_mass: float
    weighted_change: float
    weighted_share: float
    protection: float | None


@dataclass
class _Sums:
    size: int = 0
    squares: float = 0.0
    anchor_squares: float = 0.0
    mass: float = 0.0
    weighted: float = 0.0


def kind_of(name: str) -> str:
    """What a parameter is inside its layer, such as `query` or `feed-forward in`; `dense` for others."""
    return next((kind for kind, pattern in _KINDS if re.search(pattern, name.lower())), "dense")


def movements(
    parameters: Mapping[str, Tensor], anchor: Mapping[str, Tensor], fisher: Mapping[str, Tensor]
) -> list[Movement]:
    """The movement of every group as a whole (`kind` all) and of each kind in it, most harmful group first.

    Args:
        parameters: theta; a first dimension may be longer than the anchor's (a grown head): rows without
            an anchor are left out.
        anchor: theta*.
        fisher: raw F >= 0, shapes as in `anchor` or with fewer rows; its names decide what is looked at.
    """
    sums: dict[tuple[str, str], _Sums] = {}
    for name, mass in fisher.items():
        start = anchor[name][: mass.shape[0]].double()
        change = parameters[name][: mass.shape[0]].double() - start
        weighted = float((mass.double() * change.square()).sum())
        for kind in (ALL, kind_of(name)):
            part = sums.setdefault((group_of(name), kind), _Sums())
            part.size += mass.numel()
            part.squares += float(change.square().sum())
            part.anchor_squares += float(start.square().sum())
            part.mass += mass.sum(dtype=torch.float64).item()
            part.weighted += weighted
    total_mass = sum(part.mass for (_, kind), part in sums.items() if kind == ALL)
    total_weighted = sum(part.weighted for (_, kind), part in sums.items() if kind == ALL)
    found = [
        Movement(
            group=group,
            kind=kind,
            size=part.size,
            norm=part.squares**0.5,
            relative=(part.squares / part.anchor_squares) ** 0.5 if part.anchor_squares else 0.0,
            fisher_mass=part.mass / total_mass if total_mass else 0.0,
            weighted_change=part.weighted,
            weighted_share=part.weighted / total_weighted if total_weighted else 0.0,
            protection=part.weighted * part.size / (part.mass * part.squares)
            if part.mass and part.squares
            else None,
        )
        for (group, kind), part in sums.items()
    ]
    harm = {item.group: item.weighted_change for item in found if item.kind == ALL}
    return sorted(found, key=lambda item: (-harm[item.group], item.group, item.kind != ALL))
