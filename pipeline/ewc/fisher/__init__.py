"""The diagonal Fisher information of a model, exact per example."""

from pipeline.ewc.fisher.engine import fisher_diagonal
from pipeline.ewc.fisher.estimate import ESTIMATORS, Batch, FisherEstimate
from pipeline.ewc.fisher.reference import fisher_diagonal_by_loop

__all__ = ["ESTIMATORS", "Batch", "FisherEstimate", "fisher_diagonal", "fisher_diagonal_by_loop"]
