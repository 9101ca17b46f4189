"""From a document with mistakes of shape to one that decodes, so that its meaning can be looked at.

What is wrong is put out of the way: replaced by a condition that never holds, or by serving nothing
in particular, or left out. Whoever looks at the result must not believe what is said of those
places; they are returned. Pure. It knows where the parts of a document stand, as
`proxy.contract.definitions` has it, and changes together with that.
"""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from proxy.contract.codes import ProblemCode
from proxy.contract.decode import decode
from proxy.contract.problems import Problem, pointer

__all__ = ["Kind", "salvage", "salvaged"]

T = TypeVar("T")

Kind = Literal["flag", "segment", "evaluation"]
"""Of a document: a flag, a segment, or what evaluations are asked with, a flag in it."""


class _Part(NamedTuple):
    """What a step leads to, and what takes its place when something in it is wrong.

    `instead` is `_KEEP` where what is around it has to go, `_LEAVE_OUT` where it can be missing,
    `_UNIT` where a text has to be that no other is.
    """

    of: str
    instead: object


_KEEP = object()
_LEAVE_OUT = object()
_UNIT = object()
_NEVER: dict[str, list[object]] = {"any": []}
_NOTHING = {"variant": ""}
_ANY = ""  # any other step

_PARTS: dict[str, dict[str, _Part]] = {
    "evaluation": {"definition": _Part("flag", _KEEP), _ANY: _Part("", _LEAVE_OUT)},
    "flag": {
        "key": _Part("", _KEEP),
        "type": _Part("", _KEEP),
        "value": _Part("", _KEEP),
        "variants": _Part("", _KEEP),
        "environments": _Part("environments", _KEEP),
        _ANY: _Part("", _LEAVE_OUT),
    },
    "environments": {_ANY: _Part("environment", {"fallthrough": _NOTHING})},
    "environment": {
        "fallthrough": _Part("serve", _NOTHING),
        "rules": _Part("rules", _LEAVE_OUT),
        "targets": _Part("targets", _LEAVE_OUT),
        "prerequisites": _Part("prerequisites", _LEAVE_OUT),
        _ANY: _Part("", _LEAVE_OUT),
    },
    "targets": {_ANY: _Part("target", {"variant": "", "units": []})},
    "target": {"variant": _Part("", ""), "units": _Part("units", [])},
    "units": {_ANY: _Part("", _UNIT)},
    "prerequisites": {_ANY: _Part("prerequisite", {"flag": "", "variants": []})},
    "prerequisite": {"variants": _Part("names", [])},
    "names": {_ANY: _Part("", "")},
    "rules": {_ANY: _Part("rule", {"when": _NEVER, "serve": _NOTHING})},
    "rule": {
        "when": _Part("condition", _NEVER),
        "serve": _Part("serve", _NOTHING),
        _ANY: _Part("", _LEAVE_OUT),
    },
    "serve": {},
    "condition": {
        "not": _Part("condition", _NEVER),
        "all": _Part("conditions", _KEEP),
        "any": _Part("conditions", _KEEP),
    },
    "conditions": {_ANY: _Part("condition", _NEVER)},
    "segment": {
        "key": _Part("", _KEEP),
        "when": _Part("condition", _NEVER),
        "included": _Part("units", _LEAVE_OUT),
        "excluded": _Part("units", _LEAVE_OUT),
        _ANY: _Part("", _LEAVE_OUT),
    },
}


def salvage(document: Any, kind: Kind, problems: Iterable[Problem]) -> list[str] | None:
    """Change a decoded document so that it decodes as its type; return the places that changed.

    None when what is left says too little. Members that are unknown are only taken out.
    """
    changed: list[str] = []
    for number, problem in enumerate(problems):
        steps = [s.replace("~1", "/").replace("~0", "~") for s in problem.pointer.split("/")[1:]]
        place = _replace(document, kind, steps, f"\0{number}")
        if place is None:
            return None
        # At the top and in an environment a member more takes nothing from the meaning of others.
        if problem.code is not ProblemCode.UNKNOWN_FIELD or len(place) < len(steps):
            changed.append(pointer(*place))
    return changed


def salvaged(
    document: Any, kind: Kind, type_: type[T], problems: Iterable[Problem]
) -> tuple[T | None, list[str]]:
    """Return what can be understood of a document, which is changed, and the places that cannot.

    None, and no places, when that is too little.
    """
    changed = salvage(document, kind, problems)
    if changed is None:
        return None, []
    try:
        value, _ = decode(msgspec.json.encode(document), type_)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return None, []
    return value, changed


def _replace(document: Any, kind: str, steps: list[str], unit: str) -> list[str] | None:
    """Put the smallest part around a place out of the way, and return where that was.

    `unit` is a text that nothing else in the document is.
    """
    node = document
    best: tuple[Any, int, object] | None = None  # container, index of the step in it, instead
    for index, step in enumerate(steps):
        parts = _PARTS.get(kind, {})
        part = parts.get(step) or parts.get(_ANY)
        if part is None or not _can_hold(node, step):
            break
        if part.instead is not _KEEP:
            best = (node, index, part.instead)
        kind = part.of
        node = node.get(step) if isinstance(node, dict) else node[int(step)]
    if best is None:
        return None
    container, index, instead = best
    step = steps[index]
    if instead is _UNIT:
        instead = unit
    elif instead is not _LEAVE_OUT:
        instead = deepcopy(instead)  # more may be wrong in it, and is put out of the way then
    if isinstance(container, list):
        container[int(step)] = instead
    elif instead is _LEAVE_OUT:
        container.pop(step, None)
    else:
        container[step] = instead
    return steps[: index + 1]


def _can_hold(node: Any, step: str) -> bool:
    """Return whether a node is a container in which a step can be replaced."""
    if isinstance(node, list):
        return step.isdecimal() and int(step) < len(node)
    return isinstance(node, dict)
