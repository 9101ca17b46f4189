"""A file of Unleash as flags and segments: what `/api/client/features` answers, or its delta.

    {"version": 2, "features": [...], "segments": [...]}
    {"events": [{"type": "hydration", ...}, {"type": "feature-updated", "feature": ...}, ...]}

Events are applied in their order. A toggle becomes a flag of its name, and with variants also its
companion, `<name>.variant`; a segment becomes one of the key `unleash-<id>`.

Options: `companions`, false for none; `appName` and `environment`, what an SDK is configured with.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.problems import Problem, pointer, under
from proxy.engine import limits
from proxy.engine import program as p
from proxy.engine.dialects.model import Imported, ImportedFlag, ImportedSegment, Translation
from proxy.engine.dialects.unleash.constraints import constraints_expression
from proxy.engine.dialects.unleash.context import CONFIGURED
from proxy.engine.dialects.unleash.toggles import (
    ANSWER,
    DISABLED,
    ENABLED,
    VARIANT,
    names,
    payloads,
    translate,
)
from proxy.engine.dialects.unleash.translation import Translating, segment_key
from proxy.engine.findings import Findings, Path

__all__ = ["COMPANION", "COMPANIONS", "read", "segment"]

COMPANION = ".variant"
"""What the name of a companion has after the toggle's."""

COMPANIONS = "companions"
"""The option that says whether there are any."""

_KNOWN = {"version", "features", "segments", "query", "meta", "events"}
_ADMIN = ("featureStrategies", "featureEnvironments", "tagTypes")
_SHOWN_MEMBERS = 10


