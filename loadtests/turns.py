"""Servers that take turns under the same load, and what their turns come to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from loadtests.load import CONNECTIONS, Load, Target, put_load

__all__ = ["Figures", "ratio", "take_turns"]

_WARM_UP_S = 1.0


@dataclass(frozen=True)
class Figures:
    """The medians of a target's turns; `wrong` is their sum."""

    per_s: float
    p50_us: float
    p99_us: float
    cpu_us: float | None
    wrong: int

    @staticmethod
    def of(turns: Sequence[Load]) -> "Figures":
        """Return the figures of a target's turns."""
        cpu_us = [turn.cpu_us for turn in turns if turn.cpu_us is not None]
        return Figures(
            median(turn.per_s for turn in turns),
            median(turn.p50_us for turn in turns),
            median(turn.p99_us for turn in turns),
            median(cpu_us) if cpu_us else None,
            sum(turn.wrong for turn in turns),
        )


def take_turns(
    targets: Sequence[Target],
    *,
    rounds: int,
    seconds: float,
    connections: int = CONNECTIONS,
    generator: str | None = None,
) -> dict[str, list[Load]]:
    """Return the loads of each target by name, after one of a second or less to warm up.

    Every other round goes backwards, so that none always comes after the same one.

    Raises:
        LoadFailed: when one does not answer.
    """
    turns: dict[str, list[Load]] = {target.name: [] for target in targets}
    for target in targets:
        warm_up_s = min(seconds, _WARM_UP_S)
        put_load(target, warm_up_s, connections=connections, generator=generator)
    for number in range(rounds):
        for target in targets[:: -1 if number % 2 else 1]:
            load = put_load(target, seconds, connections=connections, generator=generator)
            turns[target.name].append(load)
    return turns


def ratio(
    first: Sequence[Load], other: Sequence[Load], of: Callable[[Load], float | None]
) -> float | None:
    """Return the median over the rounds of one target's figure by the other's, if both have it."""
    pairs = ((of(one), of(two)) for one, two in zip(first, other, strict=True))
    ratios = [one / two for one, two in pairs if one is not None and two]
    return median(ratios) if ratios else None
