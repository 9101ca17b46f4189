"""What definitions compile to: callables for flags and segments, and what else is known of them.

The types alone, for all who make them, hold them or ask them; how they are made is the affair of
`compile`, `segments` and `codegen`. Nothing here changes after it was made, but the counts in
answers.
"""

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from proxy.contract.definitions import FlagDefinition, KeyDefinition
from proxy.contract.problems import Problem
from proxy.engine.answers import Answer
from proxy.engine.memo import Memo
from proxy.engine.timing import NEVER, Timing
from proxy.engine.units import UnitSet

__all__ = ["CompiledFlag", "CompiledSegment", "CompiledSnapshot", "Evaluate", "Predicate"]
__all__ += ["untold"]


class Evaluate(Protocol):
    """A flag as a function of a context, the time in Unix milliseconds, and a memo."""

    def __call__(
        self, context: dict[str, Any], now_ms: int, memo: Memo | None = None, /
    ) -> Answer: ...


class Predicate(Protocol):
    """A condition as a function of a context, the time in Unix milliseconds, and a memo."""

    def __call__(
        self, context: dict[str, Any], now_ms: int, memo: Memo | None = None, /
    ) -> bool: ...


def _never(_context: dict[str, Any], _now_ms: int, _memo: Memo | None = None, /) -> bool:
    return False


class CompiledSegment(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One segment. `holds(context, now_ms, memo)` never raises; not asked if there are problems."""

    key: str
    holds: Predicate = _never
    attributes: frozenset[str] | None = frozenset()
    timing: Timing = NEVER
    problems: tuple[Problem, ...] = ()
    nesting: int = 1
    conditions: int = 0
    """Leaves, with those of the segments it names put in place."""
    names: tuple[tuple[str, "CompiledSegment | None"], ...] = ()
    """The segments it names, as they were when it was compiled."""
    line: bytes = b""
    units: tuple[UnitSet | None, UnitSet | None] = (None, None)
    """Its long lists, of included and of excluded units."""

    def __repr__(self) -> str:
        return f"<CompiledSegment {self.key!r}: {len(self.problems) or 'no'} problems>"


class CompiledFlag(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One flag of one environment, ready to answer.

    `evaluate(context, now_ms, memo)` returns one of `answers`; it never raises, for any JSON
    object. Many flags that are evaluated for one context at one time may share a `Memo`.
    `static`: the answer depends neither on the context nor on time. `attributes` are the top-level
    members of a context that can matter, None when that is not known; `timing` is when time does.
    `problems` is not empty when the flag is quarantined.
    """

    key: str
    evaluate: Evaluate
    answers: tuple[Answer, ...]
    client_side: bool = False
    track: bool = False
    static: bool = True
    attributes: frozenset[str] | None = frozenset()
    timing: Timing = NEVER
    problems: tuple[Problem, ...] = ()
    unserved: tuple[str, ...] = ()
    """The variants it has that none of `answers` names: nothing leads to them as it is now."""
    line: bytes = b""
    """The line of the snapshot it was made from; empty when it was made alone."""
    segments: tuple[tuple[str, CompiledSegment | None], ...] = ()
    """The segments it names, as they were when it was compiled."""
    prerequisites: tuple[tuple[str, "CompiledFlag | None"], ...] = ()
    """The flags it asks, as they were when it was compiled; None for one that was not there."""
    nesting: int = 0
    """How many flags are asked, one by the other, at the longest."""
    circular: bool = False
    """Whether it asks itself, through others, and is of a system where that has an answer."""
    asked: int = 0
    """How many flags are asked at most in all, those asked by others counted each time."""

    def __repr__(self) -> str:
        return f"<CompiledFlag {self.key!r}: {len(self.problems) or 'no'} problems>"


def untold(
    definition: FlagDefinition, asked: Iterable[tuple[str, CompiledFlag | None]]
) -> frozenset[str]:
    """Return which of the flags that a flag asks its answers do not name.

    Whoever holds a public key sees the answers of a flag that is `client_side`, and is not to learn
    what others are called. A flag has one answer for all callers, so servers are not told either;
    explanations are.
    """
    if not definition.client_side:
        return frozenset()
    return frozenset(key for key, flag in asked if flag is None or not flag.client_side)


class CompiledSnapshot(msgspec.Struct, frozen=True, eq=False):
    """Everything one environment needs to answer.

    `flags` are in the order of their keys' bytes; `keys` are evaluation keys by their hash. An
    evaluation key that could not be read is there as one that nothing matches, so that a mistake in
    it does not make an environment look as if it had no keys. `segments` are by their names,
    `chained` are the keys of flags that have prerequisites.
    """

    flags: dict[str, CompiledFlag]
    keys: dict[str, KeyDefinition]
    quarantined: dict[str, tuple[Problem, ...]]
    segments: dict[str, CompiledSegment]
    chained: frozenset[str] = frozenset()
    looked_at: frozenset[str] | None = None
    """The flags that may be others than in the snapshot that this was compiled after, by their
    keys, those that are gone too; None for all. What the others are need not be looked at again."""

    def replaced(self, old: "CompiledSnapshot") -> list[CompiledFlag]:
        """Return the flags of the snapshot that this was compiled after that are not taken over."""
        keys = old.flags if self.looked_at is None else self.looked_at
        return [
            flag
            for key in keys
            if (flag := old.flags.get(key)) is not None and self.flags.get(key) is not flag
        ]
