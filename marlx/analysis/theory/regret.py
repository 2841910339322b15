"""The gap of a Boltzmann policy of two actions (ReMIX, lemma 4): the one number of its theory that can be checked."""

import math


def largest_boltzmann_gap() -> tuple[float, float]:
    """Where, and how much, softmax over values (0, z) loses most against the better one: the maximum of z / (1 + e^z).

    The bound of ReMIX, lemma 4.

    Returns:
        z_0, the solution of 1 + e^z = z e^z, and the loss there, which is z_0 - 1.
    """
    z = 1.0
    for _ in range(50):  # Newton's method
        z -= (1 + math.exp(z) - z * math.exp(z)) / (-z * math.exp(z))
    return z, z / (1 + math.exp(z))
