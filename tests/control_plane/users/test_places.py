"""What roles of settings name and there is not; those of people are in test_people.py."""

from control_plane.access.roles import Binding, Role
from control_plane.keys import REPLICA
from control_plane.users.places import Places
from tests.support.api import Api, api

__all__ = ["api"]  # a fixture


async def test_what_is_named_and_lacks_is_told_once(api: Api) -> None:
    """By its name, for the log: settings are read before there is any project."""
    named = [
        Binding(Role.ADMIN),
        Binding(Role.VIEWER, "default", "staging"),
        Binding(Role.VIEWER, "shpo"),
        Binding(Role.MANAGER, "shpo", "production"),
        Binding(Role.MANAGER, "default", "prod"),
        Binding(Role.MANAGER, "default", "prod"),
    ]
    lacking = Places(api.app[REPLICA]).lacking(named)
    assert lacking == ["shpo", "shpo/production", "default/prod"]
