"""The diagonal Fisher information of a model, exact per example."""

from pipeline.ewc.fisher.batching import batches_by_length, tokens_that_fit
from pipeline.ewc.fisher.columns import require_few_columns
from pipeline.ewc.fisher.engine import fisher_diagonal
from pipeline.ewc.fisher.estimate import ESTIMATORS, Batch, FisherEstimate
from pipeline.ewc.fisher.memory import activation_bytes
from pipeline.ewc.fisher.reference import fisher_diagonal_by_loop

__all__ = [
    "ESTIMATORS",
    "Batch",
    "FisherEstimate",
    "activation_bytes",
    "batches_by_length",
    "fisher_diagonal",
    "fisher_diagonal_by_loop",
    "require_few_columns",
    "tokens_that_fit",
]
