"""Decodes a document into one of the contract's types, or says what is wrong with its shape.

msgspec stops at the first wrong thing, so there is one problem at most. That is enough for a
sidecar, which only has to refuse; the control plane lists them all with the JSON Schema of the
same types.
"""

import re
from itertools import takewhile
from typing import TypeVar

import msgspec

from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem, pointer

__all__ = ["decode"]

T = TypeVar("T")

_PATH = re.compile(r" - at `(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+|\.\.\.)\]")


def decode(data: bytes | msgspec.Raw, kind: type[T]) -> tuple[T | None, list[Problem]]:
    """Return the decoded value and no problem, or None and the first problem of its shape."""
    try:
        return msgspec.json.decode(data, type=kind), []
    except msgspec.ValidationError as error:
        return None, [_problem(str(error))]
    except (msgspec.DecodeError, UnicodeError) as error:
        return None, [Problem("", ProblemCode.MALFORMED_JSON, str(error))]
    except RecursionError:
        return None, [Problem("", ProblemCode.TOO_DEEP, "nested too deep to be read")]


def _problem(text: str) -> Problem:
    """Return msgspec's message as a problem: its path becomes a pointer, its wording a code."""
    match = _PATH.search(text)
    message = text[: match.start()] if match else text
    steps = _STEP.finditer(match["path"]) if match else ()
    # `[...]` is a member whose name msgspec does not tell: the place is known as far as there.
    known = takewhile(lambda step: step["index"] != "...", steps)
    where = pointer(*(step["name"] or step["index"] for step in known))
    if message == "Number out of range":
        message = "a number is larger than any that can be read"
        return Problem(where, ProblemCode.NUMBER_OUT_OF_RANGE, message, "write it as a string")
    if message.startswith("Object contains unknown field"):
        code = ProblemCode.UNKNOWN_FIELD
    elif message.startswith("Object missing required field"):
        code = ProblemCode.MISSING_FIELD
    elif message.startswith("exactly one of"):
        code = ProblemCode.NOT_ONE_OF
    else:
        code = ProblemCode.WRONG_TYPE
    return Problem(where, code, message)
