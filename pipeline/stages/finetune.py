"""Fine-tune: the base checkpoint and the month's tables to a candidate, held back by the penalty."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import TrainSection
from pipeline.feedback import Row
from pipeline.labels import LabelSet
from pipeline.stages.fisher import ARMS_WITH_FISHER, recorded_fisher
from pipeline.stages.ingest import LABELS_FILE, TRAIN_FILE, VALIDATION_FILE
from pipeline.stages.lineage import ancestors
from pipeline.stages.stage import RunContext, Stage
from pipeline.stages.tables import examples, labels_of, rows_of, validation_rows
from pipeline.store import atomic
from pipeline.store.checkpoints import copy_checkpoint
from pipeline.store.hashing import checkpoint_hash
from pipeline.store.records import CheckpointRef
from pipeline.store.stage_directory import require_stage

if TYPE_CHECKING:
    from pipeline.ewc.deltas import GroupDelta
    from pipeline.modeling.batches import Examples
    from pipeline.modeling.checkpoint import Classifier
    from pipeline.modeling.training import Consolidation, Metric

CHECKPOINT_FOLDER, METRICS_FILE, DELTAS_FILE = "checkpoint", "metrics.jsonl", "deltas.json"


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
        if context.arm in ARMS_WITH_FISHER:
            inputs["fisher"] = recorded_fisher(context).sha256
        for checkpoint in ancestors(context.workspace, context.base):
            record = require_stage(context.workspace.attempt(checkpoint.attempt).stage("ingest"))
            inputs[f"validation {checkpoint.month}"] = record.outputs[VALIDATION_FILE]
    elif context.launch is not None and context.launch.checkpoint is not None:
        inputs["adopted checkpoint"] = checkpoint_hash(context.launch.checkpoint)
    return inputs


def _settings(context: RunContext) -> dict[str, Any]:
    resolved = context.config.resolved()
    if context.launch is not None:
        return {"model": resolved["model"], "launch": resolved["launch"]}
    settings = {"arm": context.arm, "max_length": resolved["model"]["max_length"]}
    if context.arm != "freeze":
        settings["train"] = resolved["train"]
    if context.arm in ARMS_WITH_FISHER:
        settings["ewc"] = resolved["ewc"]
    return settings


def _body(context: RunContext, folder: Path) -> None:
    target = folder / CHECKPOINT_FOLDER
    adopted = context.launch.checkpoint if context.launch is not None else None
    if adopted is not None:
        _copy_checkpoint(adopted, target)
        _save_reports(folder, [], [])
    elif context.base is not None and context.arm == "freeze":
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
    from pipeline.modeling.training import finetune

    config = context.config
    device = choose_device(context.device)
    train_rows = rows_of(context.output("ingest") / TRAIN_FILE)
    labels = labels_of(context.attempt)
    if context.base is None:
        location = base_location(config.model.base, context.workspace.root)
        classifier = new_classifier(location, labels, seed=config.seed)
        settings: TrainSection = config.launch
    else:
        classifier = load_classifier(context.workspace.root / context.base.path)
        classifier = _with_new_labels(classifier, labels, train_rows, config.model.max_length)
        settings = config.train
        if context.arm == "head":
            settings = settings.model_copy(update={"layers": "head"})
    classifier.model.to(device)

    def tokenised(rows: list[Row]) -> "Examples":
        return examples(classifier.tokenizer, rows, labels, config.model.max_length)

    anchor = {name: p.detach().clone() for name, p in classifier.model.named_parameters()}
    fisher = _aligned_fisher(context, anchor) if context.arm in ARMS_WITH_FISHER and context.base else None
    result = finetune(
        classifier,
        tokenised(train_rows),
        _Validation(
            new=tokenised(rows_of(context.output("ingest") / VALIDATION_FILE)),
            prior=tokenised(validation_rows(context.workspace, ancestors(context.workspace, context.base))),
        ),
        settings=settings,
        consolidation=_consolidation(context, classifier, anchor, fisher),
        seed=config.seed,
        autocast=autocast_dtype(settings.precision, device),
        progress=context.progress,
    )
    with torch.no_grad():
        named = {
            name: p for name, p in classifier.model.named_parameters() if fisher is None or name in fisher
        }
        deltas = group_deltas(named, anchor, fisher)
    classifier.model.to("cpu")
    atomic.make_folder(target)
    save_classifier(classifier, target)
    _save_reports(folder, result.metrics, deltas)


def _with_new_labels(
    classifier: "Classifier", labels: LabelSet, rows: list[Row], max_length: int
) -> "Classifier":
    """The classifier with a row for every new label, imprinted with the mean feature of its rows."""
    from pipeline.modeling.batches import encode
    from pipeline.modeling.head import grow_head, head_features

    new = labels.names[len(classifier.labels) :]
    if not new:
        return classifier
    members = [row for row in rows if row.label in new]
    features = head_features(
        classifier, encode(classifier.tokenizer, [row.text for row in members], max_length)
    )
    imprints = {}
    for label in new:
        mine = [index for index, row in enumerate(members) if row.label == label]
        imprints[label] = features[mine].mean(dim=0) if mine else features.mean(dim=0)
    return grow_head(classifier, labels, imprints)


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
    from pipeline.modeling.head import trained_parameters
    from pipeline.modeling.training import Consolidation

    if fisher is None:
        return None
    ewc = context.config.ewc
    names = trained_parameters(classifier.model, context.config.train.layers)
    return Consolidation(
        anchor={name: anchor[name] for name in names},
        weights=importance(fisher, names, ewc.scale),
        lambda_=ewc.lambda_,
    )


def _save_reports(folder: Path, metrics: "list[Metric]", deltas: "list[GroupDelta]") -> None:
    lines = [{k: v for k, v in asdict(metric).items() if v is not None} for metric in metrics]
    atomic.write_file(folder / METRICS_FILE, "".join(json.dumps(line) + "\n" for line in lines).encode())
    atomic.write_json(folder / DELTAS_FILE, [asdict(delta) for delta in deltas])


FINETUNE = Stage(
    name="finetune",
    reads="the ingested tables, the base checkpoint, its Fisher, the validation tables of the months before",
    writes="checkpoint/, metrics.jsonl, deltas.json",
    inputs=_inputs,
    settings=_settings,
    body=_body,
)
