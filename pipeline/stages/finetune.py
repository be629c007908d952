"""Fine-tune: the base checkpoint and the month's tables to a candidate, held back by the penalty."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import TrainSection
from pipeline.feedback import Row
from pipeline.labels import LabelSet
from pipeline.replay import replay_memory
from pipeline.stages.environment import environment_of
from pipeline.stages.fisher import recorded_fisher
from pipeline.stages.ingest import LABELS_FILE, ROW_COLUMNS, TRAIN_FILE, VALIDATION_FILE
from pipeline.stages.lineage import ancestors
from pipeline.stages.stage import RunContext, Stage
from pipeline.stages.tables import examples, labels_of, rows_of, training_rows, validation_rows
from pipeline.store import atomic
from pipeline.store.checkpoints import copy_checkpoint
from pipeline.store.disk import require_free_space
from pipeline.store.hashing import checkpoint_hash, sha256_json
from pipeline.store.records import CheckpointRef
from pipeline.store.stage_directory import RESUME_FOLDER, require_stage
from pipeline.store.tables import write_parquet

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.ewc.deltas import GroupDelta
    from pipeline.modeling.batches import Examples
    from pipeline.modeling.checkpoint import Classifier
    from pipeline.modeling.resume import Resumption
    from pipeline.modeling.training import Consolidation, Distillation, Metric

CHECKPOINT_FOLDER, METRICS_FILE, DELTAS_FILE = "checkpoint", "metrics.jsonl", "deltas.json"
REPLAY_FILE = "replay.parquet"
logger = logging.getLogger("retrain")


@dataclass(frozen=True)
class _Validation:
    """The validation rows to watch: this month's, and those of the months before."""

    new: "Examples"
    prior: "Examples"


def candidate_of(context: RunContext) -> CheckpointRef:
    """Names the candidate of a finished fine-tune stage."""
    folder = context.output("finetune") / CHECKPOINT_FOLDER
    return CheckpointRef(
        path=folder.relative_to(context.workspace.root).as_posix(),
        sha256=checkpoint_hash(folder),
        month=str(context.month),
        attempt=context.attempt.attempt,
    )


def _inputs(context: RunContext) -> dict[str, str]:
    outputs = context.outputs_of("ingest")
    inputs = {
        f"ingest/{name}": outputs[f"ingest/{name}"] for name in (TRAIN_FILE, VALIDATION_FILE, LABELS_FILE)
    }
    if context.base is not None:
        inputs["base checkpoint"] = context.base.sha256
        if context.uses_fisher:
            inputs["fisher"] = recorded_fisher(context).sha256
        for checkpoint in ancestors(context.workspace, context.base):
            record = require_stage(context.workspace.attempt(checkpoint.attempt).stage("ingest"))
            inputs[f"validation {checkpoint.month}"] = record.outputs[VALIDATION_FILE]
            if context.recipe.replayed_per_step or context.recipe.from_scratch:
                inputs[f"training table {checkpoint.month}"] = record.outputs[TRAIN_FILE]
    elif context.launch is not None and context.launch.checkpoint is not None:
        inputs["adopted checkpoint"] = checkpoint_hash(context.launch.checkpoint)
    return inputs


def _settings(context: RunContext) -> dict[str, Any]:
    resolved = context.config.resolved()
    if context.launch is not None:
        return {"model": resolved["model"], "launch": resolved["launch"]}
    recipe = context.recipe
    settings = {"recipe": asdict(recipe), "max_length": resolved["model"]["max_length"]}
    if recipe.trains:
        settings["train"] = resolved["train"]
    if context.uses_fisher:
        settings["ewc"] = resolved["ewc"]
    if recipe.from_scratch:
        settings |= {"launch": resolved["launch"], "base": resolved["model"]["base"]}
    if recipe.distills:
        settings["distill"] = resolved["distill"]
    if recipe.replayed_per_step:
        settings["replay"] = resolved["replay"]
    return settings


def _body(context: RunContext, folder: Path) -> None:
    target = folder / CHECKPOINT_FOLDER
    adopted = context.launch.checkpoint if context.launch is not None else None
    if adopted is not None:
        _copy_checkpoint(adopted, target)
        _save_reports(folder, [], [])
    elif context.base is not None and not context.recipe.trains:
        _copy_checkpoint(context.workspace.root / context.base.path, target)
        _save_reports(folder, [], [])
    else:
        _train(context, folder, target)


