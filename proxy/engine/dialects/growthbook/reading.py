"""A whole file of GrowthBook, what its SDKs download, as flags.

    {"features": {...}, "savedGroups": {...}, "contextualBandits": {...}}

Each feature goes with the saved groups and the contextual bandits that it names, as options, so
that a flag stands for itself. A feature that is off in an environment is not in its file at all.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.problems import Problem, has_errors, json_kind, pointer, under
from proxy.engine.dialects.growthbook.features import has_experiment, translate
from proxy.engine.dialects.model import Imported, ImportedFlag
from proxy.engine.findings import Findings, Path
from proxy.engine.limits import MAX_NAME_CHARS, MAX_PROBLEMS, MAX_TAGS
from proxy.engine.shown import several

__all__ = ["read"]

_ENCRYPTED = ("encryptedFeatures", "encryptedSavedGroups")

_TYPES: dict[type, str] = {bool: "boolean", str: "string", int: "number", float: "number"}
_TYPES[dict] = "object"


def read(document: Any, options: Mapping[str, Any]) -> Imported:
    """Return the flags of a file; `options` add to the saved groups and bandits that it has."""
    findings = Findings()
    if document.__class__ is not dict:
        findings.add((), ProblemCode.WRONG_TYPE, "a file of GrowthBook is an object")
        return Imported(problems=tuple(findings.problems))
    for name in _ENCRYPTED:
        if document.get(name):
            message = "it is encrypted, and cannot be read"
            hint = "download it from an SDK connection without encryption"
            findings.add((name,), ProblemCode.UNSUPPORTED, message, hint)
    if document.get("experiments") or document.get("encryptedExperiments"):
        message = "experiments on pages, of the visual editor and redirects, are left out"
        hint = "they are done in a browser; keep GrowthBook's script for them"
        findings.add(("experiments",), ProblemCode.UNSUPPORTED, message, hint, Severity.WARNING)
    features = document.get("features")
    if features.__class__ is not dict:
        code = ProblemCode.MISSING_FIELD if features is None else ProblemCode.WRONG_TYPE
        hint = "the file is what /api/features/<client key> answers"
        findings.add(("features",), code, "features are an object, by their keys", hint)
        return Imported(problems=tuple(findings.problems))
    reader = _Reader(document, options, findings)
    flags = [
        flag for key, found in features.items() if (flag := reader.flag(key, found)) is not None
    ]
    reader.tell_of_overrides()
    problems = tuple(dict.fromkeys(findings.problems))
    return Imported(tuple(flags), (), problems, reader.refused)


class _Reader:
    """Reads features, each with what it uses of the groups and bandits that all share."""

    def __init__(
        self, document: Mapping[str, Any], options: Mapping[str, Any], findings: Findings
    ) -> None:
        self.refused: dict[str, tuple[Problem, ...]] = {}
        self._findings = findings
        self._with_experiments: list[str] = []
        self._given: dict[str, set[str]] = {}
        """What options give, by the last step of its pointer."""
        self._shared: dict[str, dict[str, Any]] = {}
        for name in _SHARED:
            found = document.get(name)
            if found is not None and found.__class__ is not dict:
                message = f"an object, not {json_kind(found)}; it is left out"
                findings.add((name,), ProblemCode.WRONG_TYPE, message, severity=Severity.WARNING)
            given = _mapping(options.get(name))
            self._given[name] = {pointer(key)[1:] for key in given}
            self._shared[name] = {**_mapping(found), **given}

    def flag(self, key: str, definition: Any) -> ImportedFlag | None:
        """Return one flag, None where it is left out."""
        at: Path = ("features", key)
        findings = self._findings
        if definition.__class__ is not dict:
            findings.add(at, ProblemCode.WRONG_TYPE, "a feature is an object")
            return None
        options = _used(definition, self._shared)
        translation = translate(key, definition, options, True)
        room = MAX_PROBLEMS - len(findings.problems)
        findings.problems += under(pointer(*at), list(translation.problems))[:room]
        self._of_shared(key, translation.of_options)
        if translation.program is None:
            return None
        kind = _type_of(translation.variants, at, findings)
        if kind is None:
            return None
        if has_experiment(definition):
            self._with_experiments.append(key)
        variants = dict(translation.variants)
        metadata = _mapping(definition.get("metadata"))
        return ImportedFlag(
            key,
            kind,
            variants,
            "default" if "default" in variants else next(iter(variants)),
            definition,
            options=options,
            tags=tuple(_tags(metadata.get("tags"))),
        )

    def tell_of_overrides(self) -> None:
        """Say for which flags the address of a page chooses nothing, as it does in SDKs."""
        if self._with_experiments:
            message = (
                "the address of a page, and variations that an SDK forces, choose none of an "
                f"experiment here: {several(self._with_experiments)}"
            )
            hint = "a server that may can say both in `$growthbook` of the context"
            code = ProblemCode.UNSUPPORTED
            self._findings.add(("features",), code, message, hint, Severity.WARNING)

    def _of_shared(self, key: str, problems: tuple[Problem, ...]) -> None:
        """Keep what is wrong with groups and bandits: errors with the flag that asks them."""
        placed = [self._placed(problem) for problem in problems]
        if has_errors(placed):
            self.refused[key] = tuple(placed)
            return
        room = MAX_PROBLEMS - len(self._findings.problems)
        self._findings.problems += placed[:room]

    def _placed(self, problem: Problem) -> Problem:
        """Return a problem with its pointer into the file, or into the options it is read with."""
        _, name, key = problem.pointer.split("/")[:3]
        return under("/options", [problem])[0] if key in self._given[name] else problem


_SHARED = ("savedGroups", "contextualBandits")


def _type_of(variants: Mapping[str, Any], at: Path, findings: Findings) -> str | None:
    """Return the type that all values of a flag have, None where there is none."""
    if not variants:
        message = "the feature has no value but null"
        findings.add(at, ProblemCode.NO_VARIANTS, message, "give it one, or leave it out")
        return None
    kinds = {_TYPES.get(value.__class__, "array") for value in variants.values()}
    if len(kinds) == 1 and "array" not in kinds:
        return kinds.pop()
    if "array" in kinds:
        message = "a value is a list, and OpenFeature's clients have no such flags"
        findings.add(at, ProblemCode.ARRAY_VALUE, message, "put it into an object")
    else:
        message = f"values are of several types: {', '.join(sorted(kinds))}"
        hint = "a client asks for one type, and would get its default for the others"
        findings.add(at, ProblemCode.VALUE_TYPE, message, hint)
    return None


def _used(definition: dict[str, Any], shared: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the groups and bandits that a feature names, of those that there are."""
    bandits = {
        name: shared["contextualBandits"][name]
        for name in _texts(definition, ("contextualBanditRef",))
        if name in shared["contextualBandits"]
    }
    groups: dict[str, Any] = {}
    asked: list[Any] = [definition, bandits]
    while asked:  # the condition of a group may name others
        found = dict.fromkeys(_texts(asked, ("$inGroup", "$notInGroup", "$savedGroup")))
        known = shared["savedGroups"]
        new = {name: known[name] for name in found if name in known and name not in groups}
        groups |= new
        asked = list(new.values())
    used = {"savedGroups": groups, "contextualBandits": bandits}
    return {name: values for name, values in used.items() if values}


def _texts(document: Any, members: tuple[str, ...]) -> Iterator[str]:
    """Yield the texts of members of some names, or their `id`, however deep."""
    stack = [document]
    while stack:
        value = stack.pop()
        if value.__class__ is list:
            stack += value
        elif value.__class__ is dict:
            stack += value.values()
            for name in members:
                found = value.get(name)
                if found.__class__ is dict:
                    found = found.get("id")
                if found.__class__ is str:
                    yield found


def _tags(tags: Any) -> Iterator[str]:
    if tags.__class__ is list:
        known = dict.fromkeys(tag for tag in tags if tag.__class__ is str)
        yield from [tag for tag in known if 0 < len(tag) <= MAX_NAME_CHARS][:MAX_TAGS]


def _mapping(value: Any) -> dict[str, Any]:
    return value if value.__class__ is dict else {}
