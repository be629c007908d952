"""`retrain config show|validate|schema`."""

import typer

from cli import render
from cli.options import (
    ConfigOption,
    JsonOption,
    OverrideOption,
    WorkspaceOption,
    config_in_force,
    workspace_root,
)


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    config = typer.Typer(help="Look at the configuration.", no_args_is_help=True)
    config.command()(show)
    config.command()(validate)
    config.command()(schema)
    app.add_typer(config, name="config")


def show(
    workspace: WorkspaceOption = None,
    config_file: ConfigOption = None,
    override: OverrideOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the configuration as it is used: file, environment and overrides merged."""
    config = config_in_force(workspace_root(workspace, config_file), config_file, override)
    if as_json:
        render.document(config.resolved())
        return
    import yaml

    render.data(yaml.safe_dump(config.resolved(), sort_keys=False, allow_unicode=True).rstrip())


def validate(
    workspace: WorkspaceOption = None, config_file: ConfigOption = None, override: OverrideOption = None
) -> None:
    """Check the configuration; every problem is listed at once."""
    root = workspace_root(workspace, config_file)
    config_in_force(root, config_file, override)
    render.note(f"{config_file or root / 'retrain.yaml'}: valid")


def schema() -> None:
    """Print the JSON schema of retrain.yaml."""
    from pipeline.config import Config

    render.document(Config.model_json_schema(by_alias=True))
