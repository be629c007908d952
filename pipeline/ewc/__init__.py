"""EWC mathematics on name-keyed tensors: no file, clock or configuration in here.

from pipeline.ewc import fisher_diagonal, importance, merge_online, penalty

fisher = fisher_diagonal(model, batches).diagonal           # F, name to tensor
weights = importance(fisher, list(fisher), "mean")           # W = F over its mean
loss = task_loss + penalty(dict(model.named_parameters()), anchor, weights, 0.5)
"""

from typing import TYPE_CHECKING

from pipeline.lazy_names import lazy

if TYPE_CHECKING:
    from pipeline.ewc.fisher.columns import Scored
    from pipeline.ewc.fisher.engine import fisher_diagonal
    from pipeline.ewc.fisher.estimate import FisherEstimate
    from pipeline.ewc.merge import merge_online
    from pipeline.ewc.penalty import importance

__all__ = ["FisherEstimate", "Scored", "fisher_diagonal", "importance", "merge_online"]

__getattr__ = lazy(
    __name__,
    {
        "FisherEstimate": "pipeline.ewc.fisher.estimate",
        "Scored": "pipeline.ewc.fisher.columns",
        "fisher_diagonal": "pipeline.ewc.fisher.engine",
        "importance": "pipeline.ewc.penalty",
        "merge_online": "pipeline.ewc.merge",
    },
)
