"""What the champion thinks of labels that people gave, and which of them confident learning takes for errors."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.stages.stage import RunContext
from pipeline.store.registry import verify_checkpoint

if TYPE_CHECKING:
    import numpy as np

AT_A_TIME = 1000
logger = logging.getLogger("retrain")


@dataclass(frozen=True)
class Opinion:
    """A model's probabilities under the labels' present names.

    Attributes:
        labels: those that it may answer.
        probabilities: float64 [N, len(labels)], each row sums to 1.
    """

    labels: tuple[str, ...]
    probabilities: np.ndarray

    def best(self, place: int) -> tuple[str, float]:
        """The most probable label of a text, and its probability."""
        column = int(self.probabilities[place].argmax())
        return self.labels[column], float(self.probabilities[place, column])

    def of(self, place: int, label: str) -> float | None:
        """The probability of a label for a text; None where the model does not know the label."""
        return float(self.probabilities[place, self.labels.index(label)]) if label in self.labels else None


def champions_opinion(context: RunContext, texts: Sequence[str]) -> Opinion:
    """What the checkpoint that a month starts from says of texts; what was merged or retired since counts as it does now.

    Raises:
        ArtifactCorrupt: the checkpoint is damaged.
    """
    import numpy as np

    from pipeline.modeling.device import choose_device
    from pipeline.modeling.prediction import probabilities
    from pipeline.modeling.tasks import load_learner

    assert context.base is not None
    verify_checkpoint(context.workspace, context.base)
    learner = load_learner(context.workspace.root / context.base.path)
    learner.model.to(choose_device(context.device))
    parts = []
    with context.progress("review", len(texts), "row") as advance:
        for start in range(0, len(texts), AT_A_TIME):
            some = texts[start : start + AT_A_TIME]
            parts.append(probabilities(learner, some, context.config.model.max_length).double().numpy())
            advance(len(some))
    names = learner.labels.names
    said = np.concatenate(parts) if parts else np.zeros((0, len(names)))
    changes = context.label_changes
    present = {name: changes.name_of(name) for name in names if changes.retired(name) is None}
    labels = tuple(dict.fromkeys(present.values()))
    summed = np.zeros((len(texts), len(labels)))
    for column, name in enumerate(names):
        if name in present:
            summed[:, labels.index(present[name])] += said[:, column]
    return Opinion(labels, summed / np.maximum(summed.sum(axis=1, keepdims=True), np.finfo(float).tiny))


def likely_errors(opinion: Opinion, given: Sequence[str]) -> set[int]:
    """Places of the labels that confident learning (Northcutt et al. 2021) takes for errors; none without cleanlab.

    A label is one where another label's probability reaches the mean that this other label has on its own rows, and the
    off-diagonal of the confident joint says so. Labels that the model does not know are left out.

    Args:
        opinion: out of sample: the model must not have been trained on these rows.
        given: each row's label.
    """
    if importlib.util.find_spec("cleanlab") is None:
        logger.info(
            "review: label errors are not looked for, as cleanlab is not installed: pip install 'monthly-retrain[review]'"
        )
        return set()
    import numpy as np

    known = [place for place, label in enumerate(given) if label in opinion.labels]
    if len({given[place] for place in known}) < 2:
        return set()
    from cleanlab.filter import find_label_issues

    columns = {label: column for column, label in enumerate(opinion.labels)}
    found: Any = find_label_issues(
        np.array([columns[given[place]] for place in known]),
        opinion.probabilities[known],
        filter_by="confident_learning",
        n_jobs=1,
    )
    return {place for place, wrong in zip(known, found, strict=True) if wrong}
