"""The label set: names with append-only ids."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from pipeline.errors import ArtifactCorrupt


@dataclass(frozen=True)
class LabelSet:
    """An ordered set of label names; a label's id is its position, and positions never change."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ArtifactCorrupt("labels: a name occurs twice")

    @classmethod
    def from_label2id(cls, label2id: Mapping[str, int], *, where: str) -> "LabelSet":
        """Read a model config's `label2id`.

        Raises:
            ArtifactCorrupt: when the ids are not 0..n-1, each once.
        """
        by_id = {index: name for name, index in label2id.items()}
        if sorted(by_id) != list(range(len(label2id))):
            last = len(label2id) - 1
            raise ArtifactCorrupt(f"{where}: label2id must map its names to the ids 0..{last}, each once")
        return cls(tuple(by_id[index] for index in range(len(by_id))))

    @cached_property
    def ids(self) -> dict[str, int]:
        """Name to id."""
        return {name: index for index, name in enumerate(self.names)}

    def extended(self, names: Iterable[str]) -> "LabelSet":
        """The set with names that it lacks appended, in sorted order; old ids stay."""
        return LabelSet(self.names + tuple(sorted(set(names) - set(self.names))))

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.ids
