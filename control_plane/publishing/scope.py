"""What a change touches that its author has no say in. Pure.

Whoever has a role in some environments alone may change the configuration of existing flags there,
and nothing else: that a flag exists, its variants and its texts, segments, keys and environments
are shared by all environments. Judged by what differs, not by which route was taken, so that no way
to change something can be forgotten.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from control_plane.errors import Forbidden
from control_plane.publishing.state import Change, FlagRecord, ProjectState
from proxy.contract.definitions import Flag

__all__ = ["check_scope", "outside"]


def check_scope(state: ProjectState, change: Change) -> None:
    """Return if the author of a change may make all of it.

    Raises:
        Forbidden: with the first thing that is not theirs.
    """
    environments = change.author.environments
    if environments is None:
        return
    for edit in change.edits:
        if isinstance(edit.record, FlagRecord) and edit.key in state.flags:
            place = outside(state.flags[edit.key].flag, edit.record.flag, environments)
        else:
            place = "what all environments share"
        if place is not None:
            raise Forbidden(
                f"your role is in {', '.join(sorted(environments))} alone, and this would change "
                f"{place} of {edit.kind} {edit.key!r}",
                code="role_needed",
            )


def outside(before: Flag, after: Flag, environments: Iterable[str]) -> str | None:
    """Return the place of a member that a change of a flag touches beyond some environments."""
    old, new = _members(before), _members(after)
    own = set(environments)
    places_old, places_new = old.pop("environments", {}), new.pop("environments", {})
    for name in sorted(places_old.keys() | places_new.keys()):
        if name not in own and places_old.get(name) != places_new.get(name):
            return f"/environments/{name}"
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            return f"/{name}"
    return None


def _members(flag: Flag) -> dict[str, Any]:
    """Return the members of a flag, as JSON text so that 1 is not 1.0, by their names."""
    built = msgspec.to_builtins(flag)
    encode = msgspec.json.encode
    return {
        name: {key: encode(config) for key, config in value.items()}
        if name == "environments"
        else encode(value)
        for name, value in built.items()
    }
