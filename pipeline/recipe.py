"""What an arm does about forgetting, in parts: penalty, replay, balanced loss, distillation, probe."""

from dataclasses import dataclass

from pipeline.config import Config


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The parts that a month's training is made of.

    Attributes:
        why: the choice in one line.
        layers: which layers are trained, as in `train.layers`.
        trains: False for the frozen arm, whose champion stays as it is.
        from_scratch: start again from the pretrained model, on everything so far.
        ewc_lambda: strength of the EWC penalty; 0 for none (and no Fisher is computed).
        l2sp_lambda: strength of the L2-SP penalty, which needs no Fisher; 0 for none.
        protects_head: whether the penalty covers the classification head.
        replayed_per_step: replayed rows in an optimizer step; 0 for none.
        balanced: whether the loss is the balanced softmax.
        distills: whether the champion's answers are taught along.
        probes: whether new labels' rows are fitted alone before the rest is trained.
    """

    why: str
    layers: str
    trains: bool = True
    from_scratch: bool = False
    ewc_lambda: float = 0.0
    l2sp_lambda: float = 0.0
    protects_head: bool = True
    replayed_per_step: int = 0
    balanced: bool = False
    distills: bool = False
    probes: bool = False


def replays(config: Config) -> bool:
    """Whether the configuration lets old rows be replayed."""
    return config.replay.per_step > 0 and config.replay.launch_rows + config.replay.month_rows > 0


def recipe_for(config: Config) -> Recipe:
    """The recipe of the configured arm.

    `default` replays a few old rows where policy lets it, teaches the champion's answers along, balances
    the loss over labels and holds the encoder with a weak penalty. Without replay the penalty must do
    alone, so it is stronger and covers the head. The figures behind it are in docs/recipe.md.
    """
    layers, strength = config.train.layers, config.ewc.lambda_
    match config.arm:
        case "freeze":
            return Recipe(why="freeze: the champion stays as it is", layers="head", trains=False)
        case "plain":
            return Recipe(why="plain: no protection", layers=layers)
        case "head":
            return Recipe(why="head: only the head is trained", layers="head")
        case "joint":
            why = "joint: the pretrained model trained again on everything so far"
            return Recipe(why=why, layers=config.launch.layers, from_scratch=True)
        case "ewc":
            why = f"ewc: the penalty alone, lambda {strength:g}"
            return Recipe(why=why, layers=layers, ewc_lambda=strength)
        case "l2sp":
            pull = config.l2sp.lambda_
            return Recipe(
                why=f"l2sp: all weights held alike, lambda {pull:g}", layers=layers, l2sp_lambda=pull
            )
        case "default":
            if not replays(config):
                why = f"default, without replay (it is off): balanced softmax, EWC lambda {strength:g}"
                return Recipe(why=why, layers=layers, ewc_lambda=strength, balanced=True, probes=True)
            weak = config.ewc.replay_lambda
            why = (
                f"default: {config.replay.per_step} replayed rows a step, balanced softmax, distillation, "
                f"EWC lambda {weak:g} on the encoder"
            )
            return Recipe(
                why=why,
                layers=layers,
                ewc_lambda=weak,
                protects_head=False,
                replayed_per_step=config.replay.per_step,
                balanced=True,
                distills=config.distill.replay_weight > 0 or config.distill.new_weight > 0,
                probes=True,
            )
