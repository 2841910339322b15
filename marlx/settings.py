"""The sections `training` and `evaluation` of an experiment: what they hold, in which units, within which bounds."""

from dataclasses import dataclass

from marlx_envs.options import choice, flag, number, size

from marlx.losses import OPTIMISERS


@dataclass(frozen=True)
class Training:
    """Section `training`. Numbers are traced (they can differ between seeds); sizes decide the compiled program.

    `total_steps` counts slots; where episodes are truncated inside a row, a slot each holds their last observation and
    is no step, so that the steps executed (metric `env_steps`) fall short by up to one for each such episode.
    """

    total_steps: int = size(1_000_000, "environment steps of one seed, over all its environments", high=2_000_000_000)
    num_envs: int = size(8, "environments of one seed stepped together")
    rollout_steps: int = size(0, "slots of a row; 0 takes the environment's episode limit", low=0)
    batch_size: int = size(32, "rows of a batch; learning starts when the buffer holds as many")
    buffer_size: int = size(5_000, "rows kept, rounded up to a multiple of num_envs")
    updates_per_iteration: int = size(1, "learning steps after each rollout of all environments")
    optimiser: str = choice("adam", "adam, or rmsprop with PyTorch's placement of epsilon", OPTIMISERS)
    mixer_optimiser: str = choice(
        "same",
        "optimiser of all but the acting agents (mixers, critics and theirs), clipped apart; same: one for all",
        ("same", *OPTIMISERS),
    )
    learning_rate: float = number(1e-3, "step size", low=0)
    loss_scale: float = number(1, "factor of the squared error; pymarl2 has 0.5, which matters through clipping", low=0)
    max_gradient_norm: float = number(10, "gradients are scaled down to this global norm", low=0)
    gamma: float = number(0.99, "discount of one environment step", low=0, high=1)
    td_lambda: float = number(0.6, "lambda of the targets; 0 is one-step, 1 Monte-Carlo", low=0, high=1)
    epsilon_start: float = number(1, "exploration at the first environment step", low=0, high=1)
    epsilon_end: float = number(0.05, "exploration after epsilon_steps", low=0, high=1)
    epsilon_steps: float = number(100_000, "environment steps of the linear schedule of epsilon", low=0)
    target_update_interval: float = number(
        200, "episodes ended (or updates made) between hard copies to the target", low=0
    )
    target_update_unit: str = choice("episodes", "what target_update_interval counts", ("episodes", "updates"))
    record_weights: bool = flag(
        False,
        "metrics of how errors are weighted: shares of weights; weights and errors by the sign of the reward; and "
        "weights of joint actions where these are few",
    )


@dataclass(frozen=True)
class Evaluation:
    """Section `evaluation`: greedy episodes (epsilon = 0) in environments of their own."""

    interval: int = size(50_000, "environment steps between evaluations; 0 = never", low=0)
    episodes: int = size(32, "episodes of one evaluation")
    record_tables: bool = flag(
        False, "metrics of what is believed of each of at most 100 joint actions at an episode's start, and the IGM gap"
    )
