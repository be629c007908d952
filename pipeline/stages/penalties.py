"""What a month's training may be held by: the Fisher of the months before, around the weights that they ended with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import EwcSection
from pipeline.recipe import Recipe
from pipeline.stages.stage import RunContext
from pipeline.store.hashing import FISHER_FILE
from pipeline.store.registry import verify_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.modeling.penalty_callback import Consolidation
    from pipeline.modeling.trained import Trained


@dataclass(frozen=True)
class Penalties:
    """The penalties that a training can have.

    Attributes:
        model: that is trained.
        trained: what the training moves.
        recipe: which of them it has, and how strong.
        ewc: the configuration's section.
        anchor: theta*, all parameters, the new labels' rows among them.
        champion: name to shape of the champion's parameters, before its head grew; empty at launch.
        fisher: raw F of the months before, aligned to the grown head; None for none.
        center: what the penalty pulls to, for the names in `fisher`, where that is not the anchor.
    """

    model: Any
    trained: Trained
    recipe: Recipe
    ewc: EwcSection
    anchor: dict[str, Tensor]
    champion: dict[str, tuple[int, ...]]
    fisher: dict[str, Tensor] | None
    center: dict[str, Tensor] | None = None

    def of_recipe(self) -> Consolidation | None:
        """The recipe's penalty; None for none, and at launch."""
        from pipeline.ewc.l2sp import equal_importance
        from pipeline.modeling.penalty_callback import Consolidation

        recipe = self.recipe
        if not self.champion or not recipe.l2sp_lambda:
            return self.consolidation(recipe.ewc_lambda) if recipe.ewc_lambda else None
        anchor = {n: self.anchor[n] for n in self.trained.weights(self.model)}
        return Consolidation(anchor, equal_importance(self.champion, anchor), recipe.l2sp_lambda)

    def consolidation(self, lambda_: float) -> Consolidation | None:
        """The recipe's EWC penalty at a configured lambda; None without a Fisher."""
        from pipeline.ewc.penalty import raw_lambda
        from pipeline.modeling.head import head_parameters
        from pipeline.modeling.penalty_callback import Consolidation

        if self.fisher is None:
            return None
        recipe = self.recipe
        names = self.trained.weights(self.model)
        scale = self.ewc.scale
        strength = raw_lambda(self.fisher, names, scale, lambda_ * recipe.ewc_factor)
        free = set() if recipe.protects_head else head_parameters(self.model)
        held = [name for name in names if name not in free]
        center = self.anchor if self.center is None else self.center
        return Consolidation(
            anchor={name: center[name] for name in held},
            weights={name: self.fisher[name] for name in held},
            lambda_=strength,
            form=self.ewc.form,
        )


def penalties(
    context: RunContext,
    model: Any,
    trained: Trained,
    champion: dict[str, tuple[int, ...]],
    fisher_file: Path | None,
    closed: tuple[int, ...],
) -> Penalties:
    """The penalties around the weights that the model has now.

    Args:
        trained: what the training moves.
        fisher_file: of the base; None for a training without a Fisher.
        closed: ids of merged and retired labels, which have nothing to forget.
    """
    from pipeline.modeling.closed_labels import without_rows

    anchor = {name: p.detach().clone() for name, p in model.named_parameters()}
    fisher, center = None, None
    if fisher_file is not None and context.config.ewc.months == "separate":
        fisher, center = _separate_months(context, anchor)
    elif fisher_file is not None:
        fisher = _aligned_fisher(fisher_file, anchor)
    if fisher is not None:
        fisher = without_rows(fisher, model, closed)
    return Penalties(model, trained, context.recipe, context.config.ewc, anchor, champion, fisher, center)


def _aligned_fisher(file: Path, anchor: dict[str, Tensor]) -> dict[str, Tensor]:
    """A Fisher on the device of the anchor, its rows aligned to the grown head."""
    from pipeline.ewc.growth import aligned_rows
    from pipeline.store.fisher_file import read_fisher

    fisher, _ = read_fisher(file)
    shapes = {name: tuple(tensor.shape) for name, tensor in anchor.items() if name in fisher}
    aligned = aligned_rows(fisher, shapes, where=str(file))
    return {name: tensor.to(anchor[name].device) for name, tensor in aligned.items()}


def _separate_months(
    context: RunContext, anchor: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Fisher and anchor that stand for every ancestor's own, which are read one after the other."""
    from pipeline.ewc.separate import collapsed
    from pipeline.modeling.tasks import load_learner
    from pipeline.store.fisher_file import read_fisher

    def months() -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        for ancestor in context.line:
            verify_checkpoint(context.workspace, ancestor)
            folder = context.workspace.resolve(ancestor.path)
            model = load_learner(folder).model
            yield read_fisher(folder / FISHER_FILE)[0], {n: p.detach() for n, p in model.named_parameters()}

    return collapsed(months(), anchor, where=f"the months before {context.month}")
