"""Fine-tune: the base checkpoint and the month's tables to a candidate, held back by the penalty."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipeline.recorded.names import (
    ADOPTED_INPUT,
    CHECKPOINT_FOLDER,
    CORRECTIONS_FILE,
    DELTAS_FILE,
    LABELS_FILE,
    METRICS_FILE,
    PENALTY_FILE,
    REPLAY_FILE,
    TRAIN_FILE,
    VALIDATION_FILE,
)
from pipeline.recorded.rows import ROW_COLUMNS
from pipeline.stages.corrections import correct, correction_settings
from pipeline.stages.fisher import recorded_fisher
from pipeline.stages.links import tell_links
from pipeline.stages.preparation import prepare
from pipeline.stages.stage import RunContext, Stage
from pipeline.stages.starting_point import relabelled
from pipeline.store import atomic, reading
from pipeline.store.base_models import base_hash
from pipeline.store.checkpoints import adopted_hash, copy_checkpoint
from pipeline.store.disk import require_free_space
from pipeline.store.hashing import checkpoint_hash, hash_of_files, sha256_json
from pipeline.store.records import CheckpointRef
from pipeline.store.removed_weights import removed_weights
from pipeline.store.stage_directory import RESUME_FOLDER, find_output, require_output, require_stage
from pipeline.store.tables import changed_input, read_parquet, write_parquet

if TYPE_CHECKING:
    from pipeline.ewc.deltas import GroupDelta
    from pipeline.modeling.metrics import Metric
    from pipeline.modeling.resume import Resumption
    from pipeline.modeling.trained import Trained

logger = logging.getLogger("retrain")


def candidate_of(context: RunContext) -> CheckpointRef:
    """Names the candidate of a finished fine-tune stage; where its weights were removed on purpose, by what was recorded."""
    folder = context.output("finetune") / CHECKPOINT_FOLDER
    lost = removed_weights(context.attempt.folder)
    return CheckpointRef(
        path=folder.relative_to(context.workspace.root).as_posix(),
        sha256=_recorded_hash(context.output("finetune")) if lost else checkpoint_hash(folder),
        month=str(context.month),
        attempt=context.attempt.attempt,
    )


def _recorded_hash(stage: Path) -> str:
    """`checkpoint_hash` of the checkpoint that a finished stage recorded."""
    prefix = f"{CHECKPOINT_FOLDER}/"
    outputs = require_stage(stage).outputs
    return hash_of_files(
        {name.removeprefix(prefix): outputs[name] for name in outputs if name.startswith(prefix)}
    )


def recorded_penalty(context: RunContext) -> dict[str, str | float] | None:
    """The penalty that a finished fine-tune stage trained with; None for none."""
    file = find_output(context.output("finetune"), PENALTY_FILE)
    recorded: dict[str, str | float] | None = cast(Any, reading.read_json(file)) if file is not None else None
    return recorded


def _inputs(context: RunContext) -> dict[str, str]:
    outputs = context.outputs_of("ingest")
    inputs = {
        f"ingest/{name}": outputs[f"ingest/{name}"] for name in (TRAIN_FILE, VALIDATION_FILE, LABELS_FILE)
    }
    if context.base is not None:
        inputs["base checkpoint"] = context.base.sha256
        if context.uses_fisher:
            recorded = recorded_fisher(context)
            inputs["fisher"] = recorded.sha256
            inputs |= {f"fisher {path}": digest for path, digest in recorded.older.items()}
        for checkpoint in context.line:
            record = require_stage(context.workspace.attempt(checkpoint.attempt).stage("ingest"))
            inputs[f"validation {checkpoint.month}"] = record.outputs[VALIDATION_FILE]
            if context.recipe.replayed_per_step or context.recipe.from_scratch:
                inputs[f"training table {checkpoint.month}"] = record.outputs[TRAIN_FILE]
    elif context.launch is not None and context.launch.checkpoint is not None:
        inputs[ADOPTED_INPUT] = adopted_hash(context.launch.checkpoint)
    if ADOPTED_INPUT not in inputs and (context.base is None or context.recipe.from_scratch):
        pretrained = base_hash(context.config.model.base, context.workspace.root)
        if pretrained is not None:
            inputs["base model"] = pretrained
    return inputs


def _settings(context: RunContext) -> dict[str, Any]:
    resolved = context.config.resolved()
    if context.launch is not None:
        return {"model": resolved["model"], "launch": resolved["launch"]}
    recipe = context.recipe
    parts = {name: value for name, value in asdict(recipe).items() if name not in ("why", "epochs")}
    settings = {"recipe": parts, "max_length": resolved["model"]["max_length"]}
    if recipe.trains:
        settings["train"] = resolved["train"] | ({"epochs": recipe.epochs} if recipe.epochs else {})
    if context.uses_fisher:
        settings["ewc"] = resolved["ewc"]
    if recipe.from_scratch:
        settings |= {"launch": resolved["launch"], "base": resolved["model"]["base"]}
    if recipe.distills:
        settings["distill"] = resolved["distill"]
    if recipe.replayed_per_step:
        settings["replay"] = resolved["replay"]
    return settings | correction_settings(context)


def _body(context: RunContext, folder: Path) -> None:
    target = folder / CHECKPOINT_FOLDER
    adopted = context.launch.checkpoint if context.launch is not None else None
    if adopted is not None:
        tell_links(context.workspace, "finetune", sorted(adopted.iterdir()))
        _require_served_alike(context, adopted)
        _copy_checkpoint(adopted, target)
        if checkpoint_hash(target) != context.inputs[ADOPTED_INPUT]:
            raise changed_input(adopted)
        _save_reports(folder, [], [])
    elif context.base is not None and not context.recipe.trains:
        source = context.workspace.root / context.base.path
        if context.new_label_changes.changes:
            _relabelled_checkpoint(context, source, target)
        else:
            _copy_checkpoint(source, target)
        _save_reports(folder, [], [])
    else:
        _train(context, folder, target)


def _require_served_alike(context: RunContext, adopted: Path) -> None:
    from pipeline.modeling.adoption import require_served_alike

    table = read_parquet(require_output(context.output("ingest"), TRAIN_FILE))
    require_served_alike(adopted, [str(row["text"]) for row in table], context.config.model.max_length)


def _copy_checkpoint(source: Path, target: Path) -> None:
    from pipeline.modeling.tasks import load_learner

    load_learner(source)  # refuse what could not be served before it is copied
    copy_checkpoint(source, target)


def _relabelled_checkpoint(context: RunContext, source: Path, target: Path) -> None:
    from pipeline.modeling.checkpoint import save_learner
    from pipeline.modeling.tasks import load_learner

    atomic.make_folder(target)
    save_learner(relabelled(context, load_learner(source)), target)


def _train(context: RunContext, folder: Path, target: Path) -> None:
    import torch

    from pipeline.ewc.deltas import group_deltas
    from pipeline.modeling.checkpoint import save_learner
    from pipeline.modeling.closed_labels import close_rows_, without_rows

    fisher_file = context.workspace.root / recorded_fisher(context).path if context.uses_fisher else None
    if context.base is None or context.recipe.from_scratch:
        base = context.workspace.root / context.config.model.base
        tell_links(context.workspace, "finetune", [base, *sorted(base.glob("*"))])
    ready = prepare(context, fisher_file)
    classifier, fisher = ready.classifier, ready.penalties.fisher
    penalty = ready.penalties.of_recipe()
    if penalty is not None:
        atomic.write_json(folder / PENALTY_FILE, _penalty_record(context, penalty.lambda_))
    result = ready.fit(
        penalty,
        watched=ready.rows.validation,
        resumption=_resumption(context, folder, classifier.model, ready.trained),
    )
    corrections = correct(ready)
    if corrections:
        atomic.write_json(folder / CORRECTIONS_FILE, corrections)
    close_rows_(classifier.model, ready.closed)  # weight decay moves what no row trains
    with torch.no_grad():
        named = {
            name: p for name, p in classifier.model.named_parameters() if fisher is None or name in fisher
        }
        # rows that were taken away would hide in their bias what the others did
        moved, anchor = (
            without_rows(t, classifier.model, ready.closed) for t in (named, ready.penalties.anchor)
        )
        deltas = group_deltas(moved, anchor, fisher)
    classifier.model.to("cpu")
    atomic.make_folder(target)
    save_learner(classifier, target)
    write_parquet(folder / REPLAY_FILE, [row.as_record() for row in ready.rows.remembered], ROW_COLUMNS)
    _save_reports(folder, result.metrics, deltas)


def _penalty_record(context: RunContext, raw: float) -> dict[str, Any]:
    """The penalty's lambda as configured, and the one that does the same to F itself."""
    recipe, ewc = context.recipe, context.config.ewc
    if recipe.l2sp_lambda:
        logger.info("  penalty: lambda %g on all weights alike", recipe.l2sp_lambda)
        return {"kind": "l2sp", "lambda": recipe.l2sp_lambda}
    logger.info(
        "  penalty: lambda %g%s on F %s, which is %.4g on F itself",
        recipe.ewc_lambda,
        f" times {recipe.ewc_factor:.3g}" if recipe.ewc_factor > 1.0 else "",
        "over its mean" if ewc.scale == "mean" else "as it is",
        raw,
    )
    return {
        "kind": "ewc",
        "lambda": recipe.ewc_lambda,
        "factor": recipe.ewc_factor,
        "scale": ewc.scale,
        "raw_lambda": raw,
        "form": ewc.form,
    }


