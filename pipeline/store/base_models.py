"""Where the pretrained model lies that a launch starts from, and what it is."""

import importlib.util
from pathlib import Path

from pipeline.errors import NoInput
from pipeline.store.hashing import checkpoint_hash

PACKAGE_SCHEME = "package:"


def base_location(base: str, root: Path) -> str:
    """Where a base model is to be loaded from: a folder's path, or a Hub name as it is.

    Args:
        base: a Hub name, a folder (relative to `root`), or `package:NAME/FOLDER` for a folder that a
            Python package ships.
        root: the workspace.

    Raises:
        NoInput: when a named package or its folder is absent.
    """
    if base.startswith(PACKAGE_SCHEME):
        package, _, folder = base.removeprefix(PACKAGE_SCHEME).partition("/")
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise NoInput(
                f"model.base {base!r}: the package {package!r} is not installed. Run: pip install it"
            )
        location = Path(next(iter(spec.submodule_search_locations))) / folder
        if not (location / "config.json").is_file():
            raise NoInput(f"model.base {base!r}: {location} holds no config.json")
        return str(location)
    folder_path = (root / base).resolve()
    return str(folder_path) if (folder_path / "config.json").is_file() else base


def base_hash(base: str, root: Path) -> str | None:
    """The hash of a base model's files; None for a Hub name, which the Hub's own cache answers for.

    Args:
        base, root: as for `base_location`.

    Raises:
        NoInput: as `base_location`.
    """
    folder = Path(base_location(base, root))
    return checkpoint_hash(folder, follow_links=True) if folder.is_dir() else None
