"""`fisher compute` and `fisher show`."""

from pathlib import Path
from typing import Annotated

import typer

from cli import render
from cli.options import (
    ConfigOption,
    DeviceOption,
    JsonOption,
    OverrideOption,
    ThreadsOption,
    WorkspaceOption,
    prepare_torch,
)

CheckpointArgument = Annotated[
    str,
    typer.Argument(metavar="CHECKPOINT", help="A folder; or a month, attempt or `champion` of a workspace."),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="What it was trained on; may be left out where the workspace knows."),
]
EstimatorOption = Annotated[
    str | None, typer.Option("--estimator", metavar="auto|exact|mc|lowrank|empirical", help="[default: auto]")
]
SamplesOption = Annotated[
    int | None, typer.Option("--samples", min=1, help="Upper limit of rows [default: 1000].")
]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="Of the sample and of random draws.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the file that is there.")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", help="Another place than CHECKPOINT/fisher.safetensors.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command()(compute)
    app.command()(show)


def compute(
    checkpoint: CheckpointArgument,
    data: DataOption = None,
    estimator: EstimatorOption = None,
    samples: SamplesOption = None,
    seed: SeedOption = None,
    threads: ThreadsOption = None,
    force: ForceOption = False,
    output: OutputOption = None,
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    override: OverrideOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Compute the diagonal Fisher information of a checkpoint on what it was trained on."""
    from cli.options import config_of, locked, workspace_root
    from pipeline.config import load_config

    root = workspace_root(workspace, config_file)
    wishes = list(override or ())
    for key, value in (("fisher.estimator", estimator), ("fisher.samples", samples), ("seed", seed)):
        if value is not None:
            wishes.append(f"{key}={value}")
    root = _workspace_around(Path(checkpoint)) or root if workspace is None and config_file is None else root
    inside = (root / "retrain.yaml").exists() or config_file is not None
    config = config_of(root, config_file, wishes) if inside else load_config(None, overrides=wishes)
    if not inside:
        _compute(root, checkpoint, data, config, threads, force, output, device, as_json)
        return
    with locked(root):
        _compute(root, checkpoint, data, config, threads, force, output, device, as_json)


def show(file: Annotated[Path, typer.Argument(metavar="FILE")], as_json: JsonOption = False) -> None:
    """Per layer: size, trace, mean, share of the trace, zeros; and how the file was made."""
    from pipeline.ewc.layers import layer_summaries
    from pipeline.store.fisher_file import read_fisher

    diagonal, metadata = read_fisher(file / "fisher.safetensors" if file.is_dir() else file)
    layers = layer_summaries(diagonal)
    if as_json:
        from dataclasses import asdict

        render.document(
            {"metadata": metadata.model_dump(mode="json"), "layers": [asdict(layer) for layer in layers]}
        )
        return
    for name, value in metadata.model_dump(mode="json").items():
        render.data(f"{name + ':':<22} {value}")
    rows = [
        [
            x.layer,
            f"{x.size:,}",
            f"{x.trace:.4g}",
            f"{x.mean:.3g}",
            f"{100 * x.share:.1f}%",
            f"{100 * x.zeros:.1f}%",
        ]
        for x in layers
    ]
    render.data("\n" + render.table(["layer", "size", "trace", "mean", "share", "zeros"], rows))


def _workspace_around(path: Path) -> Path | None:
    """The workspace that a path lies in, if any."""
    if not path.exists():
        return None
    return next(
        (p for p in path.resolve().parents if (p / "retrain.yaml").is_file() and (p / "runs").is_dir()), None
    )


def _compute(
    root: Path,
    checkpoint: str,
    data: Path | None,
    config: object,
    threads: int | None,
    force: bool,
    output: Path | None,
    device: str,
    as_json: bool,
) -> None:
    from typing import Any, cast

    prepare_torch(threads)
    from cli.progress_bars import progress_on_stderr
    from pipeline.stages.fisher import compute_fisher
    from pipeline.store.fisher_file import read_fisher
    from pipeline.store.run_directory import Workspace

    file, reason = compute_fisher(
        Workspace(root),
        checkpoint,
        cast(Any, config),
        data=data,
        output=output,
        force=force,
        device=device,
        progress=progress_on_stderr(),
    )
    metadata = read_fisher(file)[1]
    if as_json:
        render.document({"file": str(file), **metadata.model_dump(mode="json")})
        return
    if reason:
        render.note(f"  {reason}")
    render.data(f"{file}")
    render.data(
        f"{metadata.estimator}, {metadata.examples} examples, trace {metadata.trace:.4g} "
        f"± {metadata.trace_standard_error:.2g}"
    )
