"""Make a workspace: a commented configuration and the folders that it names."""

from importlib.resources import files
from pathlib import Path

from pipeline.store import atomic

DEFAULT_CONFIG = "text_classification.yaml"


def shipped_config(name: str) -> str:
    """The text of a YAML file that ships with the program."""
    return files("configs").joinpath(name).read_text(encoding="utf-8")


def make_workspace(folder: Path, *, config: str = DEFAULT_CONFIG) -> list[str]:
    """Write what a workspace needs and does not have yet; nothing that is there is changed.

    Returns:
        The names of what was written.
    """
    written = []
    for name in ("", "feedback", "golden", "runs"):
        if not (folder / name).is_dir():
            atomic.make_folder(folder / name)
            written.append(f"{name}/" if name else str(folder))
    if not (folder / "retrain.yaml").exists():
        atomic.write_file(folder / "retrain.yaml", shipped_config(config).encode())
        written.append("retrain.yaml")
    return written
