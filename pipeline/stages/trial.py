"""A month made ready once and trained several times: one ingest, one Fisher, one tokenisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from pipeline.recorded.lineage import ancestors
from pipeline.stages.fisher import ensure_fisher
from pipeline.stages.fisher_pass import FisherSettings
from pipeline.stages.learned_rows import Validation
from pipeline.stages.preparation import Prepared, prepare
from pipeline.stages.stage import RunContext
from pipeline.store.fisher_file import read_fisher
from pipeline.store.records import CheckpointRef

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.ewc.fisher import FisherEstimate
    from pipeline.modeling.batches import Examples
    from pipeline.modeling.task import Learner

DIRECTIONAL_STEP = 0.01
"""Of a change: small enough for a straight line, large enough for fp32."""


@dataclass(frozen=True)
class Losses:
    """Cross-entropy in nats [N] and whether each row is right [N], on the prior months' and the new rows."""

    prior: Tensor
    prior_right: Tensor
    new: Tensor
    new_right: Tensor


@dataclass(frozen=True)
class Trial:
    """What every training of the month starts from.

    Attributes:
        ready: its classifier's weights are overwritten by each training.
        fisher: raw F of the old months, aligned to the grown head.
        weights: W of the penalty.
        months: sum of the months' weights in F.
    """

    ready: Prepared
    fisher: dict[str, Tensor]
    weights: dict[str, Tensor]
    months: float

    @property
    def context(self) -> RunContext:
        return self.ready.context

    @property
    def classifier(self) -> Learner:
        return self.ready.classifier

    @property
    def train(self) -> Examples:
        return self.ready.rows.train

    @property
    def anchor(self) -> dict[str, Tensor]:
        """theta*, all parameters, the new labels' rows among them."""
        return self.ready.penalties.anchor

    @property
    def prior_rows(self) -> Examples:
        return self.ready.rows.validation.prior

    @property
    def new_rows(self) -> Examples:
        return self.ready.rows.validation.new

    def weights_at(self, lambda_: float) -> dict[str, Tensor]:
        """Train from the anchor at a lambda, as the monthly job would; the trained parameters, copied."""
        from pipeline.modeling.batches import Examples

        nothing = Examples((), (), ())  # a trial is measured when it is over, not after each epoch
        self.put(self.anchor)
        self.ready.fit(
            self.ready.penalties.consolidation(lambda_) if lambda_ > 0.0 else None,
            watched=Validation(nothing, nothing),
        )
        named = dict(self.classifier.model.named_parameters())
        return {name: named[name].detach().clone() for name in self.fisher}

    def put(self, weights: Mapping[str, Tensor]) -> None:
        """Overwrite the classifier's parameters of these names."""
        import torch

        with torch.no_grad():
            for name, parameter in self.classifier.model.named_parameters():
                if name in weights:
                    parameter.copy_(weights[name])

    def measure(self, weights: Mapping[str, Tensor]) -> Losses:
        """Forward passes with these weights over both validation sets."""
        self.put(weights)
        return Losses(*self._losses(self.prior_rows), *self._losses(self.new_rows))

    def directional(self, change: Mapping[str, Tensor]) -> tuple[float, float]:
        """Slope and curvature of the prior rows' loss along a change from the anchor, in nats."""
        from pipeline.ewc.fisher.columns import scored_labels
        from pipeline.ewc.lambda_path import directional_change

        here = self._at_anchor
        self.put({name: self.anchor[name] + DIRECTIONAL_STEP * d for name, d in change.items()})
        near = self._logits(self.prior_rows).unsqueeze(1)
        return directional_change(scored_labels(here, _ids(self.prior_rows)), near, step=DIRECTIONAL_STEP)

    def training_loss(self, weights: Mapping[str, Tensor]) -> float:
        """Mean loss over the month's own training rows, with the balance of the labels, in nats."""
        from torch.nn import functional as F

        self.put(weights)
        adjusted = self._logits(self.train)
        if self.ready.log_prior is not None:
            adjusted = adjusted + self.ready.log_prior.cpu()
        return float(F.cross_entropy(adjusted, _ids(self.train)))

    def new_fisher(self, estimator: str, samples: int) -> FisherEstimate:
        """The Fisher at the anchor over at most `samples` of the month's rows."""
        from pipeline.ewc.fisher import fisher_diagonal
        from pipeline.modeling.batches import keyed_batches

        self.put(self.anchor)
        few = evenly(self.train, samples)
        with self.context.progress("fisher", len(few), "example") as advance:
            return fisher_diagonal(
                self.classifier.model,
                keyed_batches(self.classifier.tokenizer, few, seed=self.context.config.seed),
                estimator=estimator,
                parameters=list(self.fisher),
                seed=self.context.config.seed,
                advance=advance,
            )

    @cached_property
    def _at_anchor(self) -> Tensor:
        """The anchor's logits of the prior rows."""
        self.put(self.anchor)
        return self._logits(self.prior_rows)

    def _logits(self, rows: Examples) -> Tensor:
        from pipeline.modeling.prediction import logits

        with self.ready.looked_up():
            return logits(self.classifier, rows.encoded)

    def _losses(self, rows: Examples) -> tuple[Tensor, Tensor]:
        from torch.nn import functional as F

        found, ids = self._logits(rows), _ids(rows)
        return F.cross_entropy(found, ids, reduction="none"), found.argmax(dim=1) == ids


def prepare_trial(context: RunContext) -> Trial:
    """Load, tokenise, grow the head and read (or compute) the base's Fisher, once.

    Raises:
        UsageError: at a launch.
    """
    base = context.base
    if base is None:
        raise UsageError(f"{context.month}: is the launch; there is nothing before it to protect")
    file = ensure_fisher(
        context.workspace,
        base,
        FisherSettings.of(context.config),
        device=context.device,
        progress=context.progress,
    )
    ready = prepare(context, file)
    consolidation = ready.penalties.consolidation(1.0)
    assert ready.penalties.fisher is not None
    assert consolidation is not None
    months = months_summed(context, base, file)
    weights = {name: tensor * consolidation.lambda_ for name, tensor in consolidation.weights.items()}
    return Trial(ready, ready.penalties.fisher, weights, months)


def months_summed(context: RunContext, base: CheckpointRef, fisher_file: Path) -> float:
    """Of how many months' Fishers the penalty's is the sum; with gamma below 1 the earlier ones count for less."""
    if context.config.ewc.months == "separate":
        return float(len(ancestors(context.workspace, base)))
    metadata = read_fisher(fisher_file)[1]
    return float(sum(metadata.gamma**age for age in range(len(metadata.months) or 1)))


def with_a_penalty(context: RunContext) -> RunContext:
    """The same month with a recipe that has a penalty: the configured arm's, or `ewc` where it has none."""
    config = context.config
    arm = config.arm if config.arm in ("default", "ewc") else "ewc"
    strengths = ("lambda_", "replay_lambda", "growth_lambda")
    ewc = config.ewc.model_copy(update={name: getattr(config.ewc, name) or 1.0 for name in strengths})
    return replace(context, config=config.model_copy(update={"arm": arm, "ewc": ewc}))


def _ids(rows: Examples) -> Tensor:
    import torch

    return torch.tensor(rows.label_ids, dtype=torch.int64)


def evenly(rows: Examples, count: int) -> Examples:
    """At most `count` of the rows, evenly spaced."""
    step = -(-len(rows) // count)
    return rows.at(range(0, len(rows), step))
