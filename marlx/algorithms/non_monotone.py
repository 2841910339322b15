"""Methods whose joint value may fall when a utility rises: greedy agents are jointly greedy only if learning ends so.

Their ablations are options: `algorithm.target=td_lambda` (Q-learning, the greedy joint action being that of the
utilities), `algorithm.intrinsic=none`, `algorithm.exploration=softmax`; and QMIX with `algorithm.target=sarsa_lambda`.
"""

from marlx.algorithms.method import Method

Method(
    name="nm_qmix",
    summary="QMIX without its sign constraint, SARSA targets, and a reward for states that are new",
    source='paper "Beyond Monotonicity"',
    composition={"mixer": "qmix", "target": "sarsa_lambda", "intrinsic": "rnd"},
    defaults={"algorithm.monotone": False},
    # Lambda, step size, epsilon and buffer are not given; they stay at the house's numbers for an environment.
    # In games of one step nothing lies ahead to explore: beta = 0, as the target is the reward alone.
    environments={
        "matrix_game": {"algorithm.intrinsic": "none"},
        "risk_reward": {"algorithm.intrinsic": "none"},
    },
)
