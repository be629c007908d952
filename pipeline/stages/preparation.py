"""What a month's training starts from: rows tokenised, head grown, anchor kept, Fisher aligned; done once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import TrainSection
from pipeline.feedback import Row, present_rows
from pipeline.labels import LabelSet
from pipeline.recorded.names import TRAIN_FILE, VALIDATION_FILE
from pipeline.recorded.rows import examples, labels_of, rows_of, training_rows, validation_rows
from pipeline.replay import replay_memory
from pipeline.stages.stage import RunContext
from pipeline.store.base_models import base_location
from pipeline.store.hashing import FISHER_FILE
from pipeline.store.records import CheckpointRef
from pipeline.store.registry import verify_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.modeling.batches import Examples
    from pipeline.modeling.checkpoint import Classifier
    from pipeline.modeling.frozen_layers import FrozenLayers
    from pipeline.modeling.penalty_callback import Consolidation
    from pipeline.modeling.resume import Resumption
    from pipeline.modeling.task_loss import Distillation
    from pipeline.modeling.training import TrainingResult


logger = logging.getLogger("retrain")
MOST_TOLD = 5
"""Labels that the log names."""


@dataclass(frozen=True)
class Validation:
    """The validation rows to watch: this month's, and those of the months before."""

    new: Examples
    prior: Examples


