"""What a month's training starts from: rows tokenised, head grown, anchor kept, Fisher aligned; done once."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import TrainSection
from pipeline.labels import LabelSet
from pipeline.recorded.rows import labels_of
from pipeline.stages.learned_rows import LearnedRows, Validation, learned_rows
from pipeline.stages.penalties import Penalties, penalties
from pipeline.stages.stage import RunContext
from pipeline.stages.starting_point import Start, starting_point
from pipeline.store.base_models import base_location

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.modeling.frozen_layers import FrozenLayers
    from pipeline.modeling.penalty_callback import Consolidation
    from pipeline.modeling.resume import Resumption
    from pipeline.modeling.task import Learner
    from pipeline.modeling.task_loss import Distillation
    from pipeline.modeling.trained import Trained
    from pipeline.modeling.training import TrainingResult


@dataclass(frozen=True)
class Prepared:
    """A month that is ready to be trained.

    Attributes:
        classifier: at the weights that training starts from.
        settings: `launch` or `train` of the configuration.
        rows: what is learned.
        log_prior: log pi [C] of the balanced softmax; None for the plain cross-entropy.
        distillation: the champion's answers; None for none.
        trained: what the training moves.
        penalties: what may hold the training.
        frozen: what the layers that stay as they are say about every row; None where none does.
        closed: ids of merged and retired labels: their rows of the head are not trained.
    """

    context: RunContext
    classifier: Learner
    settings: TrainSection
    rows: LearnedRows
    log_prior: Tensor | None
    distillation: Distillation | None
    trained: Trained
    penalties: Penalties
    frozen: FrozenLayers | None
    closed: tuple[int, ...] = ()

    def fit(
        self,
        consolidation: Consolidation | None,
        *,
        watched: Validation,
        resumption: Resumption | None = None,
    ) -> TrainingResult:
        """Train the classifier, from the weights that it now has, as the recipe says."""
        from pipeline.modeling.device import autocast_dtype
        from pipeline.modeling.training import Objective, Replay, Training

        per_step = self.context.recipe.replayed_per_step
        training = Training(
            self.classifier,
            self.rows.train,
            watched,
            settings=self.settings,
            objective=Objective(consolidation, self.log_prior, self.distillation, self._open_ids()),
            seed=self.context.config.seed,
            autocast=autocast_dtype(self.settings.precision, self.classifier.model.device),
            replay=Replay(self.rows.memory, per_step) if len(self.rows.memory) else None,
        )
        with self.looked_up():
            return training.run(progress=self.context.progress, resumption=resumption)

    def _open_ids(self) -> Tensor | None:
        import torch

        from pipeline.modeling.closed_labels import open_ids

        return torch.tensor(open_ids(len(self.classifier.labels), self.closed)) if self.closed else None

    def looked_up(self) -> AbstractContextManager[None]:
        """While open, the classifier's frozen layers are looked up instead of run, for the rows made ready."""
        return self.frozen.looked_up(self.classifier.model) if self.frozen is not None else nullcontext()


def prepare(context: RunContext, fisher_file: Path | None) -> Prepared:
    """Load the base (or the pretrained model), tokenise, grow the head and align the Fisher.

    Args:
        fisher_file: of the base; None for a training without penalty.
    """
    from pipeline.modeling.device import autocast_dtype
    from pipeline.modeling.frozen_layers import remember_frozen_layers
    from pipeline.modeling.trained import trained_by

    labels = labels_of(context.attempt)
    closed = context.label_changes.closed_ids(labels)
    classifier, settings = _loaded(context, labels, closed)
    reader = replace(classifier, labels=labels)  # the month's, new ones among them
    rows = learned_rows(
        context, lambda table: reader.task.encoded(reader, table, context.config.model.max_length)
    )
    trained = trained_by(settings.layers)
    frozen = remember_frozen_layers(
        classifier,
        rows.encoded,
        trained,
        autocast=autocast_dtype(settings.precision, classifier.model.device),
    )
    known = classifier.model.named_parameters() if context.base is not None else ()
    champion = {name: tuple(parameter.shape) for name, parameter in known}
    start = Start(classifier, rows, None, None)
    if context.base is not None and not context.recipe.from_scratch:
        start = starting_point(context, labels, classifier, rows, frozen)
    return Prepared(
        context=context,
        classifier=start.classifier,
        settings=settings,
        rows=start.rows,
        log_prior=start.log_prior,
        distillation=start.distillation,
        trained=trained,
        penalties=penalties(context, start.classifier.model, trained, champion, fisher_file, closed),
        frozen=frozen,
        closed=closed,
    )


def _loaded(context: RunContext, labels: LabelSet, closed: tuple[int, ...]) -> tuple[Learner, TrainSection]:
    """The base checkpoint, or the pretrained model with a new head, on its device; and how it is trained."""
    from pipeline.modeling.checkpoint import require_length
    from pipeline.modeling.closed_labels import close_rows_
    from pipeline.modeling.device import choose_device
    from pipeline.modeling.tasks import SEQUENCE_CLASSIFICATION, load_learner

    config, recipe = context.config, context.recipe
    settings: TrainSection = config.launch
    if context.base is None or recipe.from_scratch:
        location = base_location(config.model.base, context.workspace.root)
        month = SEQUENCE_CLASSIFICATION.require_month(location)
        classifier = month.new(location, labels, seed=config.seed)
        close_rows_(classifier.model, closed)
    else:
        classifier = load_learner(context.workspace.root / context.base.path)
        epochs = recipe.epochs or config.train.epochs
        settings = config.train.model_copy(update={"layers": recipe.layers, "epochs": epochs})
    require_length(classifier.model, config.model.max_length)
    classifier.model.to(choose_device(context.device))
    return classifier, settings
