"""Optimizers and learning-rate schedules of Keras, built from section `train`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnistflow.learners.config import TrainConfig

if TYPE_CHECKING:
    import keras

MOMENTUM = 0.9  # of optimizer `momentum`, with Nesterov's correction
ONE_CYCLE_START = 0.04  # initial learning rate, as a share of the highest
ONE_CYCLE_WARMUP = 0.2  # share of the steps over which the learning rate rises


class SeparateAverages:
    """Mixin for a Keras optimizer with `use_ema`: `fit` leaves the weights as they are.

    At the end of `fit`, Keras calls `finalize_variable_values`, which replaces the weights by their moving averages.
    Here, every epoch is a `fit` of its own, and the next one has to start from the weights, not from their averages.
    """

    def finalize_variable_values(self, var_list: Any) -> None:
        """Do nothing, unlike the optimizer's own method."""

    def assign_averages(self, variables: Any) -> None:
        """Assign the moving averages to variables, given in the order of the trained ones."""
        super().finalize_variable_values(variables)  # type: ignore[misc]


def build(config: TrainConfig, steps_per_epoch: int) -> keras.Optimizer:
    """Return the optimizer of a TrainConfig, with its learning-rate schedule.

    With `config.ema`, it also has the methods of `SeparateAverages`.

    Args:
        config: section `train` of params.yaml.
        steps_per_epoch: batches in an epoch.
    """
    import keras

    betas = dict(zip(("beta_1", "beta_2"), config.betas, strict=True))
    kind, settings = {
        "sgd": (keras.optimizers.SGD, {}),
        "momentum": (keras.optimizers.SGD, {"momentum": MOMENTUM, "nesterov": True}),
        "rmsprop": (keras.optimizers.RMSprop, {}),
        "adam": (keras.optimizers.Adam, betas),
        "adamw": (keras.optimizers.AdamW, {**betas, "weight_decay": config.weight_decay}),
    }[config.optimizer]
    if config.ema:
        kind = type(f"Averaged{kind.__name__}", (SeparateAverages, kind), {})
        settings |= {"use_ema": True, "ema_momentum": config.ema}
    return kind(schedule(config, config.epochs * steps_per_epoch), **settings)


def schedule(config: TrainConfig, steps: int) -> Any:
    """Return the learning rate as a number, or as a Keras schedule over all steps of a training.

    `one_cycle` follows Smith and Topin, arXiv:1708.07120: a linear rise from a 25th of the rate over a fifth of the
    steps, then a cosine decay to zero.

    Args:
        config: section `train` of params.yaml.
        steps: batches in the whole training.
    """
    import keras

    match config.schedule:
        case "constant":
            return config.learning_rate
        case "cosine":
            return keras.optimizers.schedules.CosineDecay(config.learning_rate, decay_steps=steps)
        case "one_cycle":
            warmup = max(1, round(ONE_CYCLE_WARMUP * steps))
            return keras.optimizers.schedules.CosineDecay(
                ONE_CYCLE_START * config.learning_rate,
                decay_steps=max(1, steps - warmup),
                warmup_target=config.learning_rate,
                warmup_steps=warmup,
            )