@dataclass(frozen=True)
class Prepared:
    """A month that is ready to be trained.

    Attributes:
        classifier: at the weights that training starts from.
        anchor: theta*, all parameters, the new labels' rows among them.
        fisher: raw F of the months before, aligned to the grown head; None without a penalty.
        frozen: what the layers that stay as they are say about every row; None where none does.
        champion: name to shape of the champion's parameters, before its head grew.
        center: what the penalty pulls to, for the names in `fisher`, where that is not the anchor.
        closed: ids of merged and retired labels: their rows of the head are not trained.
    """

    context: RunContext
    classifier: Classifier
    settings: TrainSection
    train: Examples
    memory_rows: list[Row]
    memory: Examples
    validation: Validation
    log_prior: Tensor | None
    distillation: Distillation | None
    anchor: dict[str, Tensor]
    fisher: dict[str, Tensor] | None
    frozen: FrozenLayers | None
    champion: dict[str, tuple[int, ...]]
    center: dict[str, Tensor] | None = None
    closed: tuple[int, ...] = ()

    def penalty(self) -> Consolidation | None:
        """The recipe's penalty; None for none, and at launch."""
        from pipeline.ewc.l2sp import equal_importance
        from pipeline.modeling.head import trained_parameters
        from pipeline.modeling.penalty_callback import Consolidation

        recipe = self.context.recipe
        if self.context.base is None or not recipe.l2sp_lambda:
            return self.consolidation(recipe.ewc_lambda) if recipe.ewc_lambda else None
        anchor = {n: self.anchor[n] for n in trained_parameters(self.classifier.model, recipe.layers)}
        return Consolidation(anchor, equal_importance(self.champion, anchor), recipe.l2sp_lambda)

    def consolidation(self, lambda_: float) -> Consolidation | None:
        """The recipe's EWC penalty at a configured lambda; None without a Fisher."""
        from pipeline.ewc.penalty import raw_lambda
        from pipeline.modeling.head import head_parameters, trained_parameters
        from pipeline.modeling.penalty_callback import Consolidation

        if self.fisher is None:
            return None
        recipe = self.context.recipe
        names = trained_parameters(self.classifier.model, recipe.layers)
        scale = self.context.config.ewc.scale
        strength = raw_lambda(self.fisher, names, scale, lambda_ * recipe.ewc_factor)
        free = set() if recipe.protects_head else head_parameters(self.classifier.model)
        held = [name for name in names if name not in free]
        center = self.anchor if self.center is None else self.center
        return Consolidation(
            anchor={name: center[name] for name in held},
            weights={name: self.fisher[name] for name in held},
            lambda_=strength,
            form=self.context.config.ewc.form,
        )

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
            self.train,
            watched,
            settings=self.settings,
            objective=Objective(consolidation, self.log_prior, self.distillation, self._open_ids()),
            seed=self.context.config.seed,
            autocast=autocast_dtype(self.settings.precision, self.classifier.model.device),
            replay=Replay(self.memory, per_step) if len(self.memory) else None,
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
    from pipeline.modeling.checkpoint import load_classifier, new_classifier, require_length
    from pipeline.modeling.closed_labels import close_rows_, without_rows
    from pipeline.modeling.device import autocast_dtype, choose_device
    from pipeline.modeling.frozen_layers import remember_frozen_layers
    from pipeline.modeling.head import head_features, logits_of

    config, recipe = context.config, context.recipe
    labels = labels_of(context.attempt)
    changes = context.label_changes
    closed = changes.closed_ids(labels)
    settings: TrainSection = config.launch
    if context.base is None or recipe.from_scratch:
        location = base_location(config.model.base, context.workspace.root)
        classifier = new_classifier(location, labels, seed=config.seed)
        close_rows_(classifier.model, closed)
    else:
        classifier = load_classifier(context.workspace.root / context.base.path)
        settings = config.train.model_copy(update={"layers": recipe.layers})
    require_length(classifier.model, config.model.max_length)
    classifier.model.to(choose_device(context.device))

    def tokenised(rows: list[Row]) -> Examples:
        return examples(classifier.tokenizer, rows, labels, config.model.max_length)

    train = tokenised(_training_rows(context))
    memory_rows = _memory(context)
    memory = tokenised(memory_rows)
    validation = Validation(
        new=tokenised(rows_of(context.output("ingest"), VALIDATION_FILE)),
        prior=tokenised(present_rows(validation_rows(context.workspace, context.line), changes)),
    )
    frozen = remember_frozen_layers(
        classifier,
        [row for rows in (train, memory, validation.new, validation.prior) for row in rows.encoded],
        settings.layers,
        autocast=autocast_dtype(settings.precision, classifier.model.device),
    )
    champion = {name: tuple(p.shape) for name, p in classifier.model.named_parameters()}
    log_prior, taught = None, None
    if context.base is not None and not recipe.from_scratch:
        log_prior = _log_prior(context, train, memory, len(labels)) if recipe.balanced else None
        grows = len(labels) > len(classifier.labels)
        features = None
        pulls = bool(len(memory)) and config.replay.interference > 0.0
        if recipe.distills or grows or pulls:
            with frozen.looked_up(classifier.model) if frozen is not None else nullcontext():
                features = head_features(classifier, train.encoded + memory.encoded)
        if recipe.distills and features is not None:
            answers = logits_of(classifier.model, features)
            taught = _distillation(context, answers, train, memory)
        classifier = relabelled(context, classifier)
        if features is not None:
            classifier = _with_new_labels(context, classifier, labels, train, memory, features, log_prior)
            if pulls:
                logits = logits_of(classifier.model, features[len(train) :])
                memory, taught = _replayed_by_interference(context, logits, train, memory, taught)
                log_prior = _log_prior(context, train, memory, len(labels)) if recipe.balanced else None
    anchor = {name: p.detach().clone() for name, p in classifier.model.named_parameters()}
    fisher, center = None, None
    if fisher_file is not None and config.ewc.months == "separate":
        fisher, center = _separate_months(context, anchor)
    elif fisher_file is not None:
        fisher = _aligned_fisher(fisher_file, anchor)
    if fisher is not None:  # what is closed has nothing to forget
        fisher = without_rows(fisher, classifier.model, closed)
    return Prepared(
        context=context,
        classifier=classifier,
        settings=settings,
        train=train,
        memory_rows=memory_rows,
        memory=memory,
        validation=validation,
        log_prior=log_prior,
        distillation=taught,
        anchor=anchor,
        fisher=fisher,
        champion=champion,
        center=center,
        frozen=frozen,
        closed=closed,
    )


def relabelled(context: RunContext, classifier: Classifier) -> Classifier:
    """The base classifier with the changes of labels that are in force in the month."""
    from pipeline.modeling.closed_labels import with_label_changes

    changes, new = context.label_changes, context.new_label_changes
    labels = changes.renamed(classifier.labels)
    return with_label_changes(classifier, labels, new.merges(labels), changes.closed_ids(labels))


def _training_rows(context: RunContext) -> list[Row]:
    """The month's rows; for the joint arm those of all months, a row that occurs again in its latest form."""
    own = rows_of(context.output("ingest"), TRAIN_FILE)
    if not context.recipe.from_scratch:
        return own
    line = context.line
    tables = [_present_table(context, checkpoint) for checkpoint in line]
    return list({row.key: row for table in [*tables, own] for row in table}.values())