def _resumption(context: RunContext, folder: Path, model: Any, trained: Trained) -> Resumption:
    """Where training saves its state; refuses to begin where the disk cannot hold that and the candidate."""
    import torch

    from pipeline.modeling.resume import KEPT, Resumption
    from pipeline.modeling.trainer_checkpoints import checkpoint_bytes

    # one checkpoint more than are kept, while the newest is being written; and the candidate
    needed = (KEPT + 2) * checkpoint_bytes(model, trained.weights(model))
    require_free_space(folder, needed, purpose="fine-tuning")
    machine = context.environment(threads=torch.get_num_threads())
    return Resumption(
        folder=folder / RESUME_FOLDER,
        fingerprint=sha256_json(machine.model_dump(mode="json", exclude={"git_commit", "git_dirty"})),
        tell=lambda text: logger.info("%s", text),
    )


def _save_reports(folder: Path, metrics: list[Metric], deltas: list[GroupDelta]) -> None:
    lines = [{k: v for k, v in asdict(metric).items() if v is not None} for metric in metrics]
    atomic.write_file(folder / METRICS_FILE, "".join(json.dumps(line) + "\n" for line in lines).encode())
    atomic.write_json(folder / DELTAS_FILE, [asdict(delta) for delta in deltas])


FINETUNE = Stage(
    name="finetune",
    reads="the ingested tables, the base checkpoint, its Fisher, the validation tables of the months before",
    writes="checkpoint/, replay.parquet, penalty.json, corrections.json, metrics.jsonl, deltas.json",
    inputs=_inputs,
    settings=_settings,
    body=_body,
    resumable=True,
)
