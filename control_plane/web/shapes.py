"""All that is wrong with a document's shape, by the JSON Schema of its type.

Run only for documents that msgspec refused. The schema comes from the same type that the decoder
reads, so the two accept the same documents; a test feeds both. Messages name the offending value
briefly and never quote a whole document.
"""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from control_plane.documents import MAX_PROBLEMS
from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import EnvironmentConfig
from proxy.contract.problems import Problem, pointer
from proxy.contract.schema import json_schemas

__all__ = ["shape_problems"]

_SHOWN_CHARS = 60


def shape_problems(document: Any, kind: Any) -> list[Problem]:
    """Return the problems of shape of a decoded document, in its own order; none if it fits.

    At most `MAX_PROBLEMS`.
    """
    problems = islice(_problems(_validator(kind).iter_errors(document)), MAX_PROBLEMS)
    return [_or_read_only(problem, kind) for problem in problems]


@cache
def _validator(kind: Any) -> Draft202012Validator:
    (schema,), components = json_schemas((kind,))
    return Draft202012Validator(schema | {"$defs": components})


def _problems(errors: Iterable[ValidationError]) -> Iterator[Problem]:
    for error in errors:
        match error.validator:
            case "additionalProperties":
                yield from _unknown(error)
            case "required":
                yield from _missing(error)
            case "oneOf":
                yield from _one_of(error)
            case "anyOf":
                yield from _any_of(error)
            case "type":
                yield _problem(error, ProblemCode.WRONG_TYPE, _wrong_type(error))
            case "enum":
                yield _none_of(error)
            case _:
                yield _problem(error, ProblemCode.OUT_OF_RANGE, _cut(error.message, 200))


def _unknown(error: ValidationError) -> Iterator[Problem]:
    known = _known(error)
    for name in _instance(error):
        if name not in known:
            message = f"the member {_shown(name)} is unknown"
            near = get_close_matches(name[:_SHOWN_CHARS], known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            if "environments" in known and name in EnvironmentConfig.__struct_fields__:
                hint = f"it is a member of an environment: environments.production.{name}"
            yield Problem(_at(error, name), ProblemCode.UNKNOWN_FIELD, message, hint)


def _or_read_only(problem: Problem, kind: Any) -> Problem:
    """Return what is wrong with a member that is read and not written, `READ_ONLY` of the type."""
    name = problem.pointer[1:]
    if problem.code is not ProblemCode.UNKNOWN_FIELD or name not in getattr(kind, "READ_ONLY", ()):
        return problem
    hint = f"what can: {', '.join(kind.__struct_fields__)}"
    message = f"{name} cannot become another"
    return Problem(problem.pointer, ProblemCode.READ_ONLY, message, hint)


def _missing(error: ValidationError) -> Iterator[Problem]:
    # jsonschema reports each missing member on its own; the name is only in the message's quotes.
    name = error.message.split("' is a required")[0].removeprefix("'")
    member = _known(error).get(name, {})
    hint = member.get("description", "")
    yield Problem(_at(error, name), ProblemCode.MISSING_FIELD, f"{name} is missing", hint)


def _none_of(error: ValidationError) -> Problem:
    wanted = [str(each) for each in _rule(error)]
    message = f"{_shown(error.instance)} is not one of {', '.join(wanted)}"
    text = error.instance if isinstance(error.instance, str) else ""
    near = get_close_matches(text[:_SHOWN_CHARS].lower(), wanted, n=1)
    hint = f"did you mean {near[0]!r}?" if near else ""
    return Problem(_at(error), ProblemCode.OUT_OF_RANGE, message, hint)


def _one_of(error: ValidationError) -> Iterator[Problem]:
    """Explain by the one alternative the author meant, if its first member says which.

    Where none of the first members is there, the others say it if they can be of one only.
    """
    branches = _rule(error)
    if not isinstance(error.instance, dict):
        yield _problem(error, ProblemCode.WRONG_TYPE, f"{_shown(error.instance)} is not an object")
        return
    marks = [branch["required"][0] for branch in branches]
    meant = [i for i, mark in enumerate(marks) if mark in error.instance]
    if not meant:
        groups = [branch["properties"] for branch in branches]
        meant = [i for i, group in enumerate(groups) if any(m in error.instance for m in group)]
    if len(meant) == 1:
        context = error.context or ()
        yield from _problems(e for e in context if e.schema_path[0] == meant[0])
        return
    shapes = ", ".join("+".join(branch["required"]) for branch in branches)
    present = ", ".join(_shown(name) for name in islice(error.instance, 10)) or "no member"
    message = f"exactly one of {shapes} is needed; there is {present}"
    yield _problem(error, ProblemCode.NOT_ONE_OF, message)


def _any_of(error: ValidationError) -> Iterator[Problem]:
    """Explain by the alternatives that have the value's type, if any has."""
    context = error.context or []
    wrong = {e.schema_path[0] for e in context if e.validator == "type" and len(e.path) == 0}
    close = [e for e in context if e.schema_path[0] not in wrong]
    if close:
        yield from _problems(close)
        return
    wanted = " or ".join(str(e.validator_value) for e in context if e.validator == "type")
    message = f"{_shown(error.instance)} is not {wanted}"
    yield _problem(error, ProblemCode.WRONG_TYPE, message)


def _problem(error: ValidationError, code: ProblemCode, message: str) -> Problem:
    return Problem(_at(error), code, message)


def _known(error: ValidationError) -> dict[str, Any]:
    """Return the members that an object may have, each with its schema."""
    schema: Any = error.schema
    found: dict[str, Any] = schema.get("properties", {})
    return found


def _rule(error: ValidationError) -> Any:
    """Return what the schema demanded; jsonschema's type for it also covers errors without one."""
    return error.validator_value


def _instance(error: ValidationError) -> Any:
    return error.instance


def _at(error: ValidationError, *more: str | int) -> str:
    return pointer(*error.absolute_path, *more)


def _wrong_type(error: ValidationError) -> str:
    wanted = _rule(error)
    return f"{_shown(error.instance)} is not {wanted if isinstance(wanted, str) else list(wanted)}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return _cut(repr(value), _SHOWN_CHARS)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
