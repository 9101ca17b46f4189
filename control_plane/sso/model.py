"""What another system says of a person, and what that comes to here. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from control_plane.access.roles import ANYWHERE, Binding, Role
from control_plane.users.model import MAX_BINDINGS, check_roles
from proxy.contract.parsers import is_loopback

__all__ = [
    "ALGORITHMS",
    "MAX_RETURN_CHARS",
    "Assertion",
    "ExchangeInput",
    "FactorClaim",
    "GroupRole",
    "OneTimeCode",
    "groups_in",
    "is_own_path",
    "is_pkce_text",
    "is_safe_url",
    "parse_factor_claims",
    "parse_group_roles",
    "roles_of",
    "says_factor",
]

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
    *("HS256", "HS384", "HS512"),
)
"""What can be allowed. The last three are signed with the client's secret."""

MAX_RETURN_CHARS = 1_000
_MAX_GROUPS = 2_000
_MAX_GROUP_CHARS = 500
_PKCE = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class GroupRole(NamedTuple):
    """Who is in the group has the role."""

    group: str
    binding: Binding


class FactorClaim(NamedTuple):
    """A claim that says of a login that a second factor was shown, and the value that says so."""

    claim: str
    value: str


class Assertion(NamedTuple):
    """What another system vouches for: `issuer` and `subject` are who, for ever.

    `is_verified` tells whether the system has seen that the address is theirs, `has_factor` whether
    it has asked for a second factor, as far as its word counts.
    """

    issuer: str
    subject: str
    email: str
    is_verified: bool
    name: str
    groups: tuple[str, ...]
    has_factor: bool = False


class ExchangeInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A one-time code, and the text whose digest the login was begun with."""

    code: str
    verifier: str


class OneTimeCode(msgspec.Struct, frozen=True):
    """What a login came to: a code that gets the tokens once, for `expires_in` seconds."""

    code: str
    expires_in: int


def parse_group_roles(text: str, separator: str = ",") -> tuple[GroupRole, ...]:
    """Return the roles of groups: `flag-admins=admin,shop=manager:shop/staging`.

    Raises:
        ValueError: with the rest of a sentence that begins with the setting's name.
    """
    found = []
    for part in (part.strip() for part in text.split(separator)):
        if not part:
            continue
        group, _, rest = part.rpartition("=")
        word, _, place = rest.strip().partition(":")
        project, _, environment = place.partition("/")
        if not group.strip() or word.lower() not in set(Role):
            raise ValueError(
                f"holds {part[:80]!r}, which is not GROUP=ROLE, GROUP=ROLE:PROJECT or "
                f"GROUP=ROLE:PROJECT/ENVIRONMENT with a role of {', '.join(Role)}"
            )
        binding = Binding(Role(word.lower()), project or ANYWHERE, environment or ANYWHERE)
        if problems := check_roles([binding]):
            raise ValueError(f"holds {part[:80]!r}: {problems[0].message}")
        found.append(GroupRole(group.strip(), binding))
    return tuple(found)


def parse_factor_claims(text: str) -> tuple[FactorClaim, ...]:
    """Return what says that a second factor was shown: `amr=mfa,acr=phr`.

    Raises:
        ValueError: with the rest of a sentence that begins with the setting's name.
    """
    found = []
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        claim, _, value = (each.strip() for each in part.partition("="))
        if not claim or not value or " " in value:
            raise ValueError(f"holds {part[:80]!r}, which is not CLAIM=VALUE, as amr=mfa")
        found.append(FactorClaim(claim, value))
    return tuple(found)


def says_factor(claims: Mapping[str, Any], wanted: Iterable[FactorClaim]) -> bool:
    """Return whether claims have one of the values, alone or in a list."""
    return any(each.value in (groups_in(claims, each.claim) or ()) for each in wanted)


def roles_of(groups: Iterable[str], given: Iterable[GroupRole]) -> tuple[Binding, ...]:
    """Return the roles that groups give, each once, in the order of the settings."""
    held = set(groups)
    found = dict.fromkeys(each.binding for each in given if each.group in held)
    return tuple(found)[:MAX_BINDINGS]


def groups_in(claims: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    """Return the groups that claims name, None when they name none at all.

    `name` is that of a claim, or a way through objects, by dots: `realm_access.roles`. A text alone
    is one group. What is no text is no group.
    """
    value: Any = claims.get(name)
    if value is None:
        value = claims
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return None
    listed = value if isinstance(value, list) else [value]
    return tuple(
        group
        for group in listed[:_MAX_GROUPS]
        if isinstance(group, str) and 0 < len(group) <= _MAX_GROUP_CHARS
    )


def is_own_path(text: str) -> bool:
    """Return whether a browser that is sent there stays at this origin."""
    # a second slash begins another host, browsers take a backslash for one, and drop line ends
    return (
        text.startswith("/")
        and not text.startswith("//")
        and "\\" not in text
        and len(text) <= MAX_RETURN_CHARS
        and all("!" <= character <= "~" for character in text)
    )


def is_safe_url(url: str) -> bool:
    """Return whether what is sent there can be read by nobody on the way."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not host or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def is_pkce_text(text: str) -> bool:
    """Return whether a text can be a verifier or a challenge of RFC 7636."""
    return _PKCE.fullmatch(text) is not None
