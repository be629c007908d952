"""A configuration from its file, environment variables and flags, with every problem reported at once.

Precedence, strongest first: command-line flags and `-o section.key=value`, environment variables
(`RETRAIN_SECTION__KEY`), the file, the defaults of `pipeline/config.py`.
"""

import copy
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.config import Config
from pipeline.errors import AccessDenied, BadConfig

ENVIRONMENT_PREFIX = "RETRAIN_"
ENVIRONMENT_KEYS_ELSEWHERE = frozenset({"RETRAIN_WORKSPACE", "RETRAIN_DEBUG"})

_SECRET = ("ingest.sql",)
"""Keys whose values may hold a password, by mistake."""


class _NotPlain(yaml.constructor.ConstructorError):
    """YAML that is not read; `advice` says why without the value, which may be secret."""

    def __init__(self, found: str, advice: str, mark: Any) -> None:
        super().__init__(None, None, f"{found}: {advice}", mark)
        self.advice = advice


class _StrictLoader(yaml.SafeLoader):
    """Plain YAML without tags and aliases; a key given twice is an error instead of a silent overwrite."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        # a few hundred bytes of aliases to aliases stand for more values than memory holds
        if self.check_event(yaml.AliasEvent):
            event: Any = self.get_event()  # type: ignore[no-untyped-call]
            raise _NotPlain(
                f"alias *{event.anchor}", "aliases are not read; write the value out", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Refuses 010 (octal: 8) and 1:30 (to base 60: 90), which are meant as something else."""
        text = str(node.value)
        digits = text.lstrip("+-")
        if ":" in digits or (len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567_"):
            read_as = "to base 60" if ":" in digits else "as an octal number"
            raise _NotPlain(
                text,
                f'YAML reads it {read_as}; put it in double quotes inside the value (files.umask: "027") where text is '
                "meant, and write a number without leading zeros and colons",
                node.start_mark,
            )
        return super().construct_yaml_int(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is not text", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)


def load_config(
    file: Path | None = None,
    *,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Read, merge and check a configuration.

    Args:
        file: the YAML file; None for the defaults.
        overrides: `a.b=value` strings, the value read as YAML; the last one wins.
        environment: variables of which `RETRAIN_A__B=value` counts as `a.b=value`.

    Raises:
        BadConfig: naming the file, every wrong key and what was expected.
    """
    values = _read_yaml(file) if file is not None else {}
    origins = [str(file)] if file is not None else []
    secret: list[str] = []  # an environment variable may hold a password that was meant for another name
    for name, text in sorted((environment or {}).items()):
        if name.startswith(ENVIRONMENT_PREFIX) and name not in ENVIRONMENT_KEYS_ELSEWHERE:
            path = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
            _assign(values, path, text, where=f"environment variable {name}", secret=True)
            origins.append(name)
            secret.append(path)
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator:
            raise BadConfig(f"-o {override}: expected KEY=VALUE, such as -o ewc.lambda=10")
        _assign(values, path.strip(), text, where=f"-o {override[:80]}{'...' if len(override) > 80 else ''}")
        origins.append(f"-o {path.strip()}")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        origin = ", ".join(dict.fromkeys(origins)) or "configuration"
        lines = [f"{origin}: {error.error_count()} problem(s). Run: retrain config schema"]
        for problem in error.errors(include_url=False):
            key = ".".join(str(part) for part in problem["loc"]) or "(top)"
            hidden = problem["type"] == "missing" or key == "(top)" or _is_of(key, [*secret, *_SECRET])
            found = "" if hidden else f", found {_shown(problem['input'])}"
            lines.append(f"  {key}: {problem['msg']}{found}")
        raise BadConfig("\n".join(lines)) from None


def _is_of(key: str, paths: Sequence[str]) -> bool:
    """Whether a key is, lies under or holds one of the paths."""
    return any(f"{key}.".startswith(f"{path}.") or f"{path}.".startswith(f"{key}.") for path in paths)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadConfig(f"{file}: no such file. Run: retrain init") from None
    except PermissionError:
        raise AccessDenied(
            f"{file}: may not be read. Check the owner and permissions of {file.parent}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{file}: cannot be read as UTF-8 text: {error}") from None
    values = _parse_yaml(text, where=str(file))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise BadConfig(f"{file}: expected sections such as `ewc:`, found {_shown(values)}")
    return values


def _parse_yaml(text: str, *, where: str, secret: bool = False) -> Any:
    try:
        value = yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        found = str(error)
        if secret:
            advice = f": {error.advice}" if isinstance(error, _NotPlain) else ""
            found = f"its value, which is not told here, cannot be read{advice}"
        raise BadConfig(f"{where}: not valid YAML: {found}") from None
    return value


def _assign(values: dict[str, Any], path: str, text: str, *, where: str, secret: bool = False) -> None:
    parts = path.split(".")
    if not all(parts):
        raise BadConfig(f"{where}: expected a key such as ewc.lambda, found {path!r}")
    node = values
    for part in parts[:-1]:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise BadConfig(f"{where}: {part} is a value, not a section")
        node = child
    node[parts[-1]] = copy.deepcopy(_parse_yaml(text, where=where, secret=secret))
