"""What pictures and pages share: colours, and words for metrics and values.

Colours are those of Okabe and Ito, told apart by colour-blind readers.
"""

import numpy as np

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, PALE = "#222222", "#777777"


def words(metric: str) -> str:
    """The name of a metric in words."""
    plainly = metric.replace("_", " ")
    return plainly.replace("evaluation return", "greedy return of an episode").replace("evaluation", "greedy")


def percent(share: float) -> str:
    """A share from 0 to 1 as whole percent, halves up."""
    return f"{np.floor(100 * share + 0.5 + 1e-9):.0f}"  # a share such as 0.145 lies a little below its half


def short(value: object) -> str:
    """A value of an option in few words."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    text = text.lower() if text in ("True", "False") else text  # as files have it
    return text if len(text) <= 100 else f"{text[:97]}..."