def _copy_checkpoint(source: Path, target: Path) -> None:
    from pipeline.modeling.checkpoint import load_classifier

    load_classifier(source)  # refuse what could not be served before it is copied
    copy_checkpoint(source, target)


def _train(context: RunContext, folder: Path, target: Path) -> None:
    import torch

    from pipeline.ewc.deltas import group_deltas
    from pipeline.modeling.checkpoint import base_location, load_classifier, new_classifier, save_classifier
    from pipeline.modeling.device import autocast_dtype, choose_device
    from pipeline.modeling.training import Replay, finetune

    config, recipe = context.config, context.recipe
    device = choose_device(context.device)
    labels = labels_of(context.attempt)
    settings: TrainSection = config.launch
    if context.base is None or recipe.from_scratch:
        location = base_location(config.model.base, context.workspace.root)
        classifier = new_classifier(location, labels, seed=config.seed)
    else:
        classifier = load_classifier(context.workspace.root / context.base.path)
        settings = config.train.model_copy(update={"layers": recipe.layers})
    classifier.model.to(device)

    def tokenised(rows: list[Row]) -> "Examples":
        return examples(classifier.tokenizer, rows, labels, config.model.max_length)

    train = tokenised(_training_rows(context))
    memory_rows = _memory(context)
    memory = tokenised(memory_rows)
    prior, taught = None, None
    if context.base is not None and not recipe.from_scratch:
        taught = _distillation(context, classifier, train, memory) if recipe.distills else None
        prior = _log_prior(context, train, memory, len(labels)) if recipe.balanced else None
        classifier = _with_new_labels(context, classifier, labels, train, memory, prior)
    anchor = {name: p.detach().clone() for name, p in classifier.model.named_parameters()}
    fisher = _aligned_fisher(context, anchor) if context.uses_fisher else None
    result = finetune(
        classifier,
        train,
        _Validation(
            new=tokenised(rows_of(context.output("ingest") / VALIDATION_FILE)),
            prior=tokenised(validation_rows(context.workspace, ancestors(context.workspace, context.base))),
        ),
        settings=settings,
        consolidation=_consolidation(context, classifier, anchor, fisher),
        seed=config.seed,
        autocast=autocast_dtype(settings.precision, device),
        replay=Replay(memory, recipe.replayed_per_step) if len(memory) else None,
        log_prior=prior,
        distillation=taught,
        progress=context.progress,
        resumption=_resumption(context, folder, classifier, settings.layers),
    )
    with torch.no_grad():
        named = {
            name: p for name, p in classifier.model.named_parameters() if fisher is None or name in fisher
        }
        deltas = group_deltas(named, anchor, fisher)
    classifier.model.to("cpu")
    atomic.make_folder(target)
    save_classifier(classifier, target)
    write_parquet(folder / REPLAY_FILE, [asdict(row) for row in memory_rows], ROW_COLUMNS)
    _save_reports(folder, result.metrics, deltas)


def _resumption(context: RunContext, folder: Path, classifier: "Classifier", layers: str) -> "Resumption":
    """Where training saves its state; refuses to begin where the disk cannot hold that and the candidate."""
    import torch

    from pipeline.modeling.head import trained_parameters
    from pipeline.modeling.resume import KEPT, Resumption
    from pipeline.modeling.trainer_checkpoints import checkpoint_bytes

    # one checkpoint more than are kept, while the newest is being written; and the candidate
    needed = (KEPT + 2) * checkpoint_bytes(classifier.model, trained_parameters(classifier.model, layers))
    require_free_space(folder, needed, purpose="fine-tuning")
    machine = environment_of(context, threads=torch.get_num_threads())
    return Resumption(
        folder=folder / RESUME_FOLDER,
        fingerprint=sha256_json(machine.model_dump(mode="json", exclude={"git_commit", "git_dirty"})),
        tell=lambda text: logger.info("%s", text),
    )


