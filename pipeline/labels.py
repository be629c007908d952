"""The label set: names with append-only ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.errors import ArtifactCorrupt


@dataclass(frozen=True)
class LabelSet:
    """An ordered set of label names; a label's id is its position, and positions never change."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ArtifactCorrupt("labels: a name occurs twice")

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, where: str) -> LabelSet:
        """Read the labels of a model's config.json: `label2id`, or `id2label` where it has that alone.

        Args:
            config: as decoded from JSON, where ids may be text; with neither table it has transformers' two labels.
            where: the file, for messages.

        Raises:
            ArtifactCorrupt: when the ids are not 0..n-1, each once, or both tables are there and disagree.
        """
        named, told = (_table(config.get(key), key, where) for key in ("label2id", "id2label"))
        by_name = [(number, name) for name, number in named.items()]
        by_id = [(number, name) for number, name in told.items()]
        pairs = sorted(
            (_whole(number), name) for number, name in by_name or by_id or enumerate(("LABEL_0", "LABEL_1"))
        )
        if [number for number, _ in pairs] != list(range(len(pairs))):
            table = "label2id" if by_name else "id2label"
            raise ArtifactCorrupt(
                f"{where}: {table} must map its names to the ids 0..{len(pairs) - 1}, each once"
            )
        names = dict(pairs)
        other = {_whole(number): name for number, name in by_id} if by_name and by_id else names
        if other != names:
            number = min(i for i in names.keys() | other.keys() if names.get(i) != other.get(i))
            raise ArtifactCorrupt(
                f"{where}: label2id and id2label disagree: label {number} is {names.get(number)!r} in the one and "
                f"{other.get(number)!r} in the other. Mend the wrong one"
            )
        return cls(tuple(str(name) for _, name in pairs))

    @cached_property
    def ids(self) -> dict[str, int]:
        """Name to id."""
        return {name: index for index, name in enumerate(self.names)}

    @cached_property
    def unnamed(self) -> bool:
        """Whether these are only the numbers that transformers gives to labels that nobody named."""
        return self.names == tuple(f"LABEL_{number}" for number in range(len(self.names)))

    def extended(self, names: Iterable[str]) -> LabelSet:
        """The set with names that it lacks appended, in sorted order; old ids stay."""
        return LabelSet(self.names + tuple(sorted(set(names) - set(self.names))))

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.ids


def why_unknown(labels: LabelSet) -> str:
    """What to say of a label that a checkpoint does not have, such as where nobody named its labels."""
    if not labels.unnamed:
        return "the checkpoint's label2id does not have it"
    return (
        f"the checkpoint calls its labels {labels.names[0]} to {labels.names[-1]}. Either nobody named them (write "
        "id2label and label2id into its config.json), or it has no classification head: then name it as model.base and "
        "launch without --checkpoint"
    )


NO_LABELS = LabelSet(())


def _table(value: object, key: str, where: str) -> Mapping[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ArtifactCorrupt(f"{where}: {key} must be an object, found {value!r:.40}")
    return value


def _whole(number: object) -> int:
    """An id that JSON may have as text; -1, which is no id, for anything else."""
    text = str(number)
    return int(text) if text.isdecimal() and not isinstance(number, bool) else -1
