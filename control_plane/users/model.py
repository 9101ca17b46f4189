"""People and sessions: what is stored of them, what is asked for, what is shown. Pure.

What proves somebody, a hash of a password or a secret of a second factor, is in records and never
in a resource. Times are RFC 3339 in UTC.
"""

import re
from collections.abc import Iterable
from typing import Annotated, ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from control_plane.access.roles import ANYWHERE, Binding, Role
from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem, pointer

__all__ = [
    "MAX_BINDINGS",
    "VOUCHED_FACTOR",
    "Credentials",
    "Identity",
    "InvitationInput",
    "Invited",
    "PasskeyRecord",
    "PasswordInput",
    "RefreshInput",
    "RoleInput",
    "SessionRecord",
    "SessionResource",
    "CookieSession",
    "Tokens",
    "TotpRecord",
    "UserInput",
    "UserPatch",
    "UserRecord",
    "UserResource",
    "check_email",
    "check_roles",
    "factors_of",
    "has_shown_factor",
    "is_proved",
    "plain_email",
    "user_resource",
]

MAX_BINDINGS = 100
_MAX_EMAIL_CHARS = 254  # RFC 5321 leaves room for no more
_MAX_NAME_CHARS = 200
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,190}")
_SECOND = frozenset({"totp", "passkey", "recovery"})
VOUCHED_FACTOR = "oidc_factor"
"""The method of a session whose second factor was shown at the provider of identities, not here."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


class TotpRecord(msgspec.Struct, frozen=True):
    """An authenticator app: its sealed secret, and the last step a code was taken of."""

    secret: str
    used: int
    created_at: str


class PasskeyRecord(msgspec.Struct, frozen=True):
    """A passkey: its id and public key (COSE), base64url, and how often it says it was used."""

    id: str
    name: str
    key: str
    count: int
    created_at: str
    transports: tuple[str, ...] = ()
    last_used_at: str | None = None


class Identity(msgspec.Struct, frozen=True):
    """Whom another system knows a person as: the system, and what it calls them for ever."""

    issuer: str
    subject: str


class UserRecord(msgspec.Struct, frozen=True):
    """A person as they are stored.

    `password` is an argon2id hash, empty until an invitation was taken or when another system
    vouches for them, which `identities` says. `invitation` is the hash of the token of an
    invitation, `recovery` are the hashes of the recovery codes that are left.
    """

    id: str
    email: str
    name: str
    roles: tuple[Binding, ...]
    version: int
    created_at: str
    updated_at: str
    password: str = ""
    disabled: bool = False
    invitation: str | None = None
    invited_until: str | None = None
    last_login_at: str | None = None
    totp: TotpRecord | None = None
    passkeys: tuple[PasskeyRecord, ...] = ()
    recovery: tuple[str, ...] = ()
    identities: tuple[Identity, ...] = ()


class SessionRecord(msgspec.Struct, frozen=True):
    """A session as it is stored; it ends by being removed.

    `methods` are how its person proved who they are, at its beginning and since; `proved_at` is
    when they last did since.
    """

    id: str
    user: str
    created_at: str
    expires_at: str
    address: str
    agent: str
    methods: tuple[str, ...] = ("password",)
    proved_at: str | None = None


class RoleInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role that is given, and where. What is forgotten must not give the most: `project` is
    named, or `*` for all; an environment less than all of it is named too.
    """

    role: Role
    project: Annotated[str, msgspec.Meta(description='name one, or "*" for all projects')]
    environment: str = ANYWHERE

    def binding(self) -> Binding:
        """Return the role as it is held."""
        return Binding(self.role, self.project, self.environment)


class UserInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody new. Without `password` they are invited, and choose one."""

    email: str
    name: str = ""
    roles: list[RoleInput] = []
    password: str | UnsetType = UNSET


class UserPatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a person is to be another; what is left out stays."""

    READ_ONLY: ClassVar = frozenset(
        {"id", "email", "version", "created_at", "updated_at", "invited", "last_login_at"}
        | {"factors", "identities", "roles_from"}
    )

    name: str | UnsetType = UNSET
    roles: list[RoleInput] | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET


class UserResource(msgspec.Struct, frozen=True):
    """A person as the API shows them. `invited` until they have chosen a password.

    `factors` are the kinds of second factor they have: `totp`, `passkey`. `roles_from` are the
    systems at which each login gives them the roles, and the name, that they have there: `oidc`,
    `ldap`. What is changed here lasts until then.
    """

    id: str
    email: str
    name: str
    roles: tuple[Binding, ...]
    version: int
    created_at: str
    updated_at: str
    disabled: bool
    invited: bool
    last_login_at: str | None
    factors: tuple[str, ...]
    identities: tuple[Identity, ...]
    roles_from: tuple[str, ...]


