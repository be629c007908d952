"""`fisher compute`, `show`, `verify`, `diff` and `merge`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from pipeline.config import Config

CheckpointArgument = Annotated[
    str,
    typer.Argument(metavar="CHECKPOINT", help="A folder; or a month, attempt or `champion` of a workspace."),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Rows it was trained on; may be left out where the workspace knows."),
]
EstimatorOption = Annotated[
    str | None, typer.Option("--estimator", metavar="auto|exact|mc|lowrank|empirical", help="[default: auto]")
]
SamplesOption = Annotated[
    int | None, typer.Option("--samples", min=1, help="Upper limit of rows (fisher.samples).")
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", min=0, max=2**32 - 1, help="Of the sample and of random draws.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the file that is there.")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", help="Another place than CHECKPOINT/fisher.safetensors.")
]

LayersOption = Annotated[
    str | None,
    typer.Option("--layers", metavar="PATTERN", help="Only parameters so named, such as '*layer.5*'."),
]
StableOption = Annotated[
    float,
    typer.Option("--until-stable", min=0.0, max=1.0, metavar="EPS", help="Stop at this relative error."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command()(compute)
    app.command()(show)
    app.command()(verify)
    app.command()(diff)
    app.command()(merge)


def compute(
    checkpoint: CheckpointArgument,
    data: DataOption = None,
    estimator: EstimatorOption = None,
    samples: SamplesOption = None,
    layers: LayersOption = None,
    until_stable: StableOption = 0.0,
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
    """Compute the diagonal Fisher information of a checkpoint on what it was trained on.

    A classifier's rows have `text` and `label`, those of a causal language model `text` alone. In a workspace it covers
    the layers that its configuration trains, elsewhere all parameters.
    """
    from cli.options import config_in_force, locked_and_mended, workspace_root
    from pipeline.config_loading import load_config

    root = workspace_root(workspace, config_file)
    wishes = list(override or ())
    for key, value in (("fisher.estimator", estimator), ("fisher.samples", samples), ("seed", seed)):
        if value is not None:
            wishes.append(f"{key}={value}")
    root = _workspace_around(Path(checkpoint)) or root if workspace is None and config_file is None else root
    inside = (root / "retrain.yaml").exists() or config_file is not None
    config = (
        config_in_force(root, config_file, wishes)
        if inside
        else load_config(None, overrides=["train.layers=all", *wishes])
    )
    if not inside:
        _compute(
            root, checkpoint, data, config, threads, force, output, device, as_json, layers, until_stable
        )
        return
    with locked_and_mended(root):
        _compute(
            root, checkpoint, data, config, threads, force, output, device, as_json, layers, until_stable
        )


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


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    checkpoint: Annotated[
        Path, typer.Option("--checkpoint", metavar="DIR", help="What it should belong to.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Prove that a Fisher belongs to a checkpoint and is finite, not negative and of its shapes."""
    prepare_torch(None)
    from pipeline.operations.fisher_files import verify_fisher

    metadata = verify_fisher(file, checkpoint)
    if as_json:
        render.document({"file": str(file), "valid": True, **metadata.model_dump(mode="json")})
    else:
        render.data(f"{file}: valid, belongs to {checkpoint}")


def diff(
    first: Annotated[Path, typer.Argument(metavar="A")],
    second: Annotated[Path, typer.Argument(metavar="B")],
    as_json: JsonOption = False,
) -> None:
    """Compare two Fishers layer by layer: correlation of the entries, and trace of B over trace of A."""
    from dataclasses import asdict

    from pipeline.ewc.comparison import compare_fishers
    from pipeline.operations.fisher_files import fisher_path
    from pipeline.store.fisher_file import read_fisher

    layers = compare_fishers(read_fisher(fisher_path(first))[0], read_fisher(fisher_path(second))[0])
    if as_json:
        render.document([asdict(layer) for layer in layers])
        return
    rows = [[x.layer, _number(x.correlation, ".4f"), _number(x.trace_ratio, ".4g")] for x in layers]
    render.data(render.table(["layer", "correlation", "trace B/A"], rows))


def merge(
    older: Annotated[Path, typer.Argument(metavar="A", help="The older months' Fisher.")],
    latest: Annotated[
        Path, typer.Argument(metavar="B", help="The latest, whose checkpoint the result belongs to.")
    ],
    output: Annotated[Path, typer.Option("--output", help="The file to write.")],
    gamma: Annotated[float, typer.Option("--gamma", help="What the older one keeps.")] = 1.0,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write gamma * A + B, the online form of several months."""
    from pipeline.operations.fisher_files import merge_fishers

    metadata = merge_fishers(older, latest, gamma, output, force=force)
    if as_json:
        render.document({"file": str(output), **metadata.model_dump(mode="json")})
    else:
        render.data(f"{output}: trace {metadata.trace:.4g}, months {', '.join(metadata.months) or 'unknown'}")


def _spread(standard_error: float | None) -> str:
    return "(one example tells no standard error)" if standard_error is None else f"± {standard_error:.2g}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _workspace_around(path: Path) -> Path | None:
    """The workspace that a path lies in, if any."""
    if not path.exists():
        return None
    around = [*path.resolve().parents, *path.absolute().parents]  # `runs` may be a link to another disk
    return next((p for p in around if (p / "retrain.yaml").is_file() and (p / "runs").is_dir()), None)


def _compute(
    root: Path,
    checkpoint: str,
    data: Path | None,
    config: Config,
    threads: int | None,
    force: bool,
    output: Path | None,
    device: str,
    as_json: bool,
    layers: str | None,
    until_stable: float,
) -> None:
    prepare_torch(threads)
    from cli.progress_bars import progress_on_stderr
    from pipeline.operations.fisher_by_hand import compute_fisher
    from pipeline.store.fisher_file import read_fisher
    from pipeline.store.workspace import Workspace

    done = compute_fisher(
        Workspace(root),
        checkpoint,
        config,
        data=data,
        output=output,
        force=force,
        device=device,
        progress=progress_on_stderr(),
        pattern=layers,
        until_stable=until_stable,
    )
    if done is None:
        return
    file, reason = done
    metadata = read_fisher(file)[1]
    if as_json:
        render.document({"file": str(file), **metadata.model_dump(mode="json")})
        return
    if reason:
        render.note(f"  {reason}")
    render.data(f"{file}")
    render.data(
        f"{metadata.estimator}, {metadata.examples} example{'s' if metadata.examples > 1 else ''}, trace "
        f"{metadata.trace:.4g} {_spread(metadata.trace_standard_error)}"
    )
