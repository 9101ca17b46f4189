"""How long the suite runs: short in `make test`, long in `make chaos`."""

import os
import random

__all__ = ["LONG", "SEED", "rounds"]

LONG = os.environ.get("MATRIXFLAG_CHAOS") == "long"

SEED = int(os.environ.get("MATRIXFLAG_CHAOS_SEED", random.randrange(10**6)))
"""Of whatever is drawn; `make chaos` prints it, and takes it again."""


def rounds(short: int, long: int) -> range:
    """Return how often a fault is repeated."""
    return range(long if LONG else short)
