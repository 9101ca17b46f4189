"""The options of a dialect: what its definitions leave open, and what each may be.

An option that nobody knows would be passed over, and other users served than was meant, so it is
refused wherever options come in: with a file, and with a definition. Pure.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem
from proxy.engine.findings import Findings
from proxy.engine.nearness import meant
from proxy.engine.shown import compact

__all__ = ["BOOLEAN", "OBJECT", "TEXT", "Option", "Options", "one_of", "option_problems"]

_NAME_CHARS = 80


class Option(NamedTuple):
    """What one option may be: whether a value will do, and in words what would.

    `assumed` says what is taken where it is not given; empty where nothing depends on it.
    """

    takes: Callable[[Any], bool]
    wanted: str
    code: ProblemCode = ProblemCode.WRONG_TYPE
    assumed: str = ""


Options = Mapping[str, Option]
"""Options by their names."""

TEXT = Option(lambda value: value.__class__ is str, "a string")
BOOLEAN = Option(lambda value: value.__class__ is bool, "true or false")
OBJECT = Option(lambda value: value.__class__ is dict, "an object")


def one_of(*values: str | int) -> Option:
    """Return an option that is one of some values, of which a number may be written as text."""
    texts = {str(value) for value in values}
    kinds = {str, *(value.__class__ for value in values)}
    wanted = " or ".join(compact(value) for value in values)
    return Option(
        lambda value: value.__class__ in kinds and str(value) in texts,
        wanted,
        ProblemCode.NOT_ONE_OF,
    )


def option_problems(system: str, known: Options, given: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with the options that are given, with pointers into them."""
    findings = Findings()
    for name, value in given.items():
        option = known.get(name)
        if option is None:
            message = f"{system} has no option {name[:_NAME_CHARS]!r}"
            hints = [meant(name, known, findings), f"known: {', '.join(sorted(known))}"]
            hint = "; ".join(hint for hint in hints if hint) if known else "there is none"
            findings.add((name,), ProblemCode.UNKNOWN_FIELD, message, hint)
        elif not option.takes(value):
            message = f"{compact(value)} is not {option.wanted}"
            findings.add((name,), option.code, message)
    return findings.problems
