"""The diagonal Fisher information of a model, exact per example."""

from pipeline.ewc.fisher.batching import batches_by_length, share_of, tokens_that_fit
from pipeline.ewc.fisher.columns import require_few_columns
from pipeline.ewc.fisher.engine import fisher_diagonal
from pipeline.ewc.fisher.estimate import ESTIMATORS, Batch, FisherEstimate
from pipeline.ewc.fisher.memory import activation_bytes
from pipeline.ewc.fisher.processes import fisher_diagonal_over_processes
from pipeline.ewc.fisher.reference import fisher_diagonal_by_loop

__all__ = [
    "ESTIMATORS",
    "Batch",
    "FisherEstimate",
    "activation_bytes",
    "batches_by_length",
    "fisher_diagonal",
    "fisher_diagonal_by_loop",
    "fisher_diagonal_over_processes",
    "require_few_columns",
    "share_of",
    "tokens_that_fit",
]
