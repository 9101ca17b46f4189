"""How the name of an attribute finds a value in a context.

A name is first looked up as a top-level member of exactly that name; only then is it split, on `.`
into members and on `[n]` into elements of lists. A JSON null counts as missing: clients differ in
whether they send `undefined` as null or leave it out, and no operator tells the two apart.
"""

import re
from functools import lru_cache
from typing import Any

__all__ = ["Steps", "path_fault", "split_path", "top_level_names", "walk"]

Steps = tuple[str | int, ...]

_CACHE = 4_096
"""Names kept split: thousands of flags read the same few attributes."""

_INDEX = re.compile(r"\[([0-9]+)\]")


def split_path(name: str) -> Steps | None:
    """Return the steps of a name that is a path, or None when it is only a member's name.

    `a.b[0][1].c` is `a`, `b`, 0, 1, `c`. Brackets that hold no number belong to the name.
    """
    return _split(name) if "." in name or "[" in name else None


@lru_cache(maxsize=_CACHE)
def _split(name: str) -> Steps | None:
    steps: list[str | int] = []
    for part in name.split("."):
        end = len(part)
        indexes: list[int] = []
        while part[end - 1 : end] == "]" and (start := part.rfind("[", 0, end)) >= 0:
            match = _INDEX.fullmatch(part, start, end)
            if match is None:
                break
            indexes.append(int(match[1]))
            end = start
        # `[0]` alone, or after a dot, indexes what is already reached: there is no name before it
        if end or not indexes:
            steps.append(part[:end])
        steps.extend(reversed(indexes))
    return None if steps == [name] else tuple(steps)


def path_fault(name: str) -> str | None:
    """Return what is wrong with the brackets of a name that somebody wrote, None for nothing.

    Only what nobody calls a member: `a[x]` and `a[]` are such names, where lists of forms are sent.
    """
    if "[" not in name and "]" not in name:
        return None
    is_open = False
    for match in _BRACKETS.finditer(name):
        is_open = not is_open
        if is_open is not (match[0] == "["):
            break
    else:
        if is_open:
            return "a bracket is not closed"
        return "elements of a list are counted from 0" if _NEGATIVE.search(name) else None
    return "a bracket is opened twice" if match[0] == "[" else "a bracket is closed, and not opened"


_BRACKETS = re.compile(r"[\[\]]")
_NEGATIVE = re.compile(r"\[-[0-9]+\]")


def top_level_names(name: str) -> frozenset[str]:
    """Return the top-level members of a context that looking up a name can read."""
    steps = split_path(name)
    if steps is None or not isinstance(steps[0], str):
        return frozenset((name,))
    return frozenset((name, steps[0]))


def walk(context: dict[str, Any], steps: Steps) -> Any:
    """Return what the steps lead to, or None."""
    value: Any = context
    for step in steps:
        if isinstance(step, str):
            if value.__class__ is not dict:
                return None
            value = value.get(step)
        elif value.__class__ is list and step < len(value):
            value = value[step]
        else:
            return None
    return value