def _training_rows(context: RunContext) -> list[Row]:
    """The month's rows; for the joint arm those of all months, a row of an id that occurs again once."""
    own = rows_of(context.output("ingest") / TRAIN_FILE)
    if not context.recipe.from_scratch:
        return own
    line = ancestors(context.workspace, context.base)
    tables = [training_rows(context.workspace.attempt(checkpoint.attempt)) for checkpoint in line]
    return list({row.id: row for table in [*tables, own] for row in table}.values())


def _memory(context: RunContext) -> list[Row]:
    """The rows of earlier months that are learned again; none at launch."""
    if context.base is None or not context.recipe.replayed_per_step:
        return []
    replay = context.config.replay
    line = ancestors(context.workspace, context.base)
    tables = [training_rows(context.workspace.attempt(checkpoint.attempt)) for checkpoint in line]
    return replay_memory(
        tables, launch_rows=replay.launch_rows, month_rows=replay.month_rows, seed=context.config.seed
    )


def _distillation(
    context: RunContext, champion: "Classifier", train: "Examples", memory: "Examples"
) -> "Distillation":
    """The champion's answers, before its head grows, for the month's rows and then the replayed ones."""
    import torch

    from pipeline.modeling.prediction import logits
    from pipeline.modeling.training import Distillation

    distill, known = context.config.distill, len(champion.labels)
    new = [distill.new_weight if label_id < known else 0.0 for label_id in train.label_ids]
    weights = torch.tensor(new + [distill.replay_weight] * len(memory))
    return Distillation(logits(champion, train.encoded + memory.encoded), weights, distill.temperature)


def _log_prior(context: RunContext, train: "Examples", memory: "Examples", classes: int) -> "Tensor":
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
    classifier: "Classifier",
    labels: LabelSet,
    train: "Examples",
    memory: "Examples",
    prior: "Tensor | None",
) -> "Classifier":
    from pipeline.modeling.new_labels import with_new_labels

    new_per_step = context.config.train.batch_size
    replayed = context.recipe.replayed_per_step if len(memory) else 0
    return with_new_labels(
        classifier,
        labels,
        train,
        memory,
        probe=context.recipe.probes,
        log_prior=prior,
        new_share=new_per_step / (new_per_step + replayed),
    )


def _aligned_fisher(context: RunContext, anchor: dict[str, Any]) -> dict[str, Any]:
    """The base's Fisher on the device of the anchor, its rows aligned to the grown head."""
    from pipeline.ewc.growth import aligned_rows
    from pipeline.store.fisher_file import read_fisher

    record = recorded_fisher(context)
    file = context.workspace.root / record.path
    fisher, _ = read_fisher(file)
    shapes = {name: tuple(tensor.shape) for name, tensor in anchor.items() if name in fisher}
    aligned = aligned_rows(fisher, shapes, where=str(file))
    return {name: tensor.to(anchor[name].device) for name, tensor in aligned.items()}


def _consolidation(
    context: RunContext, classifier: "Classifier", anchor: dict[str, Any], fisher: dict[str, Any] | None
) -> "Consolidation | None":
    from pipeline.ewc.penalty import importance
    from pipeline.modeling.head import head_parameters, trained_parameters
    from pipeline.modeling.training import Consolidation

    if fisher is None:
        return None
    names = trained_parameters(classifier.model, context.recipe.layers)
    weights = importance(fisher, names, context.config.ewc.scale)
    if not context.recipe.protects_head:
        head = head_parameters(classifier.model)
        weights = {name: weight for name, weight in weights.items() if name not in head}
    return Consolidation(
        anchor={name: anchor[name] for name in weights}, weights=weights, lambda_=context.recipe.ewc_lambda
    )


def _save_reports(folder: Path, metrics: "list[Metric]", deltas: "list[GroupDelta]") -> None:
    lines = [{k: v for k, v in asdict(metric).items() if v is not None} for metric in metrics]
    atomic.write_file(folder / METRICS_FILE, "".join(json.dumps(line) + "\n" for line in lines).encode())
    atomic.write_json(folder / DELTAS_FILE, [asdict(delta) for delta in deltas])


FINETUNE = Stage(
    name="finetune",
    reads="the ingested tables, the base checkpoint, its Fisher, the validation tables of the months before",
    writes="checkpoint/, replay.parquet, metrics.jsonl, deltas.json",
    inputs=_inputs,
    settings=_settings,
    body=_body,
    resumable=True,
)