def _memory(context: RunContext) -> list[Row]:
    """The rows of earlier months that are learned again; none at launch."""
    if context.base is None or not context.recipe.replayed_per_step:
        return []
    replay = context.config.replay
    line = context.line
    tables = [_present_table(context, checkpoint) for checkpoint in line]
    return replay_memory(
        tables, launch_rows=replay.launch_rows, month_rows=replay.month_rows, seed=context.config.seed
    )


def _present_table(context: RunContext, checkpoint: CheckpointRef) -> list[Row]:
    """What an ancestor was trained on, as it counts now."""
    return present_rows(training_rows(context.workspace.attempt(checkpoint.attempt)), context.label_changes)


def _distillation(context: RunContext, answers: Tensor, train: Examples, memory: Examples) -> Distillation:
    """The champion's answers, [N, C] before its head grew, for the month's rows and then the replayed ones."""
    import torch

    from pipeline.modeling.closed_labels import open_teacher
    from pipeline.modeling.task_loss import Distillation

    distill, known = context.config.distill, answers.shape[1]
    new = [distill.new_weight if label_id < known else 0.0 for label_id in train.label_ids]
    labels, changes = labels_of(context.attempt), context.label_changes
    closed, merges = changes.closed_ids(labels), context.new_label_changes.merges(labels)
    present = dict(merges)
    said = [present.get(label_id, label_id) for label_id in answers[len(train) :].argmax(dim=1).tolist()]
    old = [  # what the champion has lost it is not to teach
        distill.replay_weight if answer == label_id else 0.0
        for answer, label_id in zip(said, memory.label_ids, strict=True)
    ]
    weights = torch.tensor(new + old)
    if closed:
        answers = open_teacher(answers, merges, closed, distill.temperature)
    return Distillation(answers, weights, distill.temperature)


def _replayed_by_interference(
    context: RunContext,
    logits: Tensor,
    train: Examples,
    memory: Examples,
    taught: Distillation | None,
) -> tuple[Examples, Distillation | None]:
    """The memory with those rows more than once that the month's labels pull at, and the champion's answers for it.

    Args:
        logits: [M, C] of the memory, of the classifier that training starts from.
    """
    from pipeline.ewc.interference import again, interference

    counts = again(
        interference(logits, memory.label_ids, train.label_ids), context.config.replay.interference
    )
    more, positions = memory.again(counts)
    labels = labels_of(context.attempt)
    drawn = Counter(labels.names[label_id] for label_id in more.label_ids).most_common(MOST_TOLD)
    if drawn:
        logger.info(
            "  replay: the month's labels pull most at %s; their remembered rows are learned again more often",
            ", ".join(name for name, _ in drawn),
        )
    if taught is not None:
        taught = taught.at([*range(len(train) + len(memory)), *(len(train) + place for place in positions)])
    return memory + more, taught


def _log_prior(context: RunContext, train: Examples, memory: Examples, classes: int) -> Tensor:
    from pipeline.ewc.prior import log_prior

    return log_prior(
        train.label_ids,
        memory.label_ids,
        classes,
        new_per_step=context.config.train.batch_size,
        replayed_per_step=context.recipe.replayed_per_step,
    )


def _with_new_labels(
    context: RunContext,
    classifier: Classifier,
    labels: LabelSet,
    train: Examples,
    memory: Examples,
    features: Tensor,
    prior: Tensor | None,
) -> Classifier:
    from pipeline.modeling.new_labels import with_new_labels

    new_per_step = context.config.train.batch_size
    replayed = context.recipe.replayed_per_step if len(memory) else 0
    return with_new_labels(
        classifier,
        labels,
        train,
        memory,
        features,
        probe=context.recipe.probes,
        log_prior=prior,
        new_share=new_per_step / (new_per_step + replayed),
    )


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
    from pipeline.modeling.checkpoint import load_classifier
    from pipeline.store.fisher_file import read_fisher

    def months() -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        for ancestor in context.line:
            verify_checkpoint(context.workspace, ancestor)
            folder = context.workspace.resolve(ancestor.path)
            model = load_classifier(folder).model
            yield read_fisher(folder / FISHER_FILE)[0], {n: p.detach() for n, p in model.named_parameters()}

    return collapsed(months(), anchor, where=f"the months before {context.month}")
