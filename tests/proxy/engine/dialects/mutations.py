"""Documents changed at random, for translators to be tried with."""

from copy import deepcopy
from random import Random
from typing import Any

__all__ = ["mutated"]

HOSTILE: list[Any] = [
    *(None, True, False, 0, -1, 1, 0.5, -0.0, 2**31, 2**53 + 1, 10**400, 1e308, "", "x", "0"),
    *([], {}, [[]], [None], {"": None}, "\ud800", "\0", "ä" * 50, "a" * 5_000, "{0}{f}{x}%s"),
    *("__proto__", "/~2", "(", "(?<=a)b", "2017-13-41T25:61:61Z", "1.2.3.4", ["a"] * 200),
    *([1, [2, [3, [4]]]], {"a": {"b": {"c": {}}}}, "-9" * 200, "\u202e", "😀"),
]


def mutated(document: Any, draw: Random, most: int = 4) -> Any:
    """Return a copy with some values replaced, removed, doubled, or exchanged with others."""
    copy = deepcopy(document)
    for _ in range(draw.randint(1, most)):
        places = _places(copy)
        if not places:
            return copy
        parent, name = draw.choice(places)
        match draw.randrange(5):
            case 0 | 1:
                parent[name] = deepcopy(draw.choice(HOSTILE))
            case 2:
                del parent[name]
            case 3:
                other, place = draw.choice(places)
                parent[name] = deepcopy(other[place])
            case 4 if isinstance(parent, list):
                parent.insert(draw.randint(0, len(parent)), deepcopy(parent[name]))
            case _ if isinstance(parent, dict):
                parent[draw.choice(["x", "", "\ud800", "a" * 300])] = parent.pop(name)
    return copy


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Return every container with the place of each of its values."""
    places: list[tuple[Any, Any]] = []
    stack = [document]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            places += [(node, name) for name in node]
            stack += node.values()
        elif isinstance(node, list):
            places += [(node, index) for index in range(len(node))]
            stack += node
    return places
