"""Files of definitions as one project: what `matrixflag evaluate` is given, put together. Pure.

A file is `{"flags": [...], "segments": [...]}`, or one flag, or one segment as the API shows it, as
`matrixflag validate` takes them. They become one text that a sidecar would read, and each place in
that is known by the file it came from.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from proxy.contract import strict_json
from proxy.contract.codes import ProblemCode
from proxy.contract.decode import decode
from proxy.contract.problems import Problem, pointer

__all__ = ["Combined", "Places", "combined"]

_SEGMENT_MARKS = frozenset(("when", "included", "excluded"))
_FLAG_MARKS = frozenset(("type", "value", "enabled", "variants", "environments"))
_ONLY_READ = ("version", "created_at", "updated_at")
_FORMS = 'a file is {"flags": [...], "segments": [...]}, or one flag, or one segment'


class Places:
    """From places in the text that was put together to those in the files."""

    def __init__(self) -> None:
        self._several = False
        self._origins: dict[str, tuple[str, str]] = {}

    def add(self, place: str, file: str, where: str) -> None:
        """Note that what is at a place in the text is at `where` in a file."""
        self._several = self._several or any(file != other for other, _ in self._origins.values())
        self._origins[place] = (file, where)

    def name(self, place: str) -> str:
        """Return where something is, with the file where there are several."""
        _, member, number, *steps = f"{place}///".split("/")
        origin = self._origins.get(f"/{member}/{number}")
        if origin is None:
            return place or "/"
        file, where = origin
        inner = "/".join(["", *steps]).rstrip("/")
        return (
            f"{file}: {where}{inner or ('' if where else '/')}"
            if self._several
            else (f"{where}{inner}" or "/")
        )


class Combined(NamedTuple):
    """A text of definitions, and where its parts come from; or what is wrong with a file."""

    data: bytes
    places: Places
    problems: Sequence[tuple[str, Problem]]


def combined(files: Sequence[tuple[str, bytes]]) -> Combined:
    """Return files, given as names and contents, as one text of definitions."""
    places = Places()
    items: dict[str, list[bytes]] = {"flags": [], "segments": []}
    problems: list[tuple[str, Problem]] = []
    for name, data in files:
        found = _items(data)
        if isinstance(found, list):
            problems += [(name, problem) for problem in found]
            continue
        for member, where, item in _each(found):
            places.add(pointer(member, len(items[member])), name, where)
            items[member].append(item)
    text = b",".join(b'"%s":[%s]' % (m.encode(), b",".join(raws)) for m, raws in items.items())
    return Combined(b"{%s}" % text, places, problems)


_Items = dict[str, list[tuple[str, bytes]]]


def _each(found: _Items) -> list[tuple[str, str, bytes]]:
    return [(member, where, item) for member, some in found.items() for where, item in some]


def _items(data: bytes) -> _Items | list[Problem]:
    """Return the flags and segments of a file with their places, or why it has none."""
    hidden = [p for p in strict_json.scan(data) if p.pointer.count("/") < 2]
    members, problems = decode(data, dict[str, msgspec.Raw])
    if members is None:
        return problems
    if hidden:
        return hidden
    if not members.keys() & {"flags", "segments"}:
        return _single(data, members)
    items: _Items = {}
    for member, raw in members.items():
        if member not in ("flags", "segments"):
            message = f"the member {member!r} is unknown"
            hint = "known: flags, segments"
            return [Problem(pointer(member), ProblemCode.UNKNOWN_FIELD, message, hint)]
        some, problems = decode(raw, list[msgspec.Raw])
        if some is None:
            message = f"{member} has to be an array"
            return [Problem(pointer(member), problems[0].code, message)]
        items[member] = [(pointer(member, n), bytes(each)) for n, each in enumerate(some)]
    return items


def _single(data: bytes, members: dict[str, msgspec.Raw]) -> _Items | list[Problem]:
    if members.keys() & _FLAG_MARKS:
        return {"flags": [("", data)]}
    if members.keys() & _SEGMENT_MARKS:
        for name in _ONLY_READ:
            members.pop(name, None)
        return {"segments": [("", msgspec.json.encode(members))]}
    message = "these are neither definitions nor a flag nor a segment"
    return [Problem("", ProblemCode.NOT_ONE_OF, message, _FORMS)]
