"""Projects and environments: documents, what is stored of them, what the API shows.

Keys become parts of Redis keys, of URLs and of metric labels, so they are short and plain.
"""

import re
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem

__all__ = [
    "MAX_AGE_S",
    "MIN_AGE_S",
    "CopyInput",
    "Environment",
    "EnvironmentInput",
    "EnvironmentRecord",
    "EnvironmentResource",
    "Project",
    "ProjectInput",
    "ProjectRecord",
    "ProjectResource",
    "check_name",
]

MIN_AGE_S = 60
"""Of `max_age_s`. Heartbeats are 10 s apart, and a stream that is lost is back within 45 s: what
happens every day must not switch flags off."""

MAX_AGE_S = 31_536_000
"""Of `max_age_s`: a year, which is as good as none."""

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


MaxAge = Annotated[int, msgspec.Meta(ge=MIN_AGE_S, le=MAX_AGE_S)] | None


class Environment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One place where a project's flags are served: production, staging, a developer's own.

    From the age `max_age_s` on, sidecars answer the application's own defaults instead of flags
    that nobody confirmed for so long; null lets them serve what they have for ever.
    """

    key: str
    name: str = ""
    description: str = ""
    max_age_s: MaxAge = None


class EnvironmentInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be changed of an environment; `key` may be there and is the same."""

    key: str | UnsetType = UNSET
    name: str = ""
    description: str = ""
    max_age_s: MaxAge = None


class EnvironmentRecord(msgspec.Struct, frozen=True):
    """An environment as it is stored."""

    environment: Environment
    version: int
    created_at: str
    updated_at: str


class EnvironmentResource(msgspec.Struct, frozen=True):
    """An environment as the API shows it; `revision` and `digest` say what sidecars should hold."""

    key: str
    name: str
    description: str
    max_age_s: int | None
    version: int
    created_at: str
    updated_at: str
    epoch: str
    revision: int
    digest: str
    entries: int
    snapshot_bytes: int


class Project(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A set of flags, segments and environments that change together.

    `allowed_networks` and `denied_networks` are those that people and service keys may see and
    change it from, see `networks`; sidecars are held by the networks of their keys.
    """

    key: str
    name: str = ""
    description: str = ""
    allowed_networks: tuple[str, ...] = ()
    denied_networks: tuple[str, ...] = ()


class ProjectInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be changed of a project; `key` may be there and is the same."""

    key: str | UnsetType = UNSET
    name: str = ""
    description: str = ""
    allowed_networks: tuple[str, ...] = ()
    denied_networks: tuple[str, ...] = ()


class ProjectRecord(msgspec.Struct, frozen=True):
    """A project as it is stored. Its `version` is of what is itself, not of what is in it."""

    project: Project
    created_at: str
    version: int = 1
    updated_at: str = ""


class ProjectResource(msgspec.Struct, frozen=True):
    """A project as the API shows it, with how much there is in it."""

    key: str
    name: str
    description: str
    allowed_networks: tuple[str, ...]
    denied_networks: tuple[str, ...]
    version: int
    created_at: str
    updated_at: str
    environments: list[str]
    flags: int
    segments: int


class CopyInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which flag's configuration to promote, from the environment in the path, or into it.

    Exactly one of `to` and `from` is given; the other end is the path's.
    """

    flag: str
    to: str | None = None
    from_: str | None = msgspec.field(name="from", default=None)


def check_name(key: str) -> list[Problem]:
    """Return what is wrong with the key of a project or an environment."""
    if _KEY.fullmatch(key):
        return []
    message = f"{key[:80]!r} cannot be a key"
    hint = "1 to 64 of A-Z a-z 0-9 . _ -, not starting with . or -"
    return [Problem("/key", ProblemCode.INVALID_KEY, message, hint)]
