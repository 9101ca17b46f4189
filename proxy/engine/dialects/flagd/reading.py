"""A file of flagd, read: each flag with what it needs of the rest, so that it stands by itself.

    {"flags": {key: flag}, "$evaluators": {name: expression}, "metadata": {...}}

`flags` may be a list, too, of flags with a `key`. A flag takes along the evaluators that it refers
to, through others too, under `$evaluators`; metadata of the set, which that of the flag overrides.

Rules:
- Whatever the document is, what is good of it is read, and the rest is a problem with a pointer
  into the file. A flag with an error is left out, alone.
- Nothing here recurses.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.problems import Problem, has_errors, json_kind, pointer, under
from proxy.engine.dialects.flagd.targeting import translate
from proxy.engine.dialects.model import Imported, ImportedFlag
from proxy.engine.findings import Findings, Path
from proxy.engine.limits import MAX_PROBLEMS

__all__ = ["read"]

_KNOWN = frozenset(("$schema", "$evaluators", "flags", "metadata", "$comment"))

_EVALUATORS = "/$evaluators/"


def read(document: Any, options: Mapping[str, Any]) -> Imported:
    """Return the flags of a file; `options` has the version of `fractional`, default v2."""
    findings = Findings()
    if not isinstance(document, Mapping):
        message = f"a file of flagd is an object, not {json_kind(document)}"
        findings.add((), ProblemCode.WRONG_TYPE, message)
        return Imported(problems=tuple(findings.problems))
    for member in document:
        if member not in _KNOWN:
            message = "flagd knows no such member; it is left out"
            findings.add((member,), ProblemCode.UNKNOWN_FIELD, message, severity=Severity.WARNING)
    evaluators = _object(document, "$evaluators", findings)
    shared = _metadata(document.get("metadata"), ("metadata",), findings)
    kept = {"fractional": options.get("fractional", "v2")}
    flags: list[ImportedFlag] = []
    problems = findings.problems
    seen: set[str] = set()
    refused: dict[str, tuple[Problem, ...]] = {}
    for key, where, flag in _flags(document.get("flags"), findings):
        if key in seen:
            findings.add(where, ProblemCode.DUPLICATE_KEY, "there is a flag of this key before")
            continue
        seen.add(key)
        found, errors = _flag(key, where, flag, evaluators, shared, kept, findings)
        if found is not None:
            flags.append(found)
        if errors:
            refused[key] = errors
    return Imported(tuple(flags), problems=tuple(dict.fromkeys(problems)), refused=refused)


def _object(document: Mapping[str, Any], member: str, findings: Findings) -> Mapping[str, Any]:
    value = document.get(member)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        message = f"an object, not {json_kind(value)}"
        findings.add((member,), ProblemCode.WRONG_TYPE, message)
        return {}
    return value


def _flags(given: Any, findings: Findings) -> Iterator[tuple[str, Path, Mapping[str, Any]]]:
    """Yield key, path and definition of each flag that is an object."""
    if isinstance(given, Mapping):
        named = [(key, ("flags", key), flag) for key, flag in given.items()]
    elif isinstance(given, list):
        named = [
            (flag.get("key") if isinstance(flag, Mapping) else None, ("flags", index), flag)
            for index, flag in enumerate(given)
        ]
    else:
        code = ProblemCode.MISSING_FIELD if given is None else ProblemCode.WRONG_TYPE
        findings.add(("flags",), code, "a file of flagd has its flags here, by their keys")
        return
    for key, where, flag in named:
        if not isinstance(flag, Mapping):
            message = f"a flag is an object, not {json_kind(flag)}"
            findings.add(where, ProblemCode.WRONG_TYPE, message)
        elif not isinstance(key, str):
            findings.add((*where, "key"), ProblemCode.MISSING_FIELD, "a flag in a list has a key")
        else:
            yield key, where, flag


def _flag(
    key: str,
    where: Path,
    flag: Mapping[str, Any],
    evaluators: Mapping[str, Any],
    shared: Mapping[str, Any],
    options: Mapping[str, Any],
    findings: Findings,
) -> tuple[ImportedFlag | None, tuple[Problem, ...]]:
    """Return a flag, or None where it is left out, and errors of evaluators that it needs."""
    state = flag.get("state")
    if state not in ("ENABLED", "DISABLED"):
        message = "ENABLED or DISABLED; flagd takes anything else for enabled"
        path = (*where, "state")
        findings.add(path, ProblemCode.NOT_ONE_OF, message, severity=Severity.WARNING)
    metadata = {**shared, **_metadata(flag.get("metadata"), (*where, "metadata"), findings)}
    definition = dict(flag)
    definition.pop("$evaluators", None)
    needed = _needed(flag.get("targeting"), evaluators)
    if needed:
        definition["$evaluators"] = needed
    translation = translate(key, definition, options, enabled=True)
    problems = _moved(list(translation.problems), where)
    given = definition.get("variants")
    variants = dict(given) if isinstance(given, Mapping) else {}
    variants = {name: value for name, value in variants.items() if value is not None}
    kind = _type(variants)
    if kind is None and translation.program is not None:
        message = "the values of a flag are all of one type"
        at = pointer(*where, "variants")
        problems.append(Problem(at, ProblemCode.VALUE_TYPE, message, _TYPES))
    of_evaluators = [problem for problem in problems if problem.pointer.startswith(_EVALUATORS)]
    errors = tuple(of_evaluators) if has_errors(of_evaluators) else ()
    told = [problem for problem in problems if problem not in errors]
    findings.problems += told[: max(0, MAX_PROBLEMS - len(findings.problems))]
    if has_errors(problems) or kind is None:
        return None, errors
    default = definition.get("defaultVariant")
    imported = ImportedFlag(
        key,
        kind,
        variants,
        default if isinstance(default, str) and default in variants else next(iter(variants)),
        definition,
        enabled=state != "DISABLED",
        options=options,
        metadata=metadata,
    )
    return imported, ()


_TYPES = "booleans, strings, numbers or objects; null is none"


def _moved(problems: list[Problem], where: Path) -> list[Problem]:
    """Return a flag's problems with their pointers into the file; those of evaluators are there."""
    prefix = pointer(*where)
    moved: list[Problem] = []
    for problem in problems:
        inside = problem.pointer.startswith(_EVALUATORS)
        moved += [problem] if inside else under(prefix, [problem])
    return moved


