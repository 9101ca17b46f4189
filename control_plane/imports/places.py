"""Whose problem a problem of a file is: pointers into other systems' files. Pure."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from proxy.contract.problems import Problem, pointer

__all__ = ["ByItem", "by_item"]

_NAMES = ("key", "name", "id")
_LISTS = frozenset({"flags", "features", "items", "segments", "toggles"})
_OF_SEGMENTS = frozenset({"segments", "segment"})
_TABLES = frozenset({"flags", "features", "segments", "flagValues"})
_DEEPEST = 5  # `/data/flags/<key>`, `/events/0/feature`, `/events/0/features/3`
_FIRST_MEMBERS = frozenset({"flags", "features", "segments", "events", "items", "data", "metadata"})


class ByItem(NamedTuple):
    """The problems of a file: of its flags and segments, by key, and of the file itself."""

    flags: dict[str, list[Problem]]
    segments: dict[str, list[Problem]]
    of_file: list[Problem]


def by_item(system: str, document: Any, problems: Iterable[Problem]) -> ByItem:
    """Return the problems of a file's flags and segments, and those of nobody."""
    found = ByItem({}, {}, [])
    for problem in problems:
        item = _item(system, document, problem.pointer)
        if item is None:
            found.of_file.append(problem)
            continue
        is_segment, key = item
        (found.segments if is_segment else found.flags).setdefault(key, []).append(problem)
    return found


def _item(system: str, document: Any, where: str) -> tuple[bool, str] | None:
    """Return whether a place is in a segment, and of which key; None where it is in no item.

    An item of a list that has no key is called by its place in the file.
    """
    steps = [step.replace("~1", "/").replace("~0", "~") for step in where.split("/")[1:]]
    if system == "goff" and steps and steps[0] not in _FIRST_MEMBERS:
        return False, steps[0]
    node, above = document, ""
    for depth, step in enumerate(steps[:_DEEPEST], 1):
        is_table = isinstance(node, dict) and above in _TABLES
        if is_table:
            return above in _OF_SEGMENTS, step
        if isinstance(node, list) and step.isdecimal() and int(step) < len(node):
            node = node[int(step)]
            in_list = above in _LISTS
        elif isinstance(node, dict) and step in node:
            node = node[step]
            above = step
            in_list = step in ("feature", "segment")
        else:
            return None
        if in_list:
            is_segment = above in _OF_SEGMENTS
            key = _key_of(system, node, is_segment=is_segment) if isinstance(node, dict) else None
            return is_segment, key or pointer(*steps[:depth])
    return None


def _key_of(system: str, node: dict[Any, Any], *, is_segment: bool) -> str | None:
    if system == "unleash" and is_segment:
        return f"unleash-{node['id']}" if "id" in node else None
    key = next((node[name] for name in _NAMES if name in node), None)
    return key if isinstance(key, str) else None
