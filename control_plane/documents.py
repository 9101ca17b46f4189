"""What features do alike with the documents they are sent. Pure.

Sameness of JSON, the merge patch of RFC 7396, and the one error that lists all problems: those of a
document's shape, and, of what can be understood of it all the same, those of its meaning.
"""

import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, TypeVar

import msgspec
import msgspec.inspect

from control_plane.errors import ApiError, BadRequest, Invalid, TooLarge
from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import ONE_OF
from proxy.contract.problems import Problem

__all__ = [
    "MAX_PROBLEMS",
    "NO_FLAWS",
    "READ_ONLY",
    "Flaws",
    "Misshapen",
    "Packed",
    "Precondition",
    "decode_flawed",
    "invalid",
    "merge_patch",
    "same_document",
]

T = TypeVar("T")

MAX_PROBLEMS = 100
"""Of one kind that are looked for in a document. A hostile one must not make a long answer, and
nobody mends more than this at once."""


class Packed(NamedTuple):
    """A body as it came, perhaps compressed."""

    raw: bytes
    gzipped: bool

    @classmethod
    def found(cls, raw: bytes) -> "Packed":
        """Return a JSON document that was kept as it came: none begins as gzip does."""
        return cls(raw, raw.startswith(b"\x1f\x8b"))

    def opened(self, max_bytes: int) -> bytes:
        """Return what it stands for.

        Raises:
            TooLarge: when that is more than `max_bytes`, before it is read.
            BadRequest: when it does not decompress, or breaks off.
        """
        if not self.gzipped:
            return self.raw
        inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            # one byte more than there is room for tells that there is more
            text = inflate.decompress(self.raw, max_bytes + 1)
        except zlib.error:
            raise BadRequest("the body does not decompress") from None
        if len(text) > max_bytes:
            raise TooLarge(f"more than {max_bytes} bytes, which is all that is read")
        if not inflate.eof:
            raise BadRequest("the compressed body breaks off")
        return text


Precondition = Callable[[int], None]
"""Raises PreconditionFailed unless the caller wants to change this version of a document."""

READ_ONLY = frozenset({"version", "created_at", "updated_at"})
"""Members that only a read has; in what is written they are taken and ignored."""

_encoder = msgspec.json.Encoder()
_unordered = msgspec.json.Encoder(order="deterministic")


def same_document(a: object, b: object) -> bool:
    """Return whether two documents are the same JSON, whose members have no order.

    Many clients sort them. For Python 1, 1.0 and True are equal; here they are not.
    """
    return _unordered.encode(a) == _unordered.encode(b)


def merge_patch(document: msgspec.Struct, changes: Mapping[str, Any]) -> bytes:
    """Return the JSON of a document with a merge patch applied, read-only members left alone.

    Of a type that has exactly one of several groups of members (`contract.ONE_OF`), a patch that
    names members of another group than is there means that in its place: nobody can mean both.
    """
    effective = {name: value for name, value in changes.items() if name not in READ_ONLY}
    return _encoder.encode(_merged(msgspec.to_builtins(document), effective, type(document)))


def invalid(problems: list[Problem]) -> Invalid:
    """Return the error for a document with these problems, of which one at least is an error."""
    first = next((p for p in problems if p.severity is Severity.ERROR), problems[0])
    return Invalid(_summary(first, len(problems)), problems=problems)


class Flaws(NamedTuple):
    """What is wrong with the shape of a document of which the rest is looked at all the same."""

    problems: Sequence[Problem] = ()
    unknown: Collection[str] = ()
    """Pointers to what was put out of the way: what is said of it was not said by its author."""

    def joined(self, problems: Sequence[Problem]) -> list[Problem]:
        """Return these problems and, of those of the meaning, what the author can be told."""
        if not self.problems:
            return list(problems)
        return [*self.problems, *(p for p in problems if self._is_meant(p))]

    @contextmanager
    def first(self) -> Iterator[None]:
        """Make whatever is refused within an error that has all problems, these first.

        That is one of the document, whatever it would have met: it cannot be done in any case.
        """
        try:
            yield
        except ApiError as error:
            if not self.problems:
                raise
            others = error.problems if isinstance(error, Invalid) else []
            raise invalid(self.joined(others)) from None

    def _is_meant(self, problem: Problem) -> bool:
        if problem in self.problems:
            return False
        if self.unknown and problem.code is ProblemCode.VALUE_DISAGREES:
            return False  # with what, nobody knows
        if problem.code is ProblemCode.MISSING_FIELD and self._is_misspelled(problem):
            return False
        here = problem.pointer
        return not any(here == place or here.startswith(f"{place}/") for place in self.unknown)

    def _is_misspelled(self, missing: Problem) -> bool:
        """Return whether a missing member is there under a name that a hint told to be wrong."""
        member = missing.pointer.removeprefix("/definition")[1:]  # which is where drafts are
        alike = ("value", "variants", "environments")
        hints = {problem.hint for problem in self.problems}
        names = alike if member in alike else (member,)
        return any(f"did you mean {name!r}?" in hints for name in names)


