"""A file of GO Feature Flag, read: its flags, each as it is, and what is wrong with them.

A file is an object of flags by their keys, or what the relay's `/v1/flag/configuration` answers,
which has them in `flags` and its enrichment beside. Nothing of a flag is left out of its
definition; dates that a YAML reader made of text are text again.

Rules:
- A flag with an error is left out, the others are read.
- Total, for any document that a JSON or YAML reader gives, however deep.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.problems import Problem, has_errors, pointer, under
from proxy.engine import limits
from proxy.engine.dialects.goff.flags import Flag, Rule, read_flag
from proxy.engine.dialects.goff.programs import program_of
from proxy.engine.dialects.goff.refusals import refuse
from proxy.engine.dialects.model import Imported, ImportedFlag
from proxy.engine.findings import Findings
from proxy.engine.shown import several

__all__ = ["ENRICHMENT", "read"]

ENRICHMENT = "evaluationContextEnrichment"
"""The option, and what it is called in the relay's own configuration."""

_MAX_DEPTH = limits.MAX_VALUE_DEPTH
_MAX_KEY_BYTES = 256


def read(document: Any, options: Mapping[str, Any]) -> Imported:
    """Return the flags of a file, and its problems."""
    findings = Findings()
    if document.__class__ is not dict:
        findings.add(
            (), ProblemCode.WRONG_TYPE, "the file must be an object of flags by their keys"
        )
        return Imported(problems=tuple(findings.problems))
    path: tuple[str, ...] = ()
    found: Mapping[Any, Any] = document
    if _is_answer(document):
        path, found = ("flags",), document["flags"]
        given = document.get(ENRICHMENT)
        if given.__class__ is dict and given and ENRICHMENT not in options:
            options = {**options, ENRICHMENT: given}
    elif not document:
        message = "there is nothing in the file, not even a flag"
        findings.add((), ProblemCode.MISSING_FIELD, message)
    kept = {name: value for name, value in options.items() if name == ENRICHMENT}
    flags: list[ImportedFlag] = []
    timed: list[str] = []
    for key, definition in found.items():
        at = (*path, str(key))
        if not _is_key(key):
            message = "a flag's key must be text of 1 to 256 bytes, without control characters"
            findings.add(at, ProblemCode.INVALID_KEY, message, "put it in quotes, if it is none")
            continue
        flag, problems, is_timed = _flag(key, definition, kept)
        timed += [key] if is_timed else []
        room = limits.MAX_PROBLEMS - len(findings.problems)
        findings.problems += under(pointer(*at), problems)[: max(0, room)]
        if flag is not None:
            flags.append(flag)
    if timed:
        message = (
            f"flags change over time: {several(timed)}; the time is the request's, and is not "
            "taken from gofeatureflag.currentDateTime in a context"
        )
        findings.add(path, ProblemCode.UNSUPPORTED, message, severity=Severity.WARNING)
    return Imported(tuple(flags), (), tuple(findings.problems))


def _is_answer(document: Mapping[Any, Any]) -> bool:
    """Return whether a document is a relay's answer, and not a file with a flag `flags`."""
    flags = document.get("flags")
    if flags.__class__ is not dict or not document.keys() <= {"flags", ENRICHMENT, "errorCode"}:
        return False
    return "variations" not in flags and "defaultRule" not in flags


def _is_key(key: Any) -> bool:
    if key.__class__ is not str or not key:
        return False
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return False
    return size <= _MAX_KEY_BYTES and not any(c < " " or "\x7f" <= c <= "\x9f" for c in key)


def _flag(
    key: str, definition: Any, options: Mapping[str, Any]
) -> tuple[ImportedFlag | None, list[Problem], bool]:
    """Return a flag, or None when there are errors; its problems; whether time matters."""
    findings = Findings()
    if definition.__class__ is not dict:
        findings.add((), ProblemCode.WRONG_TYPE, "a flag must be an object")
        return None, findings.problems, False
    plain = _plain(definition, findings)
    if plain is None:
        return None, findings.problems, False
    fixed = options.get(ENRICHMENT) or {}
    flag = read_flag(plain, findings)
    _check(flag, findings)
    program_of(key, flag, True, fixed, findings)
    if not has_errors(findings.problems):
        refuse(flag, findings)
    if has_errors(findings.problems):
        return None, findings.problems, False
    metadata = _metadata(plain.get("metadata"), findings)
    variants = dict(flag.variations or {})
    description = metadata.get("description")
    imported = ImportedFlag(
        key,
        _type(variants),
        variants,
        _fallthrough(flag, variants),
        plain,
        enabled=not flag.disable or any(step.change.disable is False for step in flag.steps),
        options=options,
        description=description if isinstance(description, str) else "",
        metadata=metadata,
    )
    return imported, findings.problems, bool(flag.steps or flag.is_experiment or _ramps(flag))


