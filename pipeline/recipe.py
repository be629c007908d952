"""What an arm does about forgetting, in parts: penalty, replay, balanced loss, distillation, probe."""

from dataclasses import dataclass, replace

from pipeline.config import Config


@dataclass(frozen=True)
class MonthContents:
    """What a month brings: rows to train on, labels that the champion does not know, and how many rows have one."""

    rows: int
    new_labels: int
    new_label_rows: int = 0

    def __str__(self) -> str:
        return f"{self.rows} rows, " + (
            f"{self.new_labels} new label(s)" if self.new_labels else "no new label"
        )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The parts that a month's training is made of.

    Attributes:
        why: the choice in one line.
        layers: which layers are trained, as in `train.layers`.
        epochs: how often the month's rows are seen; None: `train.epochs`.
        trains: False for the frozen arm, whose champion stays as it is.
        from_scratch: start again from the pretrained model, on everything so far.
        needs_fisher: whether a Fisher is computed; by the configuration alone, so that no month lacks one.
        ewc_lambda: strength of the EWC penalty; 0 for none.
        ewc_factor: what that strength is multiplied by, whatever lambda is configured or tried.
        l2sp_lambda: strength of the L2-SP penalty, which needs no Fisher; 0 for none.
        protects_head: whether the penalty covers the classification head.
        replayed_per_step: replayed rows in an optimizer step; 0 for none.
        balanced: whether the loss is the balanced softmax.
        distills: whether the champion's answers are taught along.
        probes: whether new labels' rows are fitted alone before the rest is trained.
    """

    why: str
    layers: str
    epochs: int | None = None
    trains: bool = True
    from_scratch: bool = False
    needs_fisher: bool = False
    ewc_lambda: float = 0.0
    ewc_factor: float = 1.0
    l2sp_lambda: float = 0.0
    protects_head: bool = True
    replayed_per_step: int = 0
    balanced: bool = False
    distills: bool = False
    probes: bool = False


def replays(config: Config) -> bool:
    """Whether the configuration lets old rows be replayed."""
    return config.replay.per_step > 0 and config.replay.launch_rows + config.replay.month_rows > 0


ROWS_OF_LAMBDA = 150
"""Rows of a month that `ewc.replay_lambda` is meant for; fewer rows say less, so that the past counts for more."""
FIRMER = 3.0
"""What each refused month beyond `gate.patience` multiplies lambda by: half of the decade of good values."""


def recipe_for(config: Config, contents: MonthContents | None = None, *, refusals: int = 0) -> Recipe:
    """The recipe of the configured arm, for what the month brings.

    `default` replays a few old rows where policy lets it, teaches the champion's answers along, and balances
    the loss over labels. A penalty then holds the encoder in a month without new labels (`ewc.replay_lambda`, times
    more where the month has few rows); one with new labels has its own dial (`ewc.growth_lambda`), 0 by default, as
    they need an encoder that moves.
    Without replay the penalty must do alone, so it is stronger and covers the head. The figures behind it are in
    docs/recipe.md.

    Args:
        contents: None where the month is not ingested yet; it is then taken to bring no new label.
        refusals: months in a row before this one that the gate refused for what they lost; from `gate.patience` of
            them on, a penalty is stronger.
    """
    recipe, patience = _configured(config, contents), config.gate.patience
    if not patience or refusals < patience:
        return recipe
    return _firmer(recipe, config, FIRMER ** (refusals - patience + 1), refusals)


def _firmer(recipe: Recipe, config: Config, factor: float, refusals: int) -> Recipe:
    """The recipe with its lambda times the factor; where it has none for now, that of months without new labels."""
    cause = f"as the last {refusals} month(s) were refused for losses (gate.patience {config.gate.patience})"
    if recipe.l2sp_lambda:
        pull = recipe.l2sp_lambda * factor
        return replace(recipe, l2sp_lambda=pull, why=f"{recipe.why}, raised to {pull:g} {cause}")
    if not recipe.needs_fisher:
        return recipe
    strength = recipe.ewc_lambda * factor or config.ewc.replay_lambda * factor / FIRMER
    return replace(recipe, ewc_lambda=strength, why=f"{recipe.why}; lambda raised to {strength:g}, {cause}")


def _configured(config: Config, contents: MonthContents | None) -> Recipe:
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
            return Recipe(why=why, layers=layers, needs_fisher=strength > 0.0, ewc_lambda=strength)
        case "l2sp":
            pull = config.l2sp.lambda_
            return Recipe(
                why=f"l2sp: all weights held alike, lambda {pull:g}", layers=layers, l2sp_lambda=pull
            )
        case "default":
            return _default(config, contents)


def _default(config: Config, contents: MonthContents | None) -> Recipe:
    ewc, brought = config.ewc, f" ({contents})" if contents is not None else ""
    if not replays(config):
        why = f"default{brought}, without replay (it is off): balanced softmax, EWC lambda {ewc.lambda_:g}, head included"
        return Recipe(
            why=why,
            layers=config.train.layers,
            needs_fisher=ewc.lambda_ > 0.0,
            ewc_lambda=ewc.lambda_,
            balanced=True,
            probes=True,
        )
    grows = contents is not None and contents.new_labels > 0
    key, weak = (
        ("ewc.growth_lambda", ewc.growth_lambda) if grows else ("ewc.replay_lambda", ewc.replay_lambda)
    )
    replayed = _replayed_per_step(config, contents)
    more = (
        f", as {contents.new_label_rows} of the month's rows have new labels"
        if contents and replayed > config.replay.per_step
        else ""
    )
    epochs = _epochs(config, contents)
    if epochs > config.train.epochs:
        more += f", {epochs} epochs, so that there are {config.replay.least_steps} steps"
    held = f"EWC on the encoder, {key} {weak:g}" if weak else f"no penalty, as {key} is 0"
    factor = _factor_of_few_rows(contents) if weak and not grows else 1.0
    if factor > 1.0:
        held = f"{held} times {factor:.3g}, as the month is small"
    return Recipe(
        why=f"default{brought}: {replayed} replayed rows a step{more}, balanced softmax, distillation, {held}",
        layers=config.train.layers,
        epochs=epochs,
        needs_fisher=ewc.replay_lambda > 0.0 or ewc.growth_lambda > 0.0,
        ewc_lambda=weak,
        ewc_factor=factor,
        protects_head=False,
        replayed_per_step=replayed,
        balanced=True,
        distills=config.distill.replay_weight > 0 or config.distill.new_weight > 0,
        probes=True,
    )


def _factor_of_few_rows(contents: MonthContents | None) -> float:
    """By how much the penalty is stronger in a month with fewer rows than lambda is meant for.

    The new rows' loss is their mean. In the posterior whose older part the penalty stands for each row counts once
    (Kirkpatrick et al. 2017, eq. 2), so that a mean over fewer of them has to be weighed less beside it.
    """
    if contents is None or not contents.rows:
        return 1.0
    return max(1.0, ROWS_OF_LAMBDA / contents.rows)


def _replayed_per_step(config: Config, contents: MonthContents | None) -> int:
    """So many replayed rows in a step that two rows of old labels stand beside each of a new label, whoever brings them.

    In whole multiples of `replay.per_step`. A month of nothing but catalogue entries has no row of its own that holds the
    old labels; where at most half of a step has new labels, the others and `replay.per_step` rows hold them.
    """
    few, batch = config.replay.per_step, config.train.batch_size
    if contents is None or not contents.rows:
        return few
    new = batch * contents.new_label_rows // contents.rows
    return max(few, -(-(3 * new - batch) // few) * few)


def _epochs(config: Config, contents: MonthContents | None) -> int:
    """As many as configured, and in a month of few rows as many as make `replay.least_steps` optimizer steps.

    In fewer of them too few old rows are seen to hold the old labels.
    """
    if contents is None or not contents.rows:
        return config.train.epochs
    steps = -(-contents.rows // config.train.batch_size)
    return max(config.train.epochs, -(-config.replay.least_steps // steps))


def unprotected_growth(recipe: Recipe, contents: MonthContents | None) -> str | None:
    """A warning where new labels are learned without a single old row beside them; None elsewhere."""
    if contents is None or not contents.new_labels:
        return None
    if not recipe.trains or recipe.from_scratch or recipe.replayed_per_step:
        return None
    return (
        f"{contents.new_labels} new label(s) are learned without replay: they take accuracy from the old ones, "
        "which no penalty prevents. Set arm: default with replay.per_step above 0, or arm: joint"
    )
