"""Made-up results of a backtest's arms."""

from pipeline.experiments.backtest_result import ArmResult


def made_up(arm: str, prior: float, end: float = 90.0, seconds: float = 10.0) -> ArmResult:
    """An arm that changes the prior golden rows by `prior` points a cycle and ends at `end`."""
    return ArmResult(
        arm=arm,
        prior_change=prior,
        low=prior - 0.1,
        high=prior + 0.1,
        prior_by_seed={1: prior},
        worst_cycle=prior,
        worst_by_seed={1: prior},
        launch_change=0.0,
        gain=1.0,
        gain_by_slice={},
        own_by_slice={},
        final_accuracy=end,
        seconds=seconds,
        learning_rates={1: 1e-4},
        launch_accuracies={1: [90.0, 90.0]},
    )
