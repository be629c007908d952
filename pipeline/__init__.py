"""Retrain a model every month with forgetting bounded, measured and explained; and its parts, for a notebook.

EWC for a Trainer of your own takes a Fisher of what the model has learned, and one callback:

    from pipeline import EwcCallback, fisher_diagonal

    fisher = fisher_diagonal(model, batches).diagonal      # batches as the tokenizer makes them, with or without labels
    trainer = Trainer(model, args, train_dataset=new_rows, callbacks=[EwcCallback(model, fisher, lambda_=0.5)])

The next month holds both: `merge_online(fisher, fisher_diagonal(model, new_batches).diagonal, gamma=1.0)`. A Fisher that the
monthly job left beside a checkpoint is read, and proven, by `read_fisher`. Importing this package loads no torch; using a
name of it does.
"""

from typing import TYPE_CHECKING

from pipeline.lazy_names import lazy

if TYPE_CHECKING:
    from pipeline.ewc.fisher.columns import Scored
    from pipeline.ewc.fisher.engine import fisher_diagonal
    from pipeline.ewc.fisher.estimate import FisherEstimate
    from pipeline.ewc.merge import merge_online
    from pipeline.modeling.penalty_callback import EwcCallback
    from pipeline.store.fisher_file import read_fisher

__all__ = ["EwcCallback", "FisherEstimate", "Scored", "fisher_diagonal", "merge_online", "read_fisher"]

__getattr__ = lazy(
    __name__,
    {
        "EwcCallback": "pipeline.modeling.penalty_callback",
        "FisherEstimate": "pipeline.ewc.fisher.estimate",
        "Scored": "pipeline.ewc.fisher.columns",
        "fisher_diagonal": "pipeline.ewc.fisher.engine",
        "merge_online": "pipeline.ewc.merge",
        "read_fisher": "pipeline.store.fisher_file",
    },
)
