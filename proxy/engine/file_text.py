"""A file of flags, as text: whose form it has, and mistakes of single places. Pure.

JSON, or YAML as the JSON it stands for; definitions of our own, or flagd's. What is no text of
either is refused, and so is what looks like a file of a system that sidecars do not serve.
"""

from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from proxy.contract import strict_json
from proxy.contract.codes import ProblemCode
from proxy.contract.decode import decode
from proxy.contract.mending import mend
from proxy.contract.problems import Problem
from proxy.engine.recognising import whose

__all__ = ["FileText", "FileUnreadable", "is_flagd", "read_file_text"]

_YAML = (".yaml", ".yml")
_MARKS = ("$evaluators", "$schema")
_NAMES = {
    "unleash": "an Unleash",
    "growthbook": "a GrowthBook",
    "launchdarkly": "a LaunchDarkly",
    "goff": "a GO Feature Flag",
}


class FileUnreadable(Exception):
    """The file as a whole cannot be served."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(_said, problems[:3])))
        self.problems = problems


def _said(problem: Problem) -> str:
    return f"{problem.pointer}: {problem.message}" if problem.pointer else problem.message


class FileText(NamedTuple):
    """What a file says."""

    text: bytes
    """JSON, of which every part can be decoded but for those that are mistakes."""
    flaws: list[Problem]
    """Mistakes of single places, with pointers into it."""
    flagd: dict[str, Any] | None
    """The document, when it is flagd's."""


class _Head(msgspec.Struct):
    """What tells a file of flagd from one of our own, without decoding the rest."""

    flags: msgspec.Raw | UnsetType = UNSET
    evaluators: msgspec.Raw | UnsetType = msgspec.field(name="$evaluators", default=UNSET)
    schema: msgspec.Raw | UnsetType = msgspec.field(name="$schema", default=UNSET)


def read_file_text(name: str, data: bytes) -> FileText:
    """Return what a file of this name says, in whichever form.

    Raises:
        FileUnreadable: nothing in it can be read, or it is another system's.
    """
    if name.lower().endswith(_YAML):
        text, flaws = _json_of(data)
        head = _head(text)
    else:
        text, flaws = data, strict_json.scan(data)
        head = None if flaws else _head(text)
        if head is None:
            text, flaws = mend(data, places=True)
            head = _head(text)
    if head is None:
        _, problems = decode(text, msgspec.Raw)
        if problems:
            raise FileUnreadable(problems)
        return FileText(text, flaws, None)  # no object: who reads it as our own says so
    is_list = head.flags is not UNSET and not bytes(head.flags).lstrip().startswith(b"{")
    if is_list and head.evaluators is UNSET and head.schema is UNSET:
        return FileText(text, flaws, None)
    document, problems = decode(text, object)
    if problems:  # numbers: only who decodes all of it sees them
        text, flaws = mend(data, places=True)
        document, problems = decode(text, object)
    if problems:
        raise FileUnreadable(problems)
    looks = whose(document)
    if looks in _NAMES:
        message = (
            f"this looks like {_NAMES[looks]} file; import it with `matrixflag import {looks}`"
        )
        raise FileUnreadable([Problem("", ProblemCode.OTHER_SYSTEM, message)])
    return FileText(text, flaws, document if is_flagd(document) else None)  # type: ignore[arg-type]


def is_flagd(document: Any) -> bool:
    """Return whether a decoded file has flagd's shape: flags by their keys, or its own members."""
    if not isinstance(document, dict):
        return False
    flags = document.get("flags")
    if isinstance(flags, dict):
        return True
    return isinstance(flags, list) and any(mark in document for mark in _MARKS)


def _head(text: bytes) -> _Head | None:
    """Return what the file has at its top, None when it is no object, or no JSON."""
    try:
        return msgspec.json.decode(text, type=_Head)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _json_of(data: bytes) -> tuple[bytes, list[Problem]]:
    """Return the JSON that YAML stands for."""
    from proxy.contract.yaml_documents import BadYaml, read_yaml  # most sidecars read none

    try:
        document, flaws = read_yaml(data)
    except BadYaml as error:
        raise FileUnreadable([Problem("", ProblemCode.MALFORMED_JSON, str(error))]) from None
    return msgspec.json.encode(document), flaws
