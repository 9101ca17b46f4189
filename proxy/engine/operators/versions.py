"""Versions by the precedence of SemVer 2.0.0, and ranges of them.

A version is written as the specification says and no other way: `1.2.3`, `1.2.3-rc.1+build.5`. A
`v` in front, `1.2`, a leading zero make it none. Build metadata is ignored. Attributes longer than
`MAX_VERSION_CHARS` are no versions, which is what bounds the integers here.

Ranges are `^1.2.3` (below the next change of the first number that is not zero), `~1.2.3` (below
the next minor), `^1.2`, `~1.2`, `^1`, `~1` (the numbers left out are free), or one exact version.

Pre-releases are in a range only where the range itself names a pre-release of the same three
numbers: `^1.2.3-beta.2` has `1.2.3-beta.4`, but not `1.3.0-beta.1`; `^1.2.3` has neither. Who asks
for released versions is not handed others.

A set of ranges is kept as one: releases as ascending bounds of disjoint intervals, found by
bisection; pre-releases by their three numbers. So a hundred ranges cost what one does.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from proxy.contract.codes import ProblemCode
from proxy.engine.limits import MAX_VERSION_CHARS
from proxy.engine.operators.model import Fault, Leaf, Options

__all__ = ["check_ranges", "check_version", "compare_versions", "match_versions", "parse_version"]

_Core = tuple[int, int, int]
_PreRelease = tuple[tuple[int, int, str], ...]
"""Identifiers that compare as the specification says: numbers by size, and before texts."""

_Version = tuple[_Core, _PreRelease]

_RELEASED: _PreRelease = ((2, 0, ""),)
"""Instead of a pre-release; after all of them."""

_NUMBER = r"(0|[1-9][0-9]*)"
_REST = r"(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}{_REST}")
_PARTIAL = re.compile(rf"{_NUMBER}(?:\.{_NUMBER})?")

_RANGE_FORMS = "write a range as ^1.2 or ~1.2.3, or a version in full, such as 1.2.3"


def parse_version(text: str) -> _Version | None:
    """Return a version, None for what is none."""
    if len(text) > MAX_VERSION_CHARS:
        return None
    match = _VERSION.fullmatch(text)
    if match is None:
        return None
    major, minor, patch, pre_release = match.groups()
    core = int(major), int(minor), int(patch)
    if pre_release is None:
        return core, _RELEASED
    identifiers = []
    for identifier in pre_release.split("."):
        if not identifier.isdigit():
            if not identifier:
                return None
            identifiers.append((1, 0, identifier))
        elif identifier[0] == "0" and identifier != "0":
            return None
        else:
            identifiers.append((0, int(identifier), ""))
    return core, tuple(identifiers)


_TESTS: dict[str, Callable[[_Version], Callable[[_Version], bool]]] = {
    "==": lambda wanted: wanted.__eq__,
    ">": lambda wanted: wanted.__lt__,
    ">=": lambda wanted: wanted.__le__,
    "<": lambda wanted: wanted.__gt__,
    "<=": lambda wanted: wanted.__ge__,
}
"""By sign, a test of a version against the wanted one, which is the left side of it."""


def compare_versions(sign: str) -> Callable[[Sequence[Any], Options], Leaf]:
    """Return the compile of a comparison of versions by a sign of Python's."""

    def compile_versions(values: Sequence[Any], _options: Options) -> Leaf:
        wanted = parse_version(values[0])
        assert wanted is not None, "checked"  # noqa: S101 - for the type
        test = _TESTS[sign](wanted)

        def compares(value: str) -> bool:
            version = parse_version(value)
            return version is not None and test(version)

        return Leaf("{f}.__class__ is str and {0}({x})", (compares,))

    return compile_versions


def match_versions(values: Sequence[Any], _options: Options) -> Leaf:
    """Return whether a version is in one of the ranges."""
    spans: list[tuple[_Core, _Core]] = []
    least: dict[_Core, _PreRelease] = {}
    exact: set[_Version] = set()
    for value in values:
        parsed = _parse_range(value)
        assert parsed is not None, "checked"  # noqa: S101 - for the type
        (core, pre_release), high = parsed
        if high is None and pre_release is not _RELEASED:
            exact.add((core, pre_release))
            continue
        spans.append((core, high or (*core[:2], core[2] + 1)))
        if pre_release is not _RELEASED:
            least[core] = min(pre_release, least.get(core, pre_release))
    bounds = _bounds(spans)

    def matches(value: str) -> bool:
        version = parse_version(value)
        if version is None:
            return False
        core, pre_release = version
        if pre_release is _RELEASED:
            return bisect_right(bounds, core) & 1 == 1
        return version in exact or (core in least and pre_release >= least[core])

    return Leaf("{f}.__class__ is str and {0}({x})", (matches,))


def _parse_range(text: str) -> tuple[_Version, _Core | None] | None:
    """Return the first version of a range, and the first numbers above it; none for an exact one.

    None for what is no range.
    """
    if text[:1] not in ("^", "~"):
        exact = parse_version(text)
        return None if exact is None else (exact, None)
    match = _PARTIAL.fullmatch(text, 1)
    if match is not None:
        major = int(match[1])
        if match[2] is None:
            return ((major, 0, 0), _RELEASED), (major + 1, 0, 0)
        minor = int(match[2])
        open_ended = text[0] == "^" and major > 0
        high = (major + 1, 0, 0) if open_ended else (major, minor + 1, 0)
        return ((major, minor, 0), _RELEASED), high
    version = parse_version(text[1:])
    if version is None:
        return None
    major, minor, patch = version[0]
    if text[0] == "~" or (major == 0 and minor > 0):
        return version, (major, minor + 1, 0)
    return version, (major + 1, 0, 0) if major else (0, 0, patch + 1)


def _bounds(spans: list[tuple[_Core, _Core]]) -> list[_Core]:
    """Return starts and ends of the union of half-open spans, in turn, ascending."""
    bounds: list[_Core] = []
    for low, high in sorted(spans):
        if bounds and low <= bounds[-1]:
            bounds[-1] = max(bounds[-1], high)
        else:
            bounds += (low, high)
    return bounds


def check_version(values: Sequence[Any], _options: Options) -> Iterator[Fault | None]:
    """Yield what is no version."""
    for index, value in enumerate(values):
        if parse_version(value) is None:
            yield _fault(index, value, "no version of SemVer 2.0.0", _mended(value))


_VALUES_A_STEP = 20  # of up to 25 us


def check_ranges(values: Sequence[Any], _options: Options) -> Iterator[Fault | None]:
    """Yield what is no range of versions."""
    for index, value in enumerate(values):
        if index % _VALUES_A_STEP == _VALUES_A_STEP - 1:
            yield None
        if len(value) > MAX_VERSION_CHARS or _parse_range(value) is None:
            yield _fault(index, value, "no range of versions", _RANGE_FORMS)


def _fault(index: int, value: str, what: str, hint: str) -> Fault:
    shown = value if len(value) <= _SHOWN_CHARS else value[:_SHOWN_CHARS] + "..."
    return Fault(("values", index), ProblemCode.OPERATOR_VALUES, f"{shown!r} is {what}", hint)


_SHOWN_CHARS = 40


def _mended(text: str) -> str:
    """Return what was probably meant."""
    if text[:1] in ("v", "V") and parse_version(text[1:]) is not None:
        return f"leave out the {text[0]!r}"
    for zeros in (".0", ".0.0"):
        if parse_version(text + zeros) is not None:
            return f"write it in full: {text + zeros}"
    return "write three numbers, without leading zeros: 1.2.3, or 1.2.3-rc.1"