def segment(
    definition: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[p.Expression | None, list[Problem]]:
    """Return a segment as a condition: all of its constraints hold."""
    translating = Translating(options)
    if translating.mapping(definition, (), "a segment") is None:
        return None, translating.findings.problems
    when = p.all_of(constraints_expression(definition, (), translating))
    return None if translating.failed else when, translating.findings.problems


def read(document: Any, options: Mapping[str, Any]) -> Imported:
    """Return the toggles and segments of a file, and what is wrong with it."""
    reader = _Reader(options)
    if isinstance(document, dict) and isinstance(document.get("events"), list):
        reader.apply(document["events"])
    elif isinstance(document, dict) and isinstance(document.get("features"), list):
        if any(name in document for name in _ADMIN):
            reader.add((), ProblemCode.UNSUPPORTED, *_OF_ADMIN)
            return reader.imported([], [])
        if any(_is_listed(item) for item in document["features"]):
            reader.add((), ProblemCode.UNSUPPORTED, *_LISTED)
            return reader.imported([], [])
        reader.replace(document, ())
    else:
        message = "no answer of Unleash's client API: it has neither `features` nor `events`"
        reader.add((), ProblemCode.MISSING_FIELD, message, _OF_ADMIN[1])
        return reader.imported([], [])
    others = [name for name in document if name not in _KNOWN]
    if others:
        shown = ", ".join(repr(name[:40]) for name in others[:_SHOWN_MEMBERS])
        message = f"{len(others)} members were left out: {shown}"
        reader.add((), ProblemCode.UNSUPPORTED, message, severity=Severity.WARNING)
    segments = reader.read_segments()
    return reader.imported(reader.read_toggles(), segments)


_OF_ADMIN = (
    "an export of the admin API divides a toggle over several lists",
    "take what the SDKs get: curl -H 'Authorization: <client token>' <unleash>/api/client/features",
)


_LISTED = (
    "a list of the admin API says of toggles that they are there, and not who gets them",
    _OF_ADMIN[1],
)
_NEEDED = {
    "enabled": "it is taken for switched off",
    "strategies": "it is taken for one without, which is on for everybody",
}


def _is_listed(node: Any) -> bool:
    """Return whether a toggle has its switch for each environment, as the admin API has it."""
    return isinstance(node, dict) and isinstance(node.get("environments"), list)


class _Placed(NamedTuple):
    """A toggle or a segment, and where in the file it is."""

    node: dict[str, Any]
    path: Path


class _Reader:
    def __init__(self, options: Mapping[str, Any]) -> None:
        self._findings = Findings()
        self._problems: list[Problem] = []
        self._toggles: dict[str, _Placed] = {}
        self._segments: dict[str, _Placed] = {}
        self._options = {
            name: value for name in CONFIGURED if isinstance(value := options.get(name), str)
        }
        self._with_companions = options.get(COMPANIONS) is not False

    def add(
        self,
        path: Path,
        code: ProblemCode,
        message: str,
        hint: str = "",
        severity: Severity = Severity.ERROR,
    ) -> None:
        """Add a problem of the file."""
        self._findings.add(path, code, message, hint, severity)

    def imported(self, flags: list[ImportedFlag], segments: list[ImportedSegment]) -> Imported:
        """Return what was read."""
        problems = [*self._findings.problems, *self._problems][: limits.MAX_PROBLEMS]
        return Imported(tuple(flags), tuple(segments), tuple(problems))

    # What is in the file

    def replace(self, node: Mapping[str, Any], path: Path) -> None:
        """Take all toggles and segments of a full state."""
        self._toggles, self._segments = {}, {}
        for index, item in enumerate(_list(node, "segments")):
            self._put_segment(item, (*path, "segments", index), once=True)
        for index, item in enumerate(_list(node, "features")):
            self._put_toggle(item, (*path, "features", index), once=True)

    def apply(self, events: list[Any]) -> None:
        """Apply the events of a delta, in order."""
        for index, event in enumerate(events):
            path: Path = ("events", index)
            if not isinstance(event, dict):
                self.add(path, ProblemCode.WRONG_TYPE, "an event is an object")
                continue
            match event.get("type"):
                case "hydration":
                    self.replace(event, path)
                case "feature-updated":
                    self._put_toggle(event.get("feature"), (*path, "feature"))
                case "feature-removed":
                    if isinstance(name := event.get("featureName"), str):
                        self._toggles.pop(name, None)
                case "segment-updated":
                    self._put_segment(event.get("segment"), (*path, "segment"))
                case "segment-removed":
                    if (key := segment_key(event.get("segmentId"))) is not None:
                        self._segments.pop(key, None)
                case _:
                    message = "an event of an unknown type; it was passed over"
                    self.add(
                        (*path, "type"), ProblemCode.UNSUPPORTED, message, "", Severity.WARNING
                    )

    def _put_toggle(self, node: Any, path: Path, once: bool = False) -> None:
        name = node.get("name") if isinstance(node, dict) else None
        if not isinstance(name, str) or not name:
            message = "a toggle is an object with a name"
            self.add(path, ProblemCode.MISSING_FIELD, message)
        elif not _is_shallow(node):
            message = f"nested deeper than {limits.MAX_VALUE_DEPTH}"
            self.add(path, ProblemCode.TOO_DEEP, message)
        else:
            if once and name in self._toggles:
                self._warn_twice((*path, "name"))
            for member, taken in _NEEDED.items():
                if node.get(member) is None:
                    message = f"a toggle without {member}; {taken}"
                    self.add(path, ProblemCode.MISSING_FIELD, message, "", Severity.WARNING)
            self._toggles[name] = _Placed(node, path)

    def _put_segment(self, node: Any, path: Path, once: bool = False) -> None:
        key = segment_key(node.get("id")) if isinstance(node, dict) else None
        if key is None:
            message = "a segment is an object with an id, which is an integer"
            self.add(path, ProblemCode.MISSING_FIELD, message)
        elif not _is_shallow(node):
            message = f"nested deeper than {limits.MAX_VALUE_DEPTH}"
            self.add(path, ProblemCode.TOO_DEEP, message)
        else:
            if once and key in self._segments:
                self._warn_twice((*path, "id"))
            self._segments[key] = _Placed(node, path)

    def _warn_twice(self, path: Path) -> None:
        message = "named twice; the last one counts"
        self.add(path, ProblemCode.DUPLICATE_KEY, message, "", Severity.WARNING)

    # What becomes of it

    def read_segments(self) -> list[ImportedSegment]:
        """Return the segments that can be used."""
        found = []
        for key, (node, path) in self._segments.items():
            when, problems = segment(node, self._options)
            self._problems += under(pointer(*path), problems)
            if when is not None:
                name = node.get("name")
                found.append(
                    ImportedSegment(key, node, self._options, _text(name) or _description(node))
                )
        return found

    def read_toggles(self) -> list[ImportedFlag]:
        """Return the toggles that can be used, and their companions."""
        found: list[ImportedFlag] = []
        for name, (node, path) in self._toggles.items():
            translation = translate(name, node, self._options, enabled=True)
            self._problems += under(pointer(*path), list(translation.problems))
            self._check_named(node, path)
            if translation.program is None:
                continue
            found.append(_toggle(name, node, self._options, translation))
            if self._with_companions:
                found += self._companion(name, node, path)
        return found

    def _companion(self, name: str, node: dict[str, Any], path: Path) -> Iterable[ImportedFlag]:
        values = payloads(node)
        if values is None or not values.values:
            return
        key = name + COMPANION
        if key in self._toggles:
            message = f"there is a toggle {key[:80]!r}, so this one has no companion"
            self.add(path, ProblemCode.UNSUPPORTED, message, "", Severity.WARNING)
            return
        definition = {**node, "dependencies": [{"feature": name}]}
        options = {**self._options, ANSWER: VARIANT}
        if values.mixed:
            message = "the payloads are not of one type; all of them are strings in the companion"
            self.add(path, ProblemCode.UNSUPPORTED, message, "", Severity.WARNING)
        yield ImportedFlag(
            key,
            values.type,
            values.values,
            next(iter(values.values)),
            definition,
            node.get("enabled") is True,
            options,
            f"The payload of the variant of {name}",
            _tags(node),
        )

    def _check_named(self, node: dict[str, Any], path: Path) -> None:
        named = names(node)
        for key in named.segments:
            if key not in self._segments:
                message = f"the file has no segment {key.removeprefix('unleash-')}"
                hint = "what names it never matches"
                self.add(path, ProblemCode.UNKNOWN_SEGMENT, message, hint, Severity.WARNING)
        for key in named.flags:
            if key not in self._toggles:
                message = f"the file has no parent {key[:80]!r}"
                hint = "without it the toggle is never enabled"
                self.add(path, ProblemCode.UNKNOWN_FLAG, message, hint, Severity.WARNING)


def _toggle(
    name: str, node: dict[str, Any], options: Mapping[str, Any], translation: Translation
) -> ImportedFlag:
    fallthrough = ENABLED
    if isinstance(translation.program, p.Program):
        last = p.reachable(translation.program).otherwise
        if isinstance(last, p.Outcome) and last.variant is not None:
            fallthrough = last.variant
    return ImportedFlag(
        name,
        "boolean",
        {ENABLED: True, DISABLED: False},
        fallthrough,
        node,
        node.get("enabled") is True,
        options,
        _description(node),
        _tags(node),
    )


def _list(node: Mapping[str, Any], name: str) -> list[Any]:
    value = node.get(name)
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value[: limits.MAX_NAME_CHARS] if isinstance(value, str) else ""


def _description(node: Mapping[str, Any]) -> str:
    value = node.get("description")
    return value[: limits.MAX_TEXT_CHARS] if isinstance(value, str) else ""


def _tags(node: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the type and the project of a toggle as tags."""
    kind, project = (_text(node.get(member)) for member in ("type", "project"))
    return tuple(tag for tag in (kind, project) if tag)


def _is_shallow(node: Any) -> bool:
    """Return whether a definition is nested as deep as one may be, and no deeper."""
    level = [node]
    for _ in range(limits.MAX_VALUE_DEPTH):
        level = [
            item
            for value in level
            if isinstance(value, (dict, list))
            for item in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return True
    return False
