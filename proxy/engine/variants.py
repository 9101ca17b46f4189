"""What a flag can answer: is each value of its type, readable by every client, and of a size?

Metadata is looked at here, too: it is part of every answer. Part of `validate`.
"""

from math import isfinite
from typing import Any

import msgspec

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import Flag, FlagDefinition, FlagType
from proxy.contract.problems import json_kind
from proxy.contract.steps import Steps
from proxy.engine import limits
from proxy.engine.findings import STEP_US, Findings, Path
from proxy.engine.texts import CONTROL, check_count, has_utf8

__all__ = ["check_outcomes"]

_encode = msgspec.json.Encoder().encode


def check_outcomes(
    flag: Flag | FlagDefinition, findings: Findings, *, typed: bool = True
) -> Steps[None]:
    """Report what is wrong with variants and metadata, in steps.

    Without `typed` the variants may be of any type, or null: they are another system's.
    """
    if not flag.variants:
        message = "a flag has at least one variant"
        findings.add(("variants",), ProblemCode.NO_VARIANTS, message)
    check_count(("variants",), len(flag.variants), limits.MAX_VARIANTS, "variants", findings)
    total = nodes = spent = 0
    most = limits.MAX_VALUE_NODES
    kind = flag.type if typed else None
    for name, value in flag.variants.items():
        path = ("variants", name)
        if not 0 < len(name) <= limits.MAX_NAME_CHARS or CONTROL.search(name):
            message = (
                f"the name of a variant is 1 to {limits.MAX_NAME_CHARS} characters, none of them "
                "a control character"
            )
            findings.add(path, ProblemCode.INVALID_KEY, message)
        size, inside = _check_value(path, kind, value, most - nodes, findings)
        total, nodes = total + size, nodes + inside
        spent += 2 + (size >> 8) + (inside >> 4)
        if nodes > most:
            message = f"more than {most} members and elements in all values"
            hint = "put what is large into a file, and its name here"
            findings.add(("variants",), ProblemCode.TOO_MANY, message, hint)
            break
        if spent >= STEP_US or findings.spent >= STEP_US:
            spent = findings.spent = 0
            yield
    if total > limits.MAX_ALL_VALUES_BYTES:
        message = f"{total} bytes as JSON in all, at most {limits.MAX_ALL_VALUES_BYTES}"
        hint = "remove variants that nothing serves"
        findings.add(("variants",), ProblemCode.VALUE_TOO_LARGE, message, hint)
    _check_metadata(flag.metadata, findings)


_FITS: dict[FlagType, tuple[frozenset[type], str]] = {
    "boolean": (frozenset((bool,)), "true or false"),
    "string": (frozenset((str,)), "a string"),
    "integer": (frozenset((int,)), "an integer, without a fraction"),
    "number": (frozenset((int, float)), "a number"),
    "object": (frozenset((dict, list)), "an object"),
}


def _check_value(
    path: Path, kind: FlagType | None, value: Any, most: int, findings: Findings
) -> tuple[int, int]:
    """Report what is wrong with a variant's value; return its size as JSON, and its nodes.

    Once they are more than `most`, the rest is not looked at.
    """
    classes, wanted = _FITS[kind] if kind is not None else (frozenset((value.__class__,)), "")
    if value.__class__ not in classes:
        message = f"a variant of a flag of type {kind} is {wanted}, not {json_kind(value)}"
        hint = "for the application's own default, leave off_variant out" if value is None else ""
        findings.add(path, ProblemCode.VALUE_TYPE, message, hint)
        return 0, 1
    if value.__class__ is list and kind is not None:
        findings.add(
            path,
            ProblemCode.ARRAY_VALUE,
            "a list is not an object; some clients refuse it",
            "put it into an object",
            Severity.WARNING,
        )
    if value.__class__ is bool:
        return len("false"), 1
    if value.__class__ is str and len(value) > limits.MAX_VALUE_BYTES:
        size, nodes = len(value), 1
    else:
        size, nodes = _size(path, value, most, findings)
    if size > limits.MAX_VALUE_BYTES:
        message = f"{size} bytes as JSON, at most {limits.MAX_VALUE_BYTES} are allowed"
        findings.add(path, ProblemCode.VALUE_TOO_LARGE, message)
    return size, nodes


