"""Exact small random choices from few random words: threefry is the dearest part of a cheap environment's step.

A random word is read as a fraction w / 2^32. Its product with a radix n has a whole part, uniform on 0 .. n-1, and
a fractional part, which is again a random word; so one word yields several digits, whose joint law differs from the
uniform one by a relative error of at most (product of their radices) / 2^32.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from marlx_envs.grid import settle


def words(key: chex.PRNGKey, count: int) -> jax.Array:
    """Random words, uint32 [count]."""
    return jax.random.bits(key, (count,), jnp.uint32)


def digit(word: jax.Array, radix: jax.typing.ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Splits a digit in 0 .. radix-1 off each word.

    Args:
        word: uint32 [...].
        radix: uint32, broadcastable to [...], at most 2^16.

    Returns:
        digits int32 [...], what is left of the words uint32 [...].
    """
    radix = jnp.asarray(radix, jnp.uint32)
    low = (word & 0xFFFF) * radix
    high = (word >> 16) * radix + (low >> 16)
    return (high >> 16).astype(jnp.int32), word * radix


def fraction(word: jax.Array) -> jax.Array:
    """Float32 [...] uniform on multiples of 2^-24 in [0, 1), from words uint32 [...]."""
    return (word >> 8).astype(jnp.float32) * jnp.float32(2.0**-24)


def distinct(digits: jax.Array) -> jax.Array:
    """Distinct numbers from the digits of a Lehmer code: a bijection, so uniform digits give uniform injections.

    Number j is the `digits[j]`-th of those that numbers 0 .. j-1 have left over; counting earlier ones from the last
    to the first needs no sorted list, and each number depends on the digits alone.

    Args:
        digits: int32 [K], digits[j] in 0 .. n-1-j for some n >= K.

    Returns:
        int32 [K], distinct numbers in 0 .. n-1.
    """
    count = digits.shape[0]
    index = jnp.arange(count)
    numbers = digits
    for earlier in range(count - 2, -1, -1):
        numbers = numbers + ((index > earlier) & (numbers >= digits[earlier]))
    return numbers


def permutation(word: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """A permutation int32 [count] from words uint32 [>= count], and what is left of all the words."""
    radix = np.maximum(count - np.arange(word.shape[0]), 1).astype(np.uint32)
    digits, left = digit(word, radix)
    return distinct(settle(digits[:count])), left


def sample_distinct(key: chex.PRNGKey, n: int, count: int) -> jax.Array:
    """Distinct numbers below n, int32 [count], all such sequences equally likely."""
    radix = (n - np.arange(count)).astype(np.uint32)
    if n > 256:  # two digits would use up a word
        digits, _ = digit(words(key, count), radix)
    else:
        half = (count + 1) // 2
        first, left = digit(words(key, half), radix[:half])
        second, _ = digit(left[: count - half], radix[half:])
        digits = jnp.concatenate([first, second])
    return distinct(settle(digits))
