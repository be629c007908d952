"""What moved: the weight change of each parameter group read against its Fisher."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_LAYER = re.compile(r"\A(.*?\b(?:layers?|h|blocks?)\.\d+)\.")


@dataclass(frozen=True)
class GroupDelta:
    """One parameter group's change d = theta - theta*.

    Attributes:
        group: such as `bert.encoder.layer.5` or `classifier`.
        size: number of parameters.
        norm: ||d||_2.
        relative: ||d||_2 / ||theta*||_2 (0 when the anchor is zero).
        fisher_mass: sum F of the group over the sum of all groups; None without a Fisher.
        weighted_change: sum_i F_i d_i^2, raw F; None without a Fisher.
        weighted_share: the group's share of the total weighted change; None without a Fisher.
    """

    group: str
    size: int
    norm: float
    relative: float
    fisher_mass: float | None
    weighted_change: float | None
    weighted_share: float | None


def group_of(name: str) -> str:
    """The group of a parameter: its numbered layer, or the module that owns it outside of layers."""
    match = _LAYER.match(name)
    return match[1] if match else name.rpartition(".")[0] or name


def group_deltas(
    parameters: Mapping[str, Tensor], anchor: Mapping[str, Tensor], fisher: Mapping[str, Tensor] | None
) -> list[GroupDelta]:
    """The change of every parameter group, in the order of `parameters`.

    Args:
        parameters: theta, name to tensor.
        anchor: theta*, same names and shapes (a grown head is compared with its initialised rows).
        fisher: F >= 0, same names and shapes; None when the arm computes none.
    """
    members: dict[str, list[str]] = {}
    for name in parameters:
        members.setdefault(group_of(name), []).append(name)
    change = {n: parameters[n].detach().double() - anchor[n].double() for n in parameters}
    mass: dict[str, float] = {}
    weighted: dict[str, float] = {}
    if fisher is not None:
        for group, names in members.items():
            mass[group] = sum(fisher[n].sum(dtype=torch.float64).item() for n in names)
            weighted[group] = sum((fisher[n].double() * change[n].square()).sum().item() for n in names)
    total_mass, total_weighted = sum(mass.values()), sum(weighted.values())
    deltas = []
    for group, names in members.items():
        norm = sum(change[n].square().sum().item() for n in names) ** 0.5
        base = sum(anchor[n].double().square().sum().item() for n in names) ** 0.5
        deltas.append(
            GroupDelta(
                group=group,
                size=sum(parameters[n].numel() for n in names),
                norm=norm,
                relative=norm / base if base else 0.0,
                fisher_mass=_share(mass[group], total_mass) if fisher is not None else None,
                weighted_change=weighted[group] if fisher is not None else None,
                weighted_share=_share(weighted[group], total_weighted) if fisher is not None else None,
            )
        )
    return deltas


def _share(part: float, total: float) -> float:
    return part / total if total > 0.0 else 0.0