class Invited(msgspec.Struct, frozen=True):
    """Somebody new, and the token with which they choose a password: shown this once."""

    user: UserResource
    invitation: str | None
    invited_until: str | None


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody logs in with; `email` may be the name that they have in LDAP."""

    email: str
    password: str


class RefreshInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A refresh token, to be used up."""

    refresh_token: str


class InvitationInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The token of an invitation, and the password that is chosen."""

    invitation: str
    password: str


class PasswordInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One's own password, as it is and as it shall be."""

    current: str
    new: str


class CookieSession(msgspec.Struct, frozen=True):
    """What a page keeps of a session whose tokens are in cookies.

    `csrf_token` goes into `X-Matrixflag-Csrf` of each request; the cookie that gives access is
    gone after `expires_in` seconds.
    """

    csrf_token: str
    expires_in: int
    session: str


class Tokens(msgspec.Struct, frozen=True):
    """What a session is used with: `access_token` for requests, `refresh_token` for the next ones.

    `expires_in` is the access token's life in seconds.
    """

    access_token: str
    refresh_token: str
    expires_in: int
    session: str
    token_type: str = "Bearer"  # noqa: S105 - RFC 6749's word for how it is sent


class SessionResource(msgspec.Struct, frozen=True):
    """A session as the API shows it. `current` is the one that asks."""

    id: str
    created_at: str
    expires_at: str
    address: str
    agent: str
    methods: tuple[str, ...]
    current: bool


def user_resource(record: UserRecord, roles_from: tuple[str, ...]) -> UserResource:
    """Return what may be shown of a person."""
    return UserResource(
        id=record.id,
        email=record.email,
        name=record.name,
        roles=record.roles,
        version=record.version,
        created_at=record.created_at,
        updated_at=record.updated_at,
        disabled=record.disabled,
        invited=record.invitation is not None,
        last_login_at=record.last_login_at,
        factors=factors_of(record),
        identities=record.identities,
        roles_from=roles_from,
    )


def factors_of(user: UserRecord) -> tuple[str, ...]:
    """Return the kinds of second factor that a person has; recovery codes only stand in."""
    totp = () if user.totp is None else ("totp",)
    return (*totp, "passkey") if user.passkeys else totp


def is_proved(session: SessionRecord) -> bool:
    """Return whether more than a password stands behind a session."""
    return not _SECOND.isdisjoint(session.methods)


def has_shown_factor(user: UserRecord, session: SessionRecord) -> bool:
    """Return whether a session does for roles that need a second factor.

    That of a provider does, but changes none of those here: see `is_proved`.
    """
    return VOUCHED_FACTOR in session.methods or (bool(factors_of(user)) and is_proved(session))


def plain_email(email: str) -> str:
    """Return an address as it is kept and compared: people do not mind capitals in their own."""
    return email.strip().lower()


def check_email(email: str, name: str) -> list[Problem]:
    """Return what is wrong with an address and a name."""
    problems = []
    if len(email) > _MAX_EMAIL_CHARS or not _EMAIL.fullmatch(email):
        message = f"{email[:80]!r} is no address of mail"
        problems.append(Problem("/email", ProblemCode.WRONG_TYPE, message, "name@example.com"))
    if len(name) > _MAX_NAME_CHARS or not (name.isprintable() or not name):
        message = f"{len(name)} characters; {_MAX_NAME_CHARS} printable ones are kept"
        problems.append(Problem("/name", ProblemCode.OUT_OF_RANGE, message))
    return problems


def check_roles(roles: Iterable[Binding | RoleInput]) -> list[Problem]:
    """Return what is wrong with roles; whether what they name is there is not looked at."""
    problems = []
    count = 0
    for count, each in enumerate(roles, 1):
        for member in ("project", "environment"):
            value = getattr(each, member)
            if value != ANYWHERE and not _NAME.fullmatch(value):
                message = f"{value[:80]!r} cannot be the key of a {member}"
                where = pointer("roles", count - 1, member)
                problems.append(Problem(where, ProblemCode.INVALID_KEY, message))
        if each.role is Role.ADMIN and each.environment != ANYWHERE:
            where = pointer("roles", count - 1, "environment")
            message = "an admin is of a whole project; a manager may be of one environment"
            problems.append(Problem(where, ProblemCode.VALUE_DISAGREES, message))
        elif each.project == ANYWHERE and each.environment != ANYWHERE:
            where = pointer("roles", count - 1, "environment")
            message = "an environment is of a project; name it"
            problems.append(Problem(where, ProblemCode.VALUE_DISAGREES, message))
    if count > MAX_BINDINGS:
        message = f"{count} roles, at most {MAX_BINDINGS} are kept"
        problems.append(Problem("/roles", ProblemCode.TOO_MANY, message))
    return problems[:MAX_BINDINGS]
