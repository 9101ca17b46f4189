"""How far a ramp has come at a time: what it serves then, as a rollout of two arms.

The same arithmetic that compiled flags do, for those who have to say what a ramp serves now: who
replaces one, and who shows it.
"""

from proxy.contract.definitions import BUCKETS, Arm, Ramp
from proxy.engine import program
from proxy.engine.times import parse_moment

__all__ = ["ramp_arms"]


def ramp_arms(ramp: Ramp, now_ms: int) -> list[Arm]:
    """Return the arms of the rollout that a valid ramp is at a time, with their ranges.

    An arm that holds nothing is left out; one variant on both sides is one arm.
    """
    start_ms, end_ms = parse_moment(ramp.start) or 0, parse_moment(ramp.end) or 0
    held = program.Ramp(start_ms, end_ms, ramp.from_, ramp.to).bound(now_ms)
    if ramp.variant == ramp.else_:
        held = BUCKETS
    pieces = ((ramp.variant, 0, held), (ramp.else_, held, BUCKETS))
    return [Arm(name, high - low, [(low, high)]) for name, low, high in pieces if low < high]
