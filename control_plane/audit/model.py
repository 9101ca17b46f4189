"""What is kept of every change: who, from where, when, what, why; and each version of a flag.

Both are written in the same atomic step as the change itself, so neither can be missing or
invented. An address is the client's, see `web.address`.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

import msgspec

from control_plane.audit.differences import Difference
from control_plane.store.keys import DIRECTORY, REFUSED
from proxy.contract.definitions import Flag

__all__ = [
    "ACTIONS",
    "MAX_TARGETS",
    "PEOPLE_KINDS",
    "REFUSED_ACTIONS",
    "AuditEntry",
    "AuditResource",
    "Author",
    "HistoryEntry",
    "RevertInput",
    "elsewhere_problem",
    "filter_problem",
]

MAX_TARGETS = 100
"""Named in an entry; their number is always there."""

ACTIONS = (
    "directory.create",
    "environment.create",
    "environment.patch",
    "environment.replace",
    "epoch.renew",
    "factor.add",
    "factor.recovery",
    "factor.remove",
    "factor.rename",
    "factor.reseal",
    "factor.reset",
    "flag.copy",
    "flag.create",
    "flag.delete",
    "flag.import",
    "flag.patch",
    "flag.replace",
    "flag.revert",
    "key.create",
    "key.delete",
    "key.patch",
    "key.rotate",
    "log.create",
    "project.create",
    "project.patch",
    "project.replace",
    "segment.create",
    "segment.delete",
    "segment.patch",
    "segment.replace",
    "segment.units.change",
    "segment.units.replace",
    "session.begin",
    "session.challenge",
    "session.end",
    "session.expire",
    "session.prove",
    "session.refuse",
    "session.reuse",
    "user.accept",
    "user.create",
    "user.delete",
    "user.invite",
    "user.link",
    "user.password",
    "user.patch",
    "user.provision",
)
"""All that entries say was done. A test compares them with the code; they are never taken away,
because old entries are asked for too."""

PEOPLE_KINDS = frozenset(("directory", "factor", "session", "user"))
"""The beginnings of actions that are in the log of people, and in no project's."""

REFUSED_ACTIONS = frozenset(("log.", "log.create", "session.", "session.refuse"))
"""What the log of who was refused is asked for; of these `session.` is in the log of people too."""

_ACTORS = ("admin", "anonymous", "dev", "sso", "system")
_ACTOR_KINDS = ("key", "service", "user")
_REFUSED_ACTORS = ("anonymous", "system")
_PEOPLE_ACTORS = ("anonymous", "sso")
_TARGETS_OF_PROJECTS = ("environment", "flag", "key", "project", "segment")
_TARGETS_OF = {
    DIRECTORY: ("factor", "key", "method", "passkey", "session", "user"),
    REFUSED: ("person", "user"),
}
_TARGET_KINDS = tuple(sorted({*_TARGETS_OF_PROJECTS, *sum(_TARGETS_OF.values(), ())}))
_SHOWN_CHARS = 60


def filter_problem(name: str, text: str) -> str:
    """Return why no entry can ever have what is asked for, with the nearest; empty if one can.

    `name` is `actor`, `action` or `target`. A misspelt filter would find nothing, and nothing is
    what somebody who looks for a change that must not have been made wants to read.
    """
    if name == "action":
        if any(
            text == action or (text[-1:] == "." and action.startswith(text)) for action in ACTIONS
        ):
            return ""
        all_of = sorted({f"{action.partition('.')[0]}." for action in ACTIONS})
        return f"{text[:_SHOWN_CHARS]!a} is no action{_nearest(text, [*ACTIONS, *all_of])}"
    kind, colon, rest = text.partition(":")
    words, kinds = ((), _TARGET_KINDS) if name == "target" else (_ACTORS, _ACTOR_KINDS)
    if text in words or (colon and rest and kind in kinds):
        return ""
    known = ", ".join([*words, *(f"{kind}:..." for kind in kinds)])
    return f"{text[:_SHOWN_CHARS]!a} is none of {known}"


