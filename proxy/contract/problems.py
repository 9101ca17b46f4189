"""A problem: one thing that is wrong with a document, said so that its author can mend it.

Problems are values. Validation collects all of them; nothing here raises.
"""

from typing import Any

import msgspec

from proxy.contract.codes import ProblemCode, Severity

__all__ = ["Problem", "has_errors", "json_kind", "pointer", "under"]


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with a document.

    `pointer` is a JSON Pointer (RFC 6901) into the document, `""` for the whole of it; `message`
    says what is wrong with the offending value in it; `hint` what to do instead, or is empty.
    """

    pointer: str
    code: ProblemCode
    message: str
    hint: str = ""
    severity: Severity = Severity.ERROR


def pointer(*path: str | int) -> str:
    """Return the JSON Pointer of a path: `pointer("rules", 0, "a/b")` is `/rules/0/a~1b`."""
    return "".join("/" + str(p).replace("~", "~0").replace("/", "~1") for p in path)


def under(prefix: str, problems: list[Problem]) -> list[Problem]:
    """Return the problems with their pointers moved below `prefix`, itself a pointer."""
    return [msgspec.structs.replace(p, pointer=prefix + p.pointer) for p in problems]


def has_errors(problems: list[Problem]) -> bool:
    """Return whether any problem is an error rather than a warning."""
    return any(p.severity is Severity.ERROR for p in problems)


_KINDS = {
    bool: "a boolean",
    str: "a string",
    int: "an integer",
    float: "a number",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def json_kind(value: Any) -> str:
    """Return what messages call the kind of a JSON value."""
    return _KINDS.get(type(value), type(value).__name__)
