"""Targets of temporal-difference learning: unbatched functions over one trajectory; use `jax.vmap` for more.

Every function takes `values` [T+1], the bootstrap value V_t of each slot (its definition belongs to the method), and
returns the target y_t [T], 0 at slots that are not valid. Values [T], with no slot after the last step, say that
every step terminates: nothing is bootstrapped from, `terminated` is not looked at, and a compiled program computes
only those values that something else reads. A slot that is not valid ends a trajectory: the trace starts anew from
its value, which is how a truncated episode bootstraps; a terminated step is not bootstrapped from.
Source of the recursion: Sutton and Barto 2018, eq. 12.18 (offline lambda-return with truncation).
"""

import chex
import jax
import jax.numpy as jnp


def td_lambda(
    rewards: jax.Array,
    terminated: jax.Array,
    values: jax.Array,
    valid: jax.Array,
    gamma: jax.Array | float,
    lambda_: jax.Array | float,
) -> jax.Array:
    """TD(lambda): G_t = r_t + gamma (1 - d_t) [(1 - lambda) V_{t+1} + lambda G_{t+1}], G at a trajectory's end = V.

    Args:
        rewards: float [T].
        terminated: bool or float [T], d_t: true terminals only.
        values: float [T+1], or [T] where every step terminates.
        valid: bool or float [T].
        gamma: discount; lambda_: 0 gives TD(0), 1 Monte-Carlo.

    Returns:
        Targets, float [T].
    """
    chex.assert_rank([rewards, terminated, values, valid], 1)
    chex.assert_equal_shape([rewards, terminated, valid])
    valid = valid.astype(bool)
    if values.shape == rewards.shape:
        return jnp.where(valid, rewards, 0)
    chex.assert_equal_shape([rewards, values[:-1]])
    discounts = gamma * (1 - terminated.astype(values.dtype))

    def backward(future: jax.Array, slot: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        reward_t, discount_t, value_t, value_tp1, valid_t = slot
        g_t = reward_t + discount_t * ((1 - lambda_) * value_tp1 + lambda_ * future)
        return jnp.where(valid_t, g_t, value_t), g_t

    slots = (rewards, discounts, values[:-1], values[1:], valid)
    _, targets = jax.lax.scan(backward, values[-1], slots, reverse=True)
    return jnp.where(valid, targets, 0)


def q_lambda(
    rewards: jax.Array,
    terminated: jax.Array,
    values: jax.Array,
    taken_values: jax.Array,
    valid: jax.Array,
    gamma: jax.Array | float,
    lambda_: jax.Array | float,
) -> jax.Array:
    """Q(lambda) with the off-policy correction V_t - Q(s_t, a_t) added to each reward (Harutyunyan et al. 2016).

    Args:
        values: float [T+1] or [T], greedy values V_t.
        taken_values: float [T], Q(s_t, a_t) of the target network at the actions taken.
        The others as in `td_lambda`.

    Returns:
        Targets, float [T].
    """
    return td_lambda(rewards + values[: len(rewards)] - taken_values, terminated, values, valid, gamma, lambda_)


def sarsa_lambda(
    rewards: jax.Array,
    terminated: jax.Array,
    taken_values: jax.Array,
    valid: jax.Array,
    gamma: jax.Array | float,
    lambda_: jax.Array | float,
) -> jax.Array:
    """SARSA(lambda): TD(lambda) whose bootstrap ([T+1] or [T]) is the target network's value at the actions replayed.

    From SMIX; "Beyond Monotonicity" has it in place of the maximum, which IGM would have to find.
    """
    return td_lambda(rewards, terminated, taken_values, valid, gamma, lambda_)
