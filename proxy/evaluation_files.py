"""Files of definitions as one project: what `matrixflag evaluate` is given, put together. Pure.

A file is `{"flags": [...], "segments": [...]}`, or one flag, or one segment as the API shows it, as
`matrixflag validate` takes them. They become one text that a sidecar would read, and each place in
that is known by the file it came from; so are the mistakes of their texts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from proxy.contract.codes import ProblemCode
from proxy.contract.decode import decode
from proxy.contract.problems import Problem, pointer

__all__ = ["Combined", "Places", "TextFile", "combined"]

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


class TextFile(NamedTuple):
    """A file that is put together with others; `flaws` are mistakes that are out of the way."""

    name: str
    data: bytes
    flaws: Sequence[Problem] = ()


class Combined(NamedTuple):
    """A text of definitions, and where its parts come from; or what is wrong with a file."""

    data: bytes
    places: Places
    flaws: list[Problem]
    """Mistakes of the texts, with pointers into this one."""
    problems: Sequence[tuple[str, Problem]]


def combined(files: Sequence[TextFile]) -> Combined:
    """Return files as one text of definitions."""
    places = Places()
    items: dict[str, list[bytes]] = {"flags": [], "segments": []}
    problems: list[tuple[str, Problem]] = []
    flaws: list[Problem] = []
    for name, data, flawed in files:
        found = _items(data, flawed)
        if isinstance(found, list):
            problems += [(name, problem) for problem in found]
            continue
        inside = _by_item(flawed)
        for member, where, item in _each(found):
            place = pointer(member, len(items[member]))
            places.add(place, name, where)
            items[member].append(item)
            for flaw in inside.get(where, ()) if where else flawed:
                inner = flaw.pointer.removeprefix(where)
                flaws.append(msgspec.structs.replace(flaw, pointer=place + inner))
    text = b",".join(b'"%s":[%s]' % (m.encode(), b",".join(raws)) for m, raws in items.items())
    return Combined(b"{%s}" % text, places, flaws, problems)


_Items = dict[str, list[tuple[str, bytes]]]


def _by_item(flaws: Sequence[Problem]) -> dict[str, list[Problem]]:
    """Return the mistakes of each flag and segment of a file, by its place."""
    found: dict[str, list[Problem]] = {}
    for flaw in flaws:
        found.setdefault("/".join(flaw.pointer.split("/")[:3]), []).append(flaw)
    return found


def _each(found: _Items) -> list[tuple[str, str, bytes]]:
    return [(member, where, item) for member, some in found.items() for where, item in some]


def _items(data: bytes, flaws: Sequence[Problem]) -> _Items | list[Problem]:
    """Return the flags and segments of a file with their places, or why it has none."""
    members, problems = decode(data, dict[str, msgspec.Raw])
    if members is None:
        return problems
    is_single = not members.keys() & {"flags", "segments"}
    of_file = [flaw for flaw in flaws if flaw.pointer.count("/") < (1 if is_single else 2)]
    if of_file:
        return of_file
    if is_single:
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
