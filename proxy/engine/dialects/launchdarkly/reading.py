"""Files of LaunchDarkly: what its clients are sent, and what its REST API gives.

    {"flags": {key: flag}, "segments": {key: segment}}   what clients, relays and archives have;
                                                          also within `data`, as it is streamed,
                                                          and with `flagValues` of the file source
    {"items": [...]}                                      lists of the REST API, of flags (with
                                                          `summary=0`) or of segments
    {"key": ..., "environments": {...}}                   one flag of the REST API

Flags of the REST API are written as clients are sent them, for one environment, which the option
`environment` names where there are several. Only members that are read are kept: the rest may be
about people, or secret. What a file has beside flags and segments is named in a warning.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.problems import Problem, has_errors, json_kind, pointer
from proxy.engine.dialects.launchdarkly.flags import bits_of, translate
from proxy.engine.dialects.launchdarkly.segments import segment, segment_names
from proxy.engine.dialects.launchdarkly.traits import SAID, is_mobile_only
from proxy.engine.dialects.model import Imported, ImportedFlag, ImportedSegment, Translation
from proxy.engine.findings import Findings, Path
from proxy.engine.graph import users_of
from proxy.engine.shown import compact, several

__all__ = ["read_file"]

_Names = tuple[str, ...]

_FLAG: _Names = (
    *("key", "on", "variations", "salt", "offVariation", "prerequisites"),
    *("targets", "contextTargets", "rules", "fallthrough"),
    *SAID,
)
_SEGMENT: _Names = (
    *("key", "salt", "included", "excluded", "includedContexts", "excludedContexts"),
    *("rules", "unbounded", "unboundedContextKind", "generation"),
)
_CLAUSE = ("attribute", "op", "values", "negate", "contextKind")
_ROLLOUT = ("variations", "kind", "contextKind", "bucketBy", "seed")
_SERVE = ("variation", "rollout")

_KNOWN = frozenset(("flags", "segments", "flagValues", "data", "path", "items", "totalCount"))
_KNOWN |= frozenset(("_links",))

_Where = Callable[[str], str]
"""From a pointer into a definition to one into the file."""


def read_file(document: Any, options: Mapping[str, Any]) -> Imported:
    """Return what is in a file; see `model.Dialect`."""
    reader = _Reader(options)
    reader.document(document)
    reader.tell_of_mobile_keys()
    reader.tell_of_archived()
    reader.tell_of_big_segments()
    return Imported(
        tuple(reader.flags.values()), tuple(reader.segments.values()), tuple(reader.problems)
    )


class _Reader:
    """Collects what is good of a file, and the problems."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.flags: dict[str, ImportedFlag] = {}
        self.segments: dict[str, ImportedSegment] = {}
        self._findings = Findings()
        self._mobile_only: list[str] = []
        self._archived: list[str] = []
        self._places: dict[str, _Where] = {}
        self._environment = options.get("environment")
        self._options = {"float": 32} if bits_of(options) == 32 else {}

    @property
    def problems(self) -> list[Problem]:
        return self._findings.problems

    def document(self, document: Any) -> None:
        """Read a whole file."""
        path: Path = ()
        if isinstance(document, dict) and isinstance(document.get("data"), dict):
            self._left_out(document, path)
            document, path = document["data"], ("data",)
        if not isinstance(document, dict):
            return self._wrong(path, "an object with flags and segments", document)
        if isinstance(document.get("items"), list):
            self._left_out(document, path)
            for index, item in enumerate(document["items"]):
                self._item(item, (*path, "items", index))
            return self._tell_of_pages(document, (*path, "items"))
        if "environments" in document or ("variations" in document and "key" in document):
            return self._item(document, path)
        if not _KNOWN & document.keys():
            hint = "sdk.launchdarkly.com/sdk/latest-all answers a whole environment"
            wanted = "flags or segments as LaunchDarkly has them"
            return self._wrong(path, wanted, document, hint)
        self._left_out(document, path)
        for key, found in self._members(document, "segments", path):
            self._segment(key, found, (*path, "segments", key))
        for key, found in self._members(document, "flags", path):
            self._flag(key, found, (*path, "flags", key))
        for key, value in self._members(document, "flagValues", path):
            made = {"on": True, "variations": [value], "fallthrough": {"variation": 0}}
            where = (*path, "flagValues", key)
            self._add_flag(key, made, where, _always(pointer(*where)))
        return None

    def _tell_of_pages(self, document: dict[str, Any], path: Path) -> None:
        """Say what of a list of the REST API is not imported."""
        count, total = len(document["items"]), document.get("totalCount")
        if isinstance(total, int) and total > count:
            message = f"only {count} of {total} are in the file, which is one page of a list"
            hint = "ask for all with limit and offset, or for what clients are sent"
            code = ProblemCode.MISSING_FIELD
            self._findings.add(path, code, message, hint, Severity.WARNING)

    def tell_of_archived(self) -> None:
        """Say which flags are left out because no client is sent them."""
        if self._archived:
            message = f"left out, as they are archived: {several(self._archived)}"
            hint = "no client is sent them; restore there what is still asked"
            self._findings.add((), ProblemCode.ARCHIVED, message, hint, Severity.WARNING)

    def tell_of_mobile_keys(self) -> None:
        """Say which flags more clients will see than did."""
        if self._mobile_only:
            message = (
                "for clients with mobile keys, not for those in browsers; here both have client "
                f"keys, and see: {several(self._mobile_only)}"
            )
            hint = "set client_side to false where browsers must not see a flag"
            self._findings.add((), ProblemCode.UNSUPPORTED, message, hint, Severity.WARNING)

    def tell_of_big_segments(self) -> None:
        """Say which clauses of flags come to a segment whose members are not in the file."""
        named = {
            key: (*segment_names(found.definition), *([_STORE] if _is_big(found) else []))
            for key, found in self.segments.items()
        }
        big = users_of(named, _STORE)
        for key, flag in self.flags.items():
            for inner, name in _segment_clauses(flag.definition):
                if name in big:
                    message = f"the segment {compact(name)} is a big one, or asks one: its members"
                    message += " are not in the file, and count as being outside"
                    hint = "give it a list of members, or ask for an attribute in its place"
                    code = ProblemCode.UNKNOWN_SEGMENT
                    problem = Problem(inner, code, message, hint, Severity.WARNING)
                    self._report([problem], self._places[key])

    # The form of clients

    def _members(
        self, document: dict[str, Any], name: str, path: Path
    ) -> Iterator[tuple[str, Any]]:
        found = document.get(name)
        if isinstance(found, dict):
            yield from found.items()
        elif found is not None:
            self._wrong((*path, name), "an object, by keys", found)

    def _flag(self, key: str, found: Any, path: Path) -> None:
        if not isinstance(found, dict):
            self._wrong(path, "a flag, an object", found)
        elif not found.get("deleted"):
            self._add_flag(key, _only(found, _FLAG), path, lambda inner: pointer(*path) + inner)

    def _segment(self, key: str, found: Any, path: Path) -> None:
        if not isinstance(found, dict):
            self._wrong(path, "a segment, an object", found)
        elif not found.get("deleted"):
            self._add_segment(key, _only(found, _SEGMENT), path)

    # The form of the REST API

    def _item(self, item: Any, path: Path) -> None:
        key = item.get("key") if isinstance(item, dict) else None
        if not isinstance(key, str):
            return self._wrong(path, "a flag or a segment, with a key", item)
        if item.get("archived") is True:
            return self._archived.append(key)
        if "environments" not in item and "variations" not in item:
            return self._rest_segment(key, item, path)
        if "environments" not in item:
            return self._flag(key, item, path)
        name = self._chosen(item["environments"], path)
        if name is None:
            return None
        environment = item["environments"][name]
        where = (*path, "environments", name)
        if not isinstance(environment, dict) or "fallthrough" not in environment:
            message = "only a summary of the flag, without its rules"
            hint = "ask for the flags with ?summary=0, or for what clients are sent"
            return self._findings.add(where, ProblemCode.MISSING_FIELD, message, hint)
        made = _only(environment, _FLAG)
        made["key"] = key
        made |= _only(item, ("clientSideAvailability",))  # which is that of all environments
        made["variations"] = [
            variation.get("value") if isinstance(variation, dict) else None
            for variation in _list(item.get("variations"))
        ]
        made["rules"] = [_rest_rule(rule) for rule in _list(made.get("rules"))]
        made["fallthrough"] = _rest_serve(made["fallthrough"])

        def place(inner: str) -> str:
            base = path if inner.startswith("/variations") else where
            return pointer(*base) + inner

        self._add_flag(
            key,
            made,
            path,
            place,
            description=_text(item.get("description")) or _text(item.get("name")),
            tags=tuple(tag for tag in _list(item.get("tags")) if isinstance(tag, str)),
        )
        return None

    def _chosen(self, environments: Any, path: Path) -> str | None:
        """Return the environment to read; says so where it is not clear."""
        where = (*path, "environments")
        if not isinstance(environments, dict) or not environments:
            self._wrong(where, "environments, an object", environments)
            return None
        known = several(sorted(environments))
        if self._environment is None:
            if len(environments) == 1:
                return str(next(iter(environments)))
            message = f"there are several environments: {known}"
            hint = "name one with the option environment"
            self._findings.add(where, ProblemCode.UNKNOWN_ENVIRONMENT, message, hint)
            return None
        if self._environment not in environments:
            message = f"there is no environment {compact(self._environment)}, but {known}"
            self._findings.add(where, ProblemCode.UNKNOWN_ENVIRONMENT, message)
            return None
        return str(self._environment)

    def _rest_segment(self, key: str, item: dict[str, Any], path: Path) -> None:
        made = _only(item, _SEGMENT)
        rules = made["rules"] = [_rest_rule(rule) for rule in _list(made.get("rules"))]
        weighted = any(isinstance(rule, dict) and rule.get("weight") is not None for rule in rules)
        if weighted and "salt" not in made:
            message = "a rule takes in a share, and the REST API does not say the segment's salt"
            hint = "import what clients are sent, which has the salt"
            return self._findings.add((*path, "rules"), ProblemCode.MISSING_FIELD, message, hint)
        return self._add_segment(key, made, path, _text(item.get("description")))

    # Both

    def _add_flag(
        self, key: str, made: dict[str, Any], path: Path, where: _Where, **more: Any
    ) -> None:
        made.setdefault("key", key)
        if key in self.flags:
            return self._twice(path, "flag", key)
        enabled = made.get("on") is True
        translation = translate(key, made, self._options, True)
        self._report(translation.problems, where)
        if translation.program is None or has_errors(list(translation.problems)):
            return None
        variants = {
            name: None if value is msgspec.UNSET else value
            for name, value in translation.variants.items()
        }
        if not variants:
            where_to = where("/variations")
            message = "a flag without variations answers nothing"
            self._report([Problem("", ProblemCode.NO_VARIANTS, message)], _always(where_to))
            return None
        self._tell_of_types(variants, where("/variations"))
        if is_mobile_only(made):
            self._mobile_only.append(key)
        self._places[key] = where
        self.flags[key] = ImportedFlag(
            key,
            _type_of(translation),
            variants,
            _fallthrough_of(made, variants),
            made,
            enabled,
            self._options,
            **more,
        )
        return None

    def _tell_of_types(self, variants: Mapping[str, Any], place: str) -> None:
        """Warn of values that some clients do not take."""
        kinds = {json_kind(value) for value in variants.values() if value is not None}
        if "an array" in kinds:
            message = "a value is a list, which some of OpenFeature's clients do not take"
            found = Problem("", ProblemCode.ARRAY_VALUE, message, "", Severity.WARNING)
            self._report([found], _always(place))
        if len({_NUMBER.get(kind, kind) for kind in kinds}) > 1:
            message = "the variations are of several types; they are served as they are"
            found = Problem("", ProblemCode.VALUE_TYPE, message, "", Severity.WARNING)
            self._report([found], _always(place))

    def _add_segment(
        self, key: str, made: dict[str, Any], path: Path, description: str = ""
    ) -> None:
        made.setdefault("key", key)
        if key in self.segments:
            return self._twice(path, "segment", key)
        expression, problems = segment(made, self._options)
        self._report(problems, lambda inner: pointer(*path) + inner)
        if expression is not None:
            self.segments[key] = ImportedSegment(key, made, self._options, description)
        return None

    def _report(self, problems: Any, where: _Where) -> None:
        for problem in problems:
            if len(self.problems) < _MOST_PROBLEMS:
                placed = msgspec.structs.replace(problem, pointer=where(problem.pointer))
                self.problems.append(placed)

    def _wrong(self, path: Path, wanted: str, found: Any, hint: str = "") -> None:
        # by its kind alone: what is no flag may be secret
        message = f"{json_kind(found)} is not {wanted}"
        self._findings.add(path, ProblemCode.WRONG_TYPE, message, hint)

    def _twice(self, path: Path, what: str, key: str) -> None:
        message = f"there is another {what} {compact(key)} before it"
        self._findings.add(path, ProblemCode.DUPLICATE_KEY, message)

    def _left_out(self, document: dict[str, Any], path: Path) -> None:
        others = [name for name in document if name not in _KNOWN]
        if others:
            message = f"left out, as no flags or segments: {several(others)}"
            self._findings.add(path, ProblemCode.UNKNOWN_FIELD, message, severity=Severity.WARNING)


