"""What LaunchDarkly's clients are sent, as types: a flag, a segment, and what is in them.

Members that decide nothing are not here, and ignored. A null is as good as left out. Integers may
be written with a fraction of zero, so they are numbers here and `whole` is asked.
"""

from typing import Any, TypeVar

import msgspec

from proxy.contract.codes import ProblemCode
from proxy.contract.decode import decode
from proxy.contract.problems import Problem
from proxy.engine.dialects.launchdarkly.contexts import USER

__all__ = ["Clause", "Flag", "Rollout", "Rule", "Segment", "SegmentRule", "Serve", "Target"]
__all__ += ["Weighted", "kind_of", "read", "whole"]

T = TypeVar("T")

_Number = int | float | None


class Clause(msgspec.Struct, frozen=True, rename="camel", gc=False):
    op: str | None = None
    attribute: str | None = None
    values: list[Any] | None = None
    negate: bool | None = None
    context_kind: str | None = None


class Weighted(msgspec.Struct, frozen=True, gc=False):
    variation: _Number = None
    weight: _Number = None
    untracked: bool | None = None


class Rollout(msgspec.Struct, frozen=True, rename="camel", gc=False):
    variations: list[Weighted] | None = None
    kind: str | None = None
    context_kind: str | None = None
    bucket_by: str | None = None
    seed: _Number = None


class Serve(msgspec.Struct, frozen=True, gc=False):
    variation: _Number = None
    rollout: Rollout | None = None


class Rule(Serve, frozen=True, gc=False):
    id: str | None = None
    clauses: list[Clause] | None = None


class Target(msgspec.Struct, frozen=True, rename="camel", gc=False):
    values: list[str] | None = None
    variation: _Number = None
    context_kind: str | None = None


class Prerequisite(msgspec.Struct, frozen=True, gc=False):
    key: str
    variation: _Number = None


class Flag(msgspec.Struct, frozen=True, rename="camel", gc=False):
    key: str | None = None
    variations: list[Any] | None = None
    salt: str | None = None
    off_variation: _Number = None
    prerequisites: list[Prerequisite] | None = None
    targets: list[Target] | None = None
    context_targets: list[Target] | None = None
    rules: list[Rule] | None = None
    fallthrough: Serve | None = None


class SegmentRule(msgspec.Struct, frozen=True, rename="camel", gc=False):
    clauses: list[Clause] | None = None
    weight: _Number = None
    bucket_by: str | None = None
    rollout_context_kind: str | None = None


class Segment(msgspec.Struct, frozen=True, rename="camel", gc=False):
    key: str | None = None
    salt: str | None = None
    included: list[str] | None = None
    excluded: list[str] | None = None
    included_contexts: list[Target] | None = None
    excluded_contexts: list[Target] | None = None
    rules: list[SegmentRule] | None = None
    unbounded: bool | None = None
    unbounded_context_kind: str | None = None
    generation: _Number = None


def read(definition: Any, kind: type[T]) -> tuple[T | None, list[Problem]]:
    """Return a definition as one of these types, or None and what is wrong with its shape."""
    try:
        return decode(msgspec.json.encode(definition), kind)
    except RecursionError:
        return None, [Problem("", ProblemCode.TOO_DEEP, "nested too deep to be read")]
    except (TypeError, ValueError, OverflowError):  # text without UTF-8 is a ValueError
        message = "there is something in it that JSON cannot say"
        return None, [Problem("", ProblemCode.WRONG_TYPE, message)]


def whole(number: float | None) -> int | None:
    """Return an integer, None for a number that has a fraction, or where there is none."""
    if number is None or number != number or abs(number) > 2**53 or number != int(number):
        return None
    return int(number)


def kind_of(name: str | None) -> str:
    """Return the kind of an individual context that is meant: users, where none is said."""
    return name or USER