def _type(variants: Mapping[str, Any]) -> str | None:
    """Return the type of all values, None when they have none in common."""
    kinds = {value.__class__ for value in variants.values()}
    for name, classes in _CLASSES.items():
        if kinds and kinds <= classes:
            return name
    return None


_CLASSES: dict[str, set[type]] = {
    "boolean": {bool},
    "string": {str},
    "integer": {int},
    "number": {int, float},
    "object": {dict, list},
}


def _metadata(given: Any, path: Path, findings: Findings) -> dict[str, Any]:
    """Return what can be answered of metadata: strings, numbers and booleans."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        message = f"an object, not {json_kind(given)}; it is left out"
        findings.add(path, ProblemCode.WRONG_TYPE, message, severity=Severity.WARNING)
        return {}
    kept = {}
    for name, value in given.items():
        if value.__class__ in (str, int, float, bool):
            kept[name] = value
        elif value is not None:
            message = f"strings, numbers and booleans are answered, not {json_kind(value)}"
            code = ProblemCode.METADATA_NOT_FLAT
            findings.add((*path, name), code, message, severity=Severity.WARNING)
    return kept


def _needed(targeting: Any, evaluators: Mapping[str, Any]) -> dict[str, Any]:
    """Return the evaluators that targeting refers to, and those that they do."""
    needed: dict[str, Any] = {}
    stack = [targeting]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, Mapping):
            name = node.get("$ref") if len(node) == 1 else None
            if isinstance(name, str) and name in evaluators and name not in needed:
                needed[name] = evaluators[name]
                stack.append(evaluators[name])
            stack.extend(node.values())
    return needed