_MOST_PROBLEMS = 10_000


_STORE = "\0"
"""What big segments ask, as if it were a segment; none is called so."""


def _is_big(segment: ImportedSegment) -> bool:
    return bool(segment.definition.get("unbounded"))


def _segment_clauses(definition: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each segment that the rules of a flag name, with its place in the definition."""
    for index, rule in enumerate(_list(definition.get("rules"))):
        for number, clause in enumerate(_list(rule.get("clauses"))):
            if clause.get("op") == "segmentMatch":
                for place, name in enumerate(_list(clause.get("values"))):
                    if isinstance(name, str):
                        yield pointer("rules", index, "clauses", number, "values", place), name


def _always(place: str) -> _Where:
    return lambda _inner: place


def _only(found: Mapping[str, Any], names: _Names) -> dict[str, Any]:
    return {name: found[name] for name in names if name in found}


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _text(found: Any) -> str:
    return found if isinstance(found, str) else ""


def _rest_rule(rule: Any) -> Any:
    """Return a rule of a flag or segment as clients are sent it; its `_id` is the `id`."""
    if not isinstance(rule, dict):
        return rule
    names = ("weight", "bucketBy", "rolloutContextKind", "trackEvents")
    made = {**_only(rule, names), **_rest_serve(rule)}
    made["id"] = rule.get("_id", rule.get("id"))
    made["clauses"] = [
        _only(clause, _CLAUSE) if isinstance(clause, dict) else clause
        for clause in _list(rule.get("clauses"))
    ]
    return made


def _rest_serve(serve: Any) -> Any:
    if not isinstance(serve, dict):
        return serve
    made = _only(serve, _SERVE)
    if isinstance(made.get("rollout"), dict):
        made["rollout"] = _only(made["rollout"], _ROLLOUT)
    return made


_NUMBER = {"an integer": "a number"}


def _type_of(translation: Translation) -> str:
    """Return the type of a flag of ours that has these values."""
    kinds = {value.__class__ for value in translation.variants.values()} - {msgspec.UnsetType}
    for name, classes in _TYPES:
        if kinds and kinds <= classes:
            return name
    return "object"


_TYPES: tuple[tuple[str, frozenset[type]], ...] = (
    ("boolean", frozenset((bool,))),
    ("string", frozenset((str,))),
    ("integer", frozenset((int,))),
    ("number", frozenset((int, float))),
)


def _fallthrough_of(made: dict[str, Any], variants: Mapping[str, Any]) -> str:
    """Return the variant that most are served whom no rule is for, as far as one can be said."""
    serve = made.get("fallthrough")
    if not isinstance(serve, dict):
        serve = {}
    variation, rollout = serve.get("variation"), serve.get("rollout")
    if variation is None and isinstance(rollout, dict):
        arms = [arm for arm in _list(rollout.get("variations")) if isinstance(arm, dict)]
        heaviest = max(arms, key=lambda arm: arm.get("weight") or 0, default={})
        variation = heaviest.get("variation", 0)
    for candidate in (variation, made.get("offVariation")):
        name = str(int(candidate)) if isinstance(candidate, (int, float)) else ""
        if name in variants:
            return name
    return next(iter(variants))
