"""A flag as the API shows it, and what a change of one reports. Pure.

The top of a resource says what the environment asked for serves: `enabled` and `value`. The rest
is the flag as it is stored, in all environments.
"""

from typing import Any, NamedTuple

import msgspec
from msgspec import UnsetType

from control_plane.flags.rebucketing import Moved
from control_plane.publishing.facets import facets_of
from control_plane.publishing.state import FlagRecord
from proxy.contract.authoring import served
from proxy.contract.definitions import EnvironmentConfig, FlagType
from proxy.contract.problems import Problem

__all__ = ["FlagFilter", "FlagResource", "Written", "resource_of"]


class FlagResource(msgspec.Struct, frozen=True):
    """A flag, as one environment serves it and as all are configured."""

    key: str
    name: str
    description: str
    type: FlagType
    value: Any
    enabled: bool
    variants: dict[str, Any]
    environments: dict[str, EnvironmentConfig]
    tags: list[str]
    owner: str
    expires: str | None
    metadata: dict[str, Any]
    client_side: bool
    track: bool
    archived: bool
    version: int
    created_at: str
    updated_at: str


class FlagFilter(NamedTuple):
    """Which flags of a list are wanted; what is None is not looked at. All `tags` must be there."""

    tags: frozenset[str] = frozenset()
    prefix: str = ""
    type: FlagType | None = None
    archived: bool | None = None

    def facets(self) -> frozenset[str]:
        """Return what a wanted flag has, besides its prefix."""
        return facets_of(tags=self.tags, type_=self.type, archived=self.archived)


class Written(NamedTuple):
    """What a write answers: the flag after it, and what its author should know."""

    resource: FlagResource
    warnings: list[Problem]
    moved: list[Moved]


def resource_of(record: FlagRecord, environment: str) -> FlagResource:
    """Return a flag as the API shows it for an environment."""
    flag = record.flag
    enabled, value = served(flag, environment)
    return FlagResource(
        key=flag.key,
        name=flag.name,
        description=flag.description,
        type=flag.type,
        value=value,
        enabled=enabled,
        variants=flag.variants,
        environments=flag.environments,
        tags=flag.tags,
        owner=flag.owner,
        expires=None if isinstance(flag.expires, UnsetType) else flag.expires,
        metadata=flag.metadata,
        client_side=flag.client_side,
        track=flag.track,
        archived=flag.archived,
        version=record.version,
        created_at=record.created_at,
        updated_at=record.updated_at,
    )
