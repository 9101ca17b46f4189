"""A file of flagd as what a sidecar serves: its own flags, with no import and no control plane.

Flags are served by flagd's rules, as an import would have them. What cannot be translated fails
alone: its flag answers `PARSE_ERROR` with what is wrong. Imported only when such a file comes.
"""

from collections.abc import Mapping
from typing import Any

from proxy.contract.authoring import project
from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import Unreadable
from proxy.contract.digest import SnapshotDigest
from proxy.contract.problems import Problem, has_errors, pointer
from proxy.contract.snapshot import EntryKind, encode_entry, entry_order
from proxy.engine import import_document
from proxy.sync.definitions_file import FileContent, FileUnreadable

__all__ = ["is_flagd", "read_flagd"]

_MARKS = ("$evaluators", "$schema")
_MOST_PROBLEMS = 10


def is_flagd(document: Any) -> bool:
    """Return whether a decoded file has flagd's shape: flags by their keys, or its own members."""
    if not isinstance(document, dict):
        return False
    flags = document.get("flags")
    if isinstance(flags, dict):
        return True
    return isinstance(flags, list) and any(mark in document for mark in _MARKS)


def read_flagd(document: dict[str, Any], environment: str, fractional: str) -> FileContent:
    """Return what a file says; takes long for a large one.

    Raises:
        FileUnreadable: there are no flags in it.
    """
    found = import_document("flagd", document, {"fractional": fractional}, [environment])
    keys = _keys(document["flags"])
    of_flags = {key: list(found.refused.get(key, ())) for key in keys.values()}
    of_file = []
    for problem in found.problems:
        place = "/".join(problem.pointer.split("/")[:3])
        if place in keys:
            of_flags[keys[place]].append(problem)
        elif problem.severity is Severity.ERROR:
            of_file.append(problem)
    if of_file:
        raise FileUnreadable(of_file)
    entries: dict[tuple[EntryKind, str], bytes] = {}
    read = {flag.key: flag for flag in found.flags}
    for key, problems in of_flags.items():
        flag = read.get(key)
        if flag is not None and not has_errors(problems):
            line = encode_entry("flag", key, project(flag, environment))
        else:
            told = problems or [Problem("", ProblemCode.NOT_COMPILED, "it cannot be read")]
            line = encode_entry("flag", key, Unreadable(told[:_MOST_PROBLEMS]))
        entries["flag", key] = line
    digest = SnapshotDigest()
    for (kind, key), line in entries.items():
        digest.put(kind, key, line)
    lines = [entries[name] for name in sorted(entries, key=lambda name: entry_order(*name))]
    return FileContent(lines, digest.hexdigest(), found.all_problems())


def _keys(flags: Any) -> Mapping[str, str]:
    """Return the key of the flag at each pointer."""
    if isinstance(flags, dict):
        return {pointer("flags", key): key for key in flags}
    return {
        pointer("flags", number): flag["key"]
        for number, flag in enumerate(flags)
        if isinstance(flag, dict) and isinstance(flag.get("key"), str)
    }
