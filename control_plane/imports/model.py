"""What an import is asked with, and what it answers: the plan, whether it was applied or not."""

from typing import Any, Literal

import msgspec

from proxy.contract.definitions import DialectName
from proxy.contract.problems import Problem

__all__ = ["FileSystem", "ImportAnswer", "ImportInput", "ImportItem", "ImportedRecords"]


FileSystem = DialectName | Literal["native"]
"""Whose file it is; native is our own, as `matrixflag export native` writes it."""


class ImportInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of another system, or of our own, as it is, and how to read it.

    `flaws` are mistakes of the file's text, with pointers into the document, of who read it and
    sends what could be read: the flags and segments that they stand in are refused.
    """

    system: FileSystem
    document: Any
    options: dict[str, Any] = {}
    flaws: list[Problem] = []


class ImportItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A flag or a segment of a file, and what is to be known of it.

    `changes` are the members that another value takes the place of. Of what changes, `problems` are
    warnings of what that does to units.
    """

    key: str
    changes: list[str] = []
    problems: list[Problem] = []


class ImportedRecords(msgspec.Struct, frozen=True):
    """What becomes of the segments of a file; `only_here` are not in it, see `ImportAnswer`."""

    created: list[str]
    changed: list[ImportItem]
    unchanged: list[str]
    refused: list[ImportItem]
    only_here: list[str]


class ImportAnswer(msgspec.Struct, frozen=True):
    """What becomes, or would become, of a file: each of its flags is in one of the lists.

    `applied` is whether anything was written. `revision` is that of the environment afterwards.
    `problems` are warnings, with pointers into the file or, of what a flag asks and is not there,
    with the flag in the text. `only_here` are those that an import of the same system brought into
    the environment and that the file has not any more; they stay.
    """

    system: FileSystem
    dry_run: bool
    applied: bool
    revision: int
    created: list[str]
    changed: list[ImportItem]
    unchanged: list[str]
    refused: list[ImportItem]
    only_here: list[str]
    segments: ImportedRecords
    problems: list[Problem]
