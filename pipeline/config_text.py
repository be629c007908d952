"""Change one value in the text of a configuration, and nothing else: comments, order and layout stay."""

import yaml

from pipeline.errors import BadConfig


def with_value(text: str, key: str, value: str, *, where: str) -> str:
    """The YAML text with `section.name` set to a scalar.

    A value that is there is replaced; a name that is missing is put first in its section, and a missing
    section is put at the end.

    Args:
        text: a mapping of sections in block or flow style.
        key: such as `ewc.lambda`.
        value: as it is to be written.
        where: named in errors.

    Raises:
        BadConfig: when the text has another shape, or would not hold the value afterwards.
    """
    section, _, name = key.partition(".")
    try:
        changed = _changed(text, section, name, value)
        found = yaml.safe_load(changed)
    except yaml.YAMLError as error:
        raise BadConfig(f"{where}: not valid YAML: {error}") from None
    inside = found.get(section) if isinstance(found, dict) else None
    if not isinstance(inside, dict) or inside.get(name) != yaml.safe_load(value):
        raise BadConfig(f"{where}: {key} cannot be set in this layout. Write {key}: {value} by hand")
    return changed


def _changed(text: str, section: str, name: str, value: str) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    node = _entry(root, section)
    if node is not None and not isinstance(node, yaml.MappingNode):
        return text
    if node is None:
        body = text if text.endswith("\n") or not text else text + "\n"
        return f"{body}{section}:\n  {name}: {value}\n"
    old = _entry(node, name)
    if old is not None:
        return text[: old.start_mark.index] + value + text[old.end_mark.index :]
    start = node.start_mark.index
    if node.flow_style:
        return f"{text[: start + 1]}{name}: {value}{', ' if node.value else ''}{text[start + 1 :]}"
    indent = " " * node.start_mark.column
    return f"{text[:start]}{name}: {value}\n{indent}{text[start:]}"


def _entry(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if key.value == name), None)