def _ramps(flag: Flag) -> bool:
    return any(rule.progressive is not None for rule in _rules(flag))


def _rules(flag: Flag) -> list[Rule]:
    return [*flag.rules, *([flag.default] if flag.default is not None else [])]


# What our own flag says of it


def _check(flag: Flag, findings: Findings) -> None:
    """Report what GO Feature Flag's own linter would, and what no flag here can be without."""
    variations = flag.variations or {}
    if not variations:
        findings.add(("variations",), ProblemCode.NO_VARIANTS, "the flag has no variation")
    elif len(variations) > limits.MAX_VARIANTS:
        message = f"{len(variations)} variations are more than {limits.MAX_VARIANTS}"
        findings.add(("variations",), ProblemCode.TOO_MANY, message)
    for name in variations:
        if not 0 < len(name) <= limits.MAX_NAME_CHARS:
            message = f"the name of a variation has 1 to {limits.MAX_NAME_CHARS} characters"
            findings.add(("variations", name), ProblemCode.OUT_OF_RANGE, message)


def _fallthrough(flag: Flag, variants: Mapping[str, Any]) -> str:
    """Return the variation that most users get when no rule applies, as far as one can say."""
    default = flag.default
    chosen = None
    if default is not None:
        if default.progressive is not None and default.progressive.end is not None:
            chosen = default.progressive.end.variation
        elif default.percentages:
            shares = default.percentages
            chosen = max(shares, key=lambda name: shares[name])
        else:
            chosen = default.variation
    return chosen if chosen is not None and chosen in variants else next(iter(variants))


_TYPES = {
    bool: "boolean",
    str: "string",
    int: "integer",
    float: "number",
    dict: "object",
    list: "object",
}


def _type(variants: Mapping[str, Any]) -> str:
    """Return the type of a flag's values; whole numbers beside others are numbers."""
    kinds = {_TYPES[value.__class__] for value in variants.values()}
    return "number" if len(kinds) > 1 else kinds.pop()


def _metadata(found: Any, findings: Findings) -> dict[str, Any]:
    """Return what of the metadata is flat, as answers have it."""
    if found is None:
        return {}
    if found.__class__ is not dict:
        findings.add(("metadata",), ProblemCode.WRONG_TYPE, "must be an object")
        return {}
    kept = {}
    for name, value in found.items():
        if value.__class__ in (str, int, float, bool):
            kept[name] = value
        else:
            message = "answers have flat metadata only: text, numbers, booleans; this is left out"
            findings.add(
                ("metadata", name),
                ProblemCode.METADATA_NOT_FLAT,
                message,
                severity=Severity.WARNING,
            )
    return kept


# JSON of what a reader of YAML gives


def _plain(definition: Mapping[Any, Any], findings: Findings) -> dict[str, Any] | None:
    """Return a definition with nothing in it but JSON, None when it has other things."""
    known = len(findings.problems)
    made = _json(definition, (), findings)
    return made if len(findings.problems) == known else None


def _json(value: Any, path: tuple[str | int, ...], findings: Findings) -> Any:
    """Return a value as JSON. Recursion is bounded."""
    kind = value.__class__
    if kind in _SCALARS:
        return value
    if len(path) > _MAX_DEPTH:
        findings.add(path, ProblemCode.TOO_DEEP, f"nests deeper than {_MAX_DEPTH}")
        return None
    if kind is list:
        return [_json(item, (*path, index), findings) for index, item in enumerate(value)]
    if kind is dict:
        made = {}
        for name, item in value.items():
            if name.__class__ is not str:
                message = f"the name {name!r:.40} is no text"
                findings.add((*path, str(name)), ProblemCode.WRONG_TYPE, message, "quote it")
            else:
                made[name] = _json(item, (*path, name), findings)
        return made
    if isinstance(value, datetime):
        zoned = value.isoformat()
        return zoned if value.tzinfo is not None else zoned + "Z"
    if isinstance(value, date):
        return f"{value.isoformat()}T00:00:00Z"
    findings.add(path, ProblemCode.WRONG_TYPE, f"a {kind.__name__} is no JSON")
    return None


_SCALARS = frozenset((str, int, float, bool, type(None)))
