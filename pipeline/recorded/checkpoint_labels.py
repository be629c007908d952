"""The label set of a checkpoint, read without loading it."""

from pathlib import Path

from pipeline.labels import LabelSet
from pipeline.store import reading
from pipeline.store.checkpoints import refuse_adapter


def checkpoint_labels(folder: Path) -> LabelSet:
    """The labels of a classifier's folder, from its config.json.

    Raises:
        NoInput: there is none, or the folder holds an adapter. ArtifactCorrupt: it is damaged, or its ids are not 0..n-1.
    """
    refuse_adapter(folder)
    file = folder / "config.json"
    content = reading.read_json(file, follow_links=True)  # a Hub cache keeps its files as links
    return LabelSet.from_config(content if isinstance(content, dict) else {}, where=str(file))
