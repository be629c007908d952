"""What an arm does about forgetting, in parts: penalty, replay, balanced loss, probe of new labels."""

from dataclasses import dataclass

from pipeline.config import Config


@dataclass(frozen=True)
class Recipe:
    """The parts that a month's training is made of.

    Attributes:
        trains: False for the frozen arm, whose champion stays as it is.
        from_scratch: start again from the pretrained model, on everything so far.
        layers: which layers are trained, as in `train.layers`.
        ewc_lambda: strength of the EWC penalty; 0 for none (and no Fisher is computed).
        protects_head: whether the penalty covers the classification head.
        replayed_per_step: replayed rows in an optimizer step; 0 for none.
        balanced: whether the loss is the balanced softmax.
        probes: whether new labels' rows are fitted alone before the rest is trained.
        why: the choice in one line.
    """

    trains: bool
    from_scratch: bool
    layers: str
    ewc_lambda: float
    protects_head: bool
    replayed_per_step: int
    balanced: bool
    probes: bool
    why: str


def replays(config: Config) -> bool:
    """Whether the configuration lets old rows be replayed."""
    return config.replay.per_step > 0 and config.replay.launch_rows + config.replay.month_rows > 0


def recipe_for(config: Config) -> Recipe:
    """The recipe of the configured arm.

    `default` replays a few old rows where policy lets it, balances the loss over labels and holds the
    encoder with a weak penalty; without replay the penalty must do alone, so it is stronger and covers
    the head. The figures behind the defaults are in docs/recipe.md.
    """
    layers = config.train.layers
    match config.arm:
        case "freeze":
            return Recipe(
                False, False, "head", 0.0, False, 0, False, False, "freeze: the champion stays as it is"
            )
        case "plain":
            return Recipe(True, False, layers, 0.0, False, 0, False, False, "plain: no protection")
        case "head":
            return Recipe(True, False, "head", 0.0, False, 0, False, False, "head: only the head is trained")
        case "joint":
            why = "joint: the pretrained model trained again on everything so far"
            return Recipe(True, True, config.launch.layers, 0.0, False, 0, False, False, why)
        case "ewc":
            strength = config.ewc.lambda_
            return Recipe(
                True,
                False,
                layers,
                strength,
                True,
                0,
                False,
                False,
                f"ewc: the penalty alone, lambda {strength:g}",
            )
        case "default":
            if replays(config):
                strength = config.ewc.replay_lambda
                why = (
                    f"default: {config.replay.per_step} replayed rows a step, balanced softmax, "
                    f"EWC lambda {strength:g} on the encoder"
                )
                return Recipe(True, False, layers, strength, False, config.replay.per_step, True, True, why)
            strength = config.ewc.lambda_
            why = f"default without replay (replay is off): balanced softmax, EWC lambda {strength:g}"
            return Recipe(True, False, layers, strength, True, 0, True, True, why)
