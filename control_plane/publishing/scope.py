"""What a change touches that its author has no say in. Pure.

Whoever has a role in some environments alone may change the configuration of existing flags there,
and nothing else: that a flag exists, its variants and its texts, segments, keys and environments
are shared by all environments. Judged by what differs, not by which route was taken, so that no way
to change something can be forgotten.

It is done in steps: a change may be of thousands of flags, and a flag has megabytes. A step takes
one member of a flag, at most the largest there is.
"""

from collections.abc import Iterable

import msgspec
from msgspec import UNSET

from control_plane.errors import Forbidden
from control_plane.publishing.state import Change, FlagRecord, ProjectState
from proxy.contract.definitions import Flag
from proxy.contract.steps import Steps

__all__ = ["check_scope", "outside"]


def check_scope(state: ProjectState, change: Change) -> Steps[None]:
    """Return if the author of a change may make all of it; yields in between.

    Raises:
        Forbidden: with the first thing that is not theirs.
    """
    environments = change.author.environments
    if environments is None:
        return
    for edit in change.edits:
        if isinstance(edit.record, FlagRecord) and edit.key in state.flags:
            before = state.flags[edit.key].flag
            place = yield from outside(before, edit.record.flag, environments)
        else:
            place = "what all environments share"
        if place is not None:
            raise Forbidden(
                f"your role is in {', '.join(sorted(environments))} alone, and this would change "
                f"{place} of {edit.kind} {edit.key!r}",
                code="role_needed",
            )


def outside(before: Flag, after: Flag, environments: Iterable[str]) -> Steps[str | None]:
    """Return the place of a member that a change of a flag touches beyond some environments."""
    own = set(environments)
    places = before.environments.keys() | after.environments.keys()
    for name in sorted(places - own):
        if not _same(before.environments.get(name, UNSET), after.environments.get(name, UNSET)):
            return f"/environments/{name}"
        yield
    for member in Flag.__struct_fields__:
        if member == "environments":
            continue
        if not _same(getattr(before, member), getattr(after, member)):
            return f"/{member}"
        yield
    return None


def _same(before: object, after: object) -> bool:
    """Return whether two values are the same JSON: as text, so that 1 is not 1.0."""
    if before is after:
        return True
    if before is UNSET or after is UNSET:
        return False
    return msgspec.json.encode(before) == msgspec.json.encode(after)
