"""flagd's `sem_ver`: versions compared by the precedence of SemVer 2.0.0, written loosely.

A `v` or `V` in front is ignored, the minor and the patch may be left out, a number is taken as it
is written (`1.2` is 1.2.0). Pre-releases need all three numbers; build metadata is ignored. What is
no version, and an operator that there is not, make the result null, which is not false.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from proxy.engine import limits
from proxy.engine.dialects.operations import number_text

__all__ = ["SIGNS", "Version", "compare", "parse", "test_against"]

_Identifier = tuple[int, int, str]
Version = tuple[tuple[int, int, int], tuple[_Identifier, ...]]

_RELEASED: tuple[_Identifier, ...] = ((2, 0, ""),)
"""Instead of a pre-release; after all of them. Numbers are (0, n, ""), texts (1, 0, text)."""

_N = r"(0|[1-9][0-9]*)"
_ID = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_BUILD = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION = re.compile(rf"[vV]?{_N}(?:\.{_N}(?:\.{_N}(?:-({_ID}(?:\.{_ID})*))?(?:\+{_BUILD})?)?)?")


_LEAST_WRITTEN, _MOST_WRITTEN = 1e-4, 1e6
"""Go writes other numbers with an exponent, which no version has."""

_VERSIONS = 1_024
"""Versions kept parsed: applications are in use in a few, and flags ask for one several times."""


def parse(value: Any) -> Version | None:
    """Return a version, None for what is none."""
    kind = value.__class__
    if kind is not str:
        if kind is not int and kind is not float:
            return None
        if value and not _LEAST_WRITTEN <= abs(value) < _MOST_WRITTEN:
            return None
        value = number_text(value) or ""
    return _parsed(value) if len(value) <= limits.MAX_VERSION_CHARS else None


@lru_cache(_VERSIONS)
def _parsed(value: str) -> Version | None:
    match = _VERSION.fullmatch(value)
    if match is None:
        return None
    major, minor, patch, before = match.groups("")
    core = int(major), int(minor or 0), int(patch or 0)
    if not before:
        return core, _RELEASED
    identifiers = [
        (0, int(each), "") if each.isdigit() else (1, 0, each) for each in before.split(".")
    ]
    return core, tuple(identifiers)


SIGNS: dict[str, Callable[[Version, Version], bool]] = {
    "=": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
    "^": lambda one, other: one[0][0] == other[0][0],
    "~": lambda one, other: one[0][:2] == other[0][:2],
}


def compare(values: list[Any]) -> bool | None:
    """Return whether `[version, sign, version]` holds, None for anything else."""
    if len(values) != 3:
        return None
    test = test_against(values[1], values[2])
    return None if test is None else test(values[0])


def test_against(sign: Any, wanted: Any) -> Callable[[Any], bool | None] | None:
    """Return the test of a value against a version, None where it always comes to null."""
    holds = SIGNS.get(sign) if sign.__class__ is str else None
    target = parse(wanted)
    if holds is None or target is None:
        return None

    def test(value: Any) -> bool | None:
        version = parse(value)
        return None if version is None else holds(version, target)

    return test