NO_FLAWS = Flaws()


class Misshapen(Invalid):
    """The document does not have the shape it should.

    `salvaged` is the document without what is wrong, None where too little is left; then `flaws`
    say what that was.
    """

    def __init__(self, problems: list[Problem], salvaged: Any, unknown: Collection[str]) -> None:
        super().__init__(_summary(problems[0], len(problems)), problems=problems)
        self.salvaged = salvaged
        self.flaws = Flaws(problems, unknown)


def decode_flawed(decode: Callable[[bytes], T], body: bytes) -> tuple[T, Flaws]:
    """Return a body decoded, as far as that can be, and what is wrong with it.

    Raises:
        what `decode` does, when what could be understood is too little.
    """
    try:
        return decode(body), NO_FLAWS
    except Misshapen as error:
        if error.salvaged is None:
            raise
        return error.salvaged, error.flaws


def _summary(first: Problem, count: int) -> str:
    more = f", and {count - 1} more" if count > 1 else ""
    if count >= MAX_PROBLEMS:
        more += f"; there may be others, since looking ends at {MAX_PROBLEMS} of one kind"
    return f"{first.pointer or 'the document'}: {first.message}{more}"


def _merged(target: Any, changes: Any, kind: Any) -> Any:
    """Return the target changed (RFC 7396 section 2); as deep as the patch, which is bounded.

    `kind` is the type of what the target is a part of a document of, None where that is not known.
    """
    if not isinstance(changes, Mapping):
        return changes
    result = dict(target) if isinstance(target, Mapping) else {}
    for member in _displaced(result, changes, ONE_OF.get(kind, ())):
        del result[member]
    for name, value in changes.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value, _members(kind).get(name))
    return result


def _displaced(
    target: Mapping[str, Any], changes: Mapping[str, Any], groups: Sequence[Collection[str]]
) -> list[str]:
    """Return the members of a target that have to go for those that a patch sets."""
    given = [name for name, value in changes.items() if value is not None]
    meant = [group for group in groups if any(name in group for name in given)]
    if len(meant) != 1:
        return []  # nothing new, or a mistake that is told
    others = [name for group in groups if group is not meant[0] for name in group]
    return [name for name in others if name in target]


class _Anything(dict[str, Any]):
    """The types of the members of an object whose members are all of one type."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def get(self, _name: str, _default: Any = None) -> Any:
        return self._kind


@cache
def _members(kind: Any) -> Mapping[str, Any]:
    """Return the types of the members of a type, of those that are objects themselves."""
    if kind is None:
        return {}
    found = msgspec.inspect.type_info(kind)
    if isinstance(found, msgspec.inspect.DictType):
        return _Anything(_object(found.value_type))
    if isinstance(found, msgspec.inspect.StructType):
        return {field.encode_name: _object(field.type) for field in found.fields}
    return {}


def _object(found: msgspec.inspect.Type) -> Any:
    """Return the type that an object has where this is asked for, None where that is open."""
    if isinstance(found, msgspec.inspect.UnionType):
        kinds = [kind for kind in map(_object, found.types) if kind is not None]
        return kinds[0] if len(kinds) == 1 else None
    if isinstance(found, msgspec.inspect.StructType):
        return found.cls
    if isinstance(found, msgspec.inspect.DictType):
        inner = _object(found.value_type)
        return None if inner is None else dict[str, inner]  # type: ignore[valid-type]
    return None