def _size(path: Path, value: Any, most: int, findings: Findings) -> tuple[int, int]:
    """Report what is wrong inside a value; return its size as JSON, 0 if it has none, its nodes."""
    kind = value.__class__
    small = kind is int and -limits.MAX_INTEGER <= value <= limits.MAX_INTEGER
    nodes = 1 if kind is str or small else _plain_nodes(value, most)
    if nodes > most:
        return 0, nodes
    if nodes > 0:
        try:
            return len(_encode(value)), nodes
        except UnicodeEncodeError:
            pass  # said below
    return (len(_encode(value)) if _check_inside(path, value, findings) else 0), max(nodes, 1)


def _plain_nodes(value: Any, most: int) -> int:
    """Return how many nodes a value has, 0 when a number or the depth of it may be wrong.

    Looks at each node as little as can be, and at few beyond `most`.
    """
    count = 1
    level: list[Any] = [value]
    for depth in range(limits.MAX_VALUE_DEPTH + 1):
        inner: list[Any] = []
        for node in level:
            kind = node.__class__
            if kind is str or kind is bool:
                continue
            if (kind is dict or kind is list) and depth == limits.MAX_VALUE_DEPTH:
                return 0
            if kind is dict:
                inner += node.values()
            elif kind is list:
                inner += node
            elif kind is int:
                if not -limits.MAX_INTEGER <= node <= limits.MAX_INTEGER:
                    return 0
            elif kind is float and not isfinite(node):
                return 0
            if len(inner) > most:
                return count + len(inner)
        if not inner:
            return count
        count += len(inner)
        if count > most:
            return count
        level = inner
    return 0


def _check_inside(path: Path, value: Any, findings: Findings) -> bool:
    """Return whether a value can be encoded; report numbers in it that clients cannot read.

    The way to each node is kept, so it is for values in which something is wrong.
    """
    stack: list[tuple[Path, Any, int]] = [(path, value, 1)]
    good = True
    while stack:
        here, node, depth = stack.pop()
        kind = node.__class__
        if kind is int and abs(node) > limits.MAX_INTEGER:
            message = "integers beyond 2^53 - 1 are not exact in every client"
            findings.add(here, ProblemCode.NUMBER_OUT_OF_RANGE, message, "use a string")
        elif kind is float and not isfinite(node):
            findings.add(here, ProblemCode.NUMBER_OUT_OF_RANGE, "JSON has only finite numbers")
            good = False
        elif kind is str and not has_utf8(node):
            findings.add(here, ProblemCode.VALUE_TYPE, "this text cannot be written as UTF-8")
            good = False
        elif kind is dict or kind is list:
            if depth > limits.MAX_VALUE_DEPTH:
                message = f"a value nests deeper than {limits.MAX_VALUE_DEPTH}"
                findings.add(path, ProblemCode.TOO_DEEP, message)
                return False
            members = node.items() if kind is dict else enumerate(node)
            stack.extend(((*here, name), child, depth + 1) for name, child in members)
    return good


_LEAST_MEMBER_BYTES = 5
"""`"":1,`"""


def _check_metadata(metadata: dict[str, Any], findings: Findings) -> None:
    encodable = True
    if len(metadata) > limits.MAX_METADATA_BYTES // _LEAST_MEMBER_BYTES:
        message = f"more than {limits.MAX_METADATA_BYTES} bytes as JSON"
        findings.add(("metadata",), ProblemCode.VALUE_TOO_LARGE, message)
        return
    for name, value in metadata.items():
        path = ("metadata", name)
        if value.__class__ not in (str, int, float, bool):
            message = f"metadata holds strings, numbers and booleans, not {json_kind(value)}"
            findings.add(path, ProblemCode.METADATA_NOT_FLAT, message)
            encodable = False
        elif not _check_inside(path, value, findings):
            encodable = False
    if encodable and len(_encode(metadata)) > limits.MAX_METADATA_BYTES:
        message = f"more than {limits.MAX_METADATA_BYTES} bytes as JSON"
        findings.add(("metadata",), ProblemCode.VALUE_TOO_LARGE, message)
