"""The label set of a checkpoint, read without loading it."""

from pathlib import Path

from pipeline.labels import LabelSet
from pipeline.store import atomic
from pipeline.store.checkpoints import refuse_adapter

_TRANSFORMERS_DEFAULT = {"LABEL_0": 0, "LABEL_1": 1}
"""What transformers takes where config.json has no `label2id`, and so leaves out when it writes one."""


def checkpoint_labels(folder: Path) -> LabelSet:
    """The labels of a classifier's folder, from its config.json.

    Raises:
        NoInput: there is none, or the folder holds an adapter. ArtifactCorrupt: it is damaged, or its ids are not 0..n-1.
    """
    refuse_adapter(folder)
    file = folder / "config.json"
    content = atomic.read_json(file, follow_links=True)  # a Hub cache keeps its files as links
    label2id = content.get("label2id") if isinstance(content, dict) else None
    return LabelSet.from_label2id(label2id or _TRANSFORMERS_DEFAULT, where=str(file))