def elsewhere_problem(project: str, wanted: Mapping[str, str | None]) -> tuple[str, str] | None:
    """Return the filter that entries of other logs can have and none of this one, and why.

    `wanted` has `actor`, `action` and `target`, each one that `filter_problem` lets pass.
    """
    if (action := wanted["action"]) and (problem := _action_elsewhere(project, action)):
        return "action", f"{action!r} {problem}"
    kinds = _TARGETS_OF.get(project, _TARGETS_OF_PROJECTS)
    if (target := wanted["target"]) and target.partition(":")[0] not in kinds:
        known = ", ".join(f"{kind}:..." for kind in kinds)
        return "target", f"{target[:_SHOWN_CHARS]!a} is in entries of other logs; of this: {known}"
    actor = wanted["actor"]
    if actor and project == REFUSED and actor not in _REFUSED_ACTORS:
        hint = f"everybody is anonymous who is refused: ask by target, {', '.join(kinds)}"
        return "actor", f"{actor[:_SHOWN_CHARS]!a} is nobody's in this log; {hint}"
    if project not in _TARGETS_OF and actor in _PEOPLE_ACTORS:
        hint = f"{actor!r} is in the logs of people, project={DIRECTORY} or {REFUSED}"
        return "actor", hint
    return None


def _action_elsewhere(project: str, action: str) -> str:
    """Return in which log an action is that is in no entry of this one, empty if it is."""
    if project == REFUSED or (action in REFUSED_ACTIONS and action != "session."):
        if project == REFUSED and action in REFUSED_ACTIONS:
            return ""
        there = "is in" if action in REFUSED_ACTIONS else "is not in"
        return f"{there} the log of who was refused, project={REFUSED}"
    of_people = action.partition(".")[0] in PEOPLE_KINDS
    if of_people and project != DIRECTORY:
        return f"is in the log of people: ask with project={DIRECTORY}"
    if not of_people and project == DIRECTORY:
        return "is in the logs of projects, not of people"
    return ""


def _nearest(text: str, known: Sequence[str]) -> str:
    found = get_close_matches(text[:_SHOWN_CHARS].lower(), known, n=1)
    return f"; did you mean {found[0]}?" if found else "; docs/audit.md has all of them"


class Author(NamedTuple):
    """Who makes a change, from which address, and why, if they say so.

    `environments` are those that they may change, None for all and for what these share.
    """

    actor: str
    address: str
    reason: str = ""
    environments: frozenset[str] | None = None


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change. `targets` are `<kind>:<key>`, at most a hundred; `count` says how many in all.

    `sequence` is the project's after it. `differences` are what it changed, secrets left out, as
    far as they fit; `omitted` is how many more there are. `project` is named, so that the log of
    one is not taken for that of another. `nonce` is random, so that two histories of equal changes
    are told apart.
    """

    sequence: int = 0
    at: str
    actor: str
    address: str
    action: str
    targets: list[str]
    count: int
    reason: str = ""
    differences: list[Difference] = []
    omitted: int = 0
    nonce: str = ""
    project: str = ""


class AuditResource(msgspec.Struct, frozen=True):
    """A change as the API shows it: the entry, its link in the chain and the one before."""

    sequence: int
    at: str
    actor: str
    address: str
    action: str
    reason: str
    targets: list[str]
    count: int
    differences: list[Difference]
    omitted: int
    previous: str
    head: str


class HistoryEntry(msgspec.Struct, frozen=True):
    """One version of a flag, as it was stored; without `flag` the version in which it was deleted.

    `action` says what made it: `flag.create`, `.replace`, `.patch`, `.copy`, `.revert`, `.delete`,
    or the `environment.create` that gave it one more configuration. `revisions` says at which
    revision of each environment it came to be: what an environment served at a revision is the
    newest version whose own is not above it. Versions of before this was kept have none.
    """

    version: int
    at: str
    actor: str
    address: str
    action: str
    flag: Flag | None
    revisions: dict[str, int] = {}


class RevertInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which flag to take back to which version; with `environment` only its configuration there."""

    flag: str
    version: int
    environment: str | None = None
