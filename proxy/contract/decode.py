"""Decodes a document into one of the contract's types, or says what is wrong with its shape.

msgspec stops at the first wrong thing, so there is one problem at most. That is enough for a
sidecar, which only has to refuse; the control plane lists them all with the JSON Schema of the
same types. What msgspec says is put into the words of JSON, and of those who write it.
"""

import re
from itertools import takewhile
from typing import TypeVar

import msgspec

from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import FlagDefinition, SegmentDefinition, Unreadable
from proxy.contract.malformed import malformed
from proxy.contract.problems import Problem, pointer
from proxy.contract.strict_json import number_out_of_range

__all__ = ["decode"]

T = TypeVar("T")

_MOST_PROBLEMS = 20  # of those that stand in a definition's place; who mends them sees the others
_MOST_CHARS = 500

_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`", re.DOTALL)
_EXPECTED = re.compile(r"Expected `(?P<wanted>[^`]*)`, got `(?P<got>[^`]*)`")
_KINDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
}

_OUT_OF_RANGE = ("Number out of range", "Integer value out of range")
_PATH = re.compile(r" - at `(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+|\.\.\.)\]")


def decode(data: bytes | msgspec.Raw, kind: type[T]) -> tuple[T | None, list[Problem]]:
    """Return the decoded value and no problem, or None and the first problem of its shape."""
    try:
        return msgspec.json.decode(data, type=kind), []
    except msgspec.ValidationError as error:
        told = _told(data) if kind in (FlagDefinition, SegmentDefinition) else []
        return None, told or [_problem(str(error), data)]
    except (msgspec.DecodeError, UnicodeError):
        why = malformed(bytes(data))
        message = f"{why.message}, at line {why.place.line}, column {why.place.column}"
        return None, [Problem("", ProblemCode.MALFORMED_JSON, message, why.hint)]
    except RecursionError:
        return None, [Problem("", ProblemCode.TOO_DEEP, "nested too deep to be read")]


def _problem(text: str, data: bytes | msgspec.Raw) -> Problem:
    """Return msgspec's message as a problem: its path becomes a pointer, its wording a code."""
    match = _PATH.search(text)
    message = text[: match.start()] if match else text
    steps = list(_STEP.finditer(match["path"])) if match else []
    # `[...]` is a member whose name msgspec does not tell: the place is known as far as there.
    known = list(takewhile(lambda step: step["index"] != "...", steps))
    where = pointer(*(step["name"] or step["index"] for step in known))
    there = len(known) == len(steps)
    if message in _OUT_OF_RANGE:
        message = "a number is larger than any that can be read"
        place = number_out_of_range(bytes(data))
        if place is not None:
            message += f", at line {place.line}, column {place.column}"
        return Problem(where, ProblemCode.NUMBER_OUT_OF_RANGE, message, "write it as a string")
    if (unknown := _UNKNOWN.fullmatch(message)) is not None:
        name = unknown["name"]
        where += pointer(name) if there else ""
        return Problem(where, ProblemCode.UNKNOWN_FIELD, f"the member {name!r} is unknown")
    if (missing := _MISSING.fullmatch(message)) is not None:
        name = missing["name"]
        where += pointer(name) if there else ""
        return Problem(where, ProblemCode.MISSING_FIELD, f"{name} is missing")
    if message.startswith("exactly one of"):
        return Problem(where, ProblemCode.NOT_ONE_OF, message)
    return Problem(where, ProblemCode.WRONG_TYPE, _in_words(message))


def _in_words(message: str) -> str:
    """Return what msgspec says of a type, said of JSON."""
    match = _EXPECTED.fullmatch(message)
    if match is None:
        return message.replace("Invalid enum value", "not one of the known values:")
    wanted = " or ".join(_KINDS.get(kind, kind) for kind in match["wanted"].split(" | "))
    return f"this is {_KINDS.get(match['got'], match['got'])}, not {wanted}"


def _told(data: bytes | msgspec.Raw) -> list[Problem]:
    """Return the problems that stand in the place of a definition, most often none."""
    try:
        problems = msgspec.json.decode(data, type=Unreadable).unreadable
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return []
    return [
        Problem(p.pointer[:_MOST_CHARS], p.code, p.message[:_MOST_CHARS], p.hint[:_MOST_CHARS])
        for p in problems[:_MOST_PROBLEMS]
    ]
