"""A file of flagd as what a sidecar serves: its own flags, with no import and no control plane.

Flags are served by flagd's rules, as an import would have them. What cannot be translated fails
alone: its flag answers `PARSE_ERROR` with what is wrong. Imported only when such a file comes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from proxy.contract.authoring import project
from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import Unreadable
from proxy.contract.digest import SnapshotDigest
from proxy.contract.problems import Problem, has_errors, pointer
from proxy.contract.snapshot import EntryKind, encode_entry, entry_order
from proxy.engine import FileUnreadable, import_document, shared_place, sharing
from proxy.sync.definitions_file import FileContent

__all__ = ["flags_of_flagd", "read_flagd"]

_MOST_PROBLEMS = 10


def read_flagd(
    document: dict[str, Any], environment: str, fractional: str, flaws: Iterable[Problem] = ()
) -> FileContent:
    """Return what a file says; takes long for a large one.

    `flaws` are mistakes of its text, with pointers into it: what they stand in is not served.

    Raises:
        FileUnreadable: there are no flags in it, or none that can be served.
    """
    found = import_document("flagd", document, {"fractional": fractional}, [environment])
    keys = flags_of_flagd(document["flags"])
    flawed = sharing(found, flaws)
    of_file: list[Problem] = []
    for flaw in flaws:
        key = keys.get(_item(flaw))
        if key is not None:
            flawed.setdefault(key, []).append(flaw)
        elif not _is_in_item(flaw) and shared_place(flaw.pointer) is None:
            of_file.append(flaw)
    problems = [flaw for some in flawed.values() for flaw in some]
    of_flags = {key: list(found.refused.get(key, ())) for key in keys.values()}
    for problem in found.problems:
        key = keys.get(_item(problem))
        if key in flawed:
            continue  # it was found in what could be read, which nobody meant
        problems.append(problem)
        if key is not None:
            of_flags[key].append(problem)
        elif problem.severity is Severity.ERROR and not _is_in_item(problem):
            of_file.append(problem)
    if of_file:
        raise FileUnreadable(of_file)
    of_flags |= flawed
    problems += [p for key, some in found.refused.items() if key not in flawed for p in some]
    entries: dict[tuple[EntryKind, str], bytes] = {}
    read = {flag.key: flag for flag in found.flags}
    served = 0
    for key, own in of_flags.items():
        flag = read.get(key)
        if flag is not None and not has_errors(own):
            line = encode_entry("flag", key, project(flag, environment))
            served += 1
        else:
            told = own or [Problem("", ProblemCode.NOT_COMPILED, "it cannot be read")]
            line = encode_entry("flag", key, Unreadable(told[:_MOST_PROBLEMS]))
        entries["flag", key] = line
    if document["flags"] and not served:
        message = "no flag of this file can be served"
        raise FileUnreadable([Problem("", ProblemCode.NOT_COMPILED, message), *problems])
    digest = SnapshotDigest()
    for (kind, key), line in entries.items():
        digest.put(kind, key, line)
    lines = [entries[name] for name in sorted(entries, key=lambda name: entry_order(*name))]
    return FileContent(lines, digest.hexdigest(), list(dict.fromkeys(problems)))


def _item(problem: Problem) -> str:
    """Return the pointer of the flag that a problem is in, if it is in one."""
    return "/".join(problem.pointer.split("/")[:3])


def _is_in_item(problem: Problem) -> bool:
    return problem.pointer.startswith("/flags/")


def flags_of_flagd(flags: Any) -> Mapping[str, str]:
    """Return the key of the flag at each pointer."""
    if isinstance(flags, dict):
        return {pointer("flags", key): key for key in flags}
    return {
        pointer("flags", number): flag["key"]
        for number, flag in enumerate(flags)
        if isinstance(flag, dict) and isinstance(flag.get("key"), str)
    }
