"""What a flag can answer: is each value of its type, readable by every client, and of a size?

Metadata is looked at here, too: it is part of every answer. Part of `validate`.
"""

from math import isfinite
from typing import Any

import msgspec

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import Flag, FlagDefinition, FlagType
from proxy.contract.problems import json_kind
from proxy.engine import limits
from proxy.engine.findings import Findings, Path
from proxy.engine.texts import CONTROL, check_count, has_utf8

__all__ = ["check_outcomes"]

_encode = msgspec.json.Encoder().encode


def check_outcomes(flag: Flag | FlagDefinition, findings: Findings, *, typed: bool = True) -> None:
    """Report what is wrong with variants and metadata.

    Without `typed` the variants may be of any type, or null: they are another system's.
    """
    if not flag.variants:
        message = "a flag has at least one variant"
        findings.add(("variants",), ProblemCode.NO_VARIANTS, message)
    check_count(("variants",), len(flag.variants), limits.MAX_VARIANTS, "variants", findings)
    total = 0
    for name, value in flag.variants.items():
        path = ("variants", name)
        if not 0 < len(name) <= limits.MAX_NAME_CHARS or CONTROL.search(name):
            message = (
                f"the name of a variant is 1 to {limits.MAX_NAME_CHARS} characters, none of them "
                "a control character"
            )
            findings.add(path, ProblemCode.INVALID_KEY, message)
        total += _check_value(path, flag.type if typed else None, value, findings)
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


def _check_value(path: Path, kind: FlagType | None, value: Any, findings: Findings) -> int:
    """Report what is wrong with a variant's value, and return its size as JSON."""
    classes, wanted = _FITS[kind] if kind is not None else (frozenset((value.__class__,)), "")
    if value.__class__ not in classes:
        message = f"a variant of a flag of type {kind} is {wanted}, not {json_kind(value)}"
        hint = "for the application's own default, leave off_variant out" if value is None else ""
        findings.add(path, ProblemCode.VALUE_TYPE, message, hint)
        return 0
    if value.__class__ is list and kind is not None:
        findings.add(
            path,
            ProblemCode.ARRAY_VALUE,
            "a list is not an object; some clients refuse it",
            "put it into an object",
            Severity.WARNING,
        )
    size = len(_encode(value)) if _check_inside(path, value, findings) else 0
    if size > limits.MAX_VALUE_BYTES:
        message = f"{size} bytes as JSON, at most {limits.MAX_VALUE_BYTES} are allowed"
        findings.add(path, ProblemCode.VALUE_TOO_LARGE, message)
    return size


def _check_inside(path: Path, value: Any, findings: Findings) -> bool:
    """Return whether a value can be encoded; report numbers in it that clients cannot read."""
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


def _check_metadata(metadata: dict[str, Any], findings: Findings) -> None:
    encodable = True
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
