"""Settings of the control plane: one frozen dataclass, from the environment and the command line.

The names of the mission (`REDIS_URL`, `ADMIN_TOKEN`, `METRICS_PORT`) are kept; the rest is
`MATRIXFLAG_<NAME>`. Each has a row in `docs/settings.md`, which a test compares. All problems are
reported at once, by name.
"""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from control_plane.access.roles import Role
from control_plane.ldap.model import (
    LdapConfig,
    Server,
    check_dn,
    check_group_filter,
    check_template,
    check_user_filter,
    parse_directory_roles,
    parse_servers,
)
from control_plane.limits.model import MAX_LIMIT
from control_plane.networks import Network, networks
from control_plane.publishing.signing import SigningKey, parse_signing_keys
from control_plane.sso.model import (
    ALGORITHMS,
    FactorClaim,
    GroupRole,
    is_safe_url,
    parse_factor_claims,
    parse_group_roles,
)
from control_plane.store.address import parse_address
from control_plane.users.model import check_email, plain_email
from control_plane.users.policy import check_password
from control_plane.web.address import FORWARDED_HEADERS
from proxy.contract.parsers import is_loopback, number, one_of, origins, port_number, words
from proxy.contract.settings import SettingsError, boolean, read, rows, setting

__all__ = ["EVERYTHING", "FIRST_ADMIN", "Settings", "redis_address"]

FIRST_ADMIN, EVERYTHING = "first-admin", "everything"
"""What `ADMIN_TOKEN` is for."""

_MAX_FILE_BYTES = 65_536  # of secrets; eight blocks of PEM are a kilobyte


def redis_address(text: str) -> str:
    """Return the address of a Redis as it is; refuse one that no client can be made of.

    It may hold a password, so that no message quotes it: none of ours, and no library's.
    """
    parse_address(text)
    return text


def _token(text: str) -> str:
    if len(text) < 16 or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be at least 16 printable ASCII characters without spaces")
    return text


def _secrets(text: str) -> tuple[str, ...]:
    secrets = tuple(word for word in (part.strip() for part in text.split(",")) if word)
    if any(len(secret) < 32 for secret in secrets):
        raise ValueError("must have 32 characters at least, as `openssl rand -hex 32` gives")
    if len(secrets) > 4:
        raise ValueError("holds more than four secrets")
    return secrets


def _roles(text: str) -> tuple[Role, ...]:
    try:
        return tuple(Role(word.lower()) for word in words(text))
    except ValueError:
        raise ValueError(f"holds something else than {', '.join(Role)}") from None


def _public_url(text: str) -> str:
    """Return the origin of web pages that are served to people."""
    found = origins(text.rstrip("/"))
    if len(found) != 1 or found == ("*",):
        raise ValueError("is not one address like https://flags.example.com")
    parts = urlsplit(found[0])
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError(
            "is not https, without which browsers keep no passkeys, and no login is safe"
        )
    return found[0]


def _issuer(text: str) -> str:
    """Return a provider's issuer as it is: it is compared as it stands."""
    if not is_safe_url(text) or "?" in text or "#" in text:
        raise ValueError("is not an address like https://login.example.com, https but on loopback")
    return text


def _algorithms(text: str) -> tuple[str, ...]:
    found = words(text)
    if not found or not set(found) <= set(ALGORITHMS):
        raise ValueError(f"holds something else than {', '.join(ALGORITHMS)}")
    return found


def _attribute(text: str) -> str:
    """Return the name of an attribute."""
    if not text.isascii() or not text.replace("-", "").isalnum():
        raise ValueError("is not the name of an attribute, as uid")
    return text


def _attributes(text: str) -> tuple[str, ...]:
    return tuple(_attribute(word) for word in words(text))


@dataclass(frozen=True)
class Settings:
    """What `matrixflag control-plane` can be told."""

    host: str = setting("127.0.0.1", "Address the API listens on.")
    port: int = setting(8000, "Port of the API; 0 takes any free one.", parse=port_number)
    metrics_host: str = setting("127.0.0.1", "Address the metrics listen on.")
    metrics_port: int = setting(
        8001, "Port of /metrics; 0 takes any free one.", parse=port_number, env="METRICS_PORT"
    )
    redis_url: str = setting(
        "redis://localhost:6379",
        "Redis with the definitions: a server, Sentinels (redis+sentinel://) or a Cluster "
        "(redis+cluster://); docs/redis.md has the forms.",
        parse=redis_address,
        env="REDIS_URL",
        secret=True,
    )
    exposures_redis_url: str = setting(
        "",
        "Redis with all that sidecars report, which is more; that of the definitions if empty.",
        parse=redis_address,
        env="EXPOSURES_REDIS_URL",
        secret=True,
    )
    redis_timeout_s: float = setting(
        2.0,
        "Longest wait for an answer of Redis, then the caller gets 503; 30 for changes of "
        "megabytes.",
        parse=number(float, 0.001, 3600.0),
    )
    redis_connect_timeout_s: float = setting(
        1.0, "Longest wait for a connection to Redis.", parse=number(float, 0.001, 3600.0)
    )
    redis_max_connections: int = setting(
        64,
        "Connections to each server of Redis at most; further requests wait.",
        parse=number(int, 1, 100_000),
    )
    redis_retries: int = setting(
        3,
        "How often a command is sent again whose connection broke, or that met a server that is "
        "not the master; one that got no answer is not.",
        parse=number(int, 0, 100),
    )
    redis_backoff_s: float = setting(
        0.2,
        "Longest pause before a command is sent again; the first is a tenth of it.",
        parse=number(float, 0.001, 60.0),
    )
    redis_wait_replicas: int = setting(
        0,
        "Replicas that must have a write before it is answered, so that it survives a fail-over; "
        "a write that too few of them have in time is answered 503.",
        parse=number(int, 0, 10),
    )
    redis_wait_s: float = setting(
        0.5,
        "Longest wait for these replicas; below MATRIXFLAG_REDIS_TIMEOUT_S.",
        parse=number(float, 0.001, 60.0),
    )
    claim_after_s: float = setting(
        60.0,
        "After so long, reports that a replica took to count and did not finish are another's.",
        parse=number(float, 0.1, 3600.0),
    )
    admin_token: str = setting(
        "",
        "Token that makes the first administrator, and nothing else; not needed once there is one.",
        parse=_token,
        env="ADMIN_TOKEN",
        secret=True,
    )
    admin_token_use: str = setting(
        FIRST_ADMIN,
        "What that token is for: first-admin, or everything, for the time in which no "
        "administrator can get in.",
        parse=one_of(FIRST_ADMIN, EVERYTHING),
    )
    signing_keys: tuple[SigningKey, ...] = setting(
        (),
        "Private keys, by commas, that sign snapshots; two while one takes the place of another.",
        parse=parse_signing_keys,
        secret=True,
    )
    signing_keys_file: Path | None = setting(
        None, "File that holds these private keys, one a line, or PEM.", parse=Path
    )
    fleet_missing_s: float = setting(
        300.0,
        "A sidecar that was silent for so long is missing: it tells what it serves "
        "each half minute.",
        parse=number(float, 1.0, 1800.0),
    )
    secret_key: tuple[str, ...] = setting(
        (),
        "Secret, of 32 characters or more, that sessions are signed with; two, by commas, while "
        "one takes the place of another: the first signs. Nobody can log in without it.",
        parse=_secrets,
        env="SECRET_KEY",
        secret=True,
    )
    secret_key_file: Path | None = setting(
        None, "File that holds this secret.", parse=Path, env="SECRET_KEY_FILE"
    )
    admin_email: str = setting(
        "", "Address of the first administrator, who is made when there are no users.", parse=str
    )
    admin_password: str = setting(
        "", "Password of the first administrator.", parse=str, secret=True
    )
    admin_password_file: Path | None = setting(None, "File that holds this password.", parse=Path)
    session_days: float = setting(
        30.0, "Days after which a session ends in any case.", parse=number(float, 0.01, 3650.0)
    )
    session_idle_days: float = setting(
        7.0, "Days without use after which a session ends.", parse=number(float, 0.01, 3650.0)
    )
    require_second_factor: tuple[Role, ...] = setting(
        (),
        "Roles, by commas, whose holders need a second factor: without one they can set one up, "
        "and nothing else.",
        parse=_roles,
    )
    public_url: str = setting(
        "",
        "Address at which people reach this control plane, as https://flags.example.com: passkeys "
        "are made for its host, and a provider of identities sends browsers back there. Without it "
        "there are neither.",
        parse=_public_url,
    )
    oidc_issuer: str = setting(
        "",
        "Provider of identities that people log in at: its issuer, to the letter. docs/sso.md.",
        parse=_issuer,
    )
    oidc_client_id: str = setting("", "What the provider calls this control plane.", parse=str)
    oidc_client_secret: str = setting(
        "", "Secret of that client; none for a public one.", parse=str, secret=True
    )
    oidc_client_secret_file: Path | None = setting(
        None, "File that holds the client's secret.", parse=Path
    )
    oidc_scopes: str = setting(
        "openid email profile", "What the provider is asked for, by spaces.", parse=str
    )
    oidc_groups_claim: str = setting(
        "groups", "Claim with the groups of a person; by dots within objects.", parse=str
    )
    oidc_roles: tuple[GroupRole, ...] = setting(
        (),
        "Roles of groups, by commas: flag-admins=admin,shop=manager:shop/staging. Whose groups "
        "have none is not let in.",
        parse=parse_group_roles,
    )
    oidc_algorithms: tuple[str, ...] = setting(
        tuple(name for name in ALGORITHMS if not name.startswith("HS")),
        "How the provider may sign, by commas.",
        parse=_algorithms,
    )
    oidc_second_factor: tuple[FactorClaim, ...] = setting(
        (),
        "What an ID token says of who showed a second factor at the provider, by commas: "
        "amr=mfa,acr=phr. For roles that need one it does then; the provider's word does not "
        "count by default.",
        parse=parse_factor_claims,
    )
    ldap_url: tuple[Server, ...] = setting(
        (),
        "LDAP servers that know passwords, by commas, as ldaps://ldap.example.com; the next one is "
        "asked where one does not answer. docs/sso.md.",
        parse=parse_servers,
    )
    ldap_start_tls: bool = setting(
        False, "Whether ldap:// becomes TLS before anything is said.", parse=boolean
    )
    ldap_allow_plaintext: bool = setting(
        False,
        "Whether ldap:// without it is taken for other machines too, so that the network reads "
        "every password.",
        parse=boolean,
    )
    ldap_ca_file: Path | None = setting(
        None, "Authorities (PEM) that alone are trusted; those of the machine if none.", parse=Path
    )
    ldap_bind_dn: str = setting(
        "", "Who searches for people, as cn=matrix-flag,ou=services,dc=example,dc=com.", parse=str
    )
    ldap_bind_password: str = setting("", "Password of who searches.", parse=str, secret=True)
    ldap_bind_password_file: Path | None = setting(
        None, "File that holds the password of who searches.", parse=Path
    )
    ldap_bind_as: str = setting(
        "",
        "Instead of searching as somebody: the name that people log in with there, as "
        "{name}@corp.example.com or uid={name},ou=people,dc=example,dc=com.",
        parse=check_template,
    )
    ldap_base_dn: str = setting("", "Below what people are searched for.", parse=check_dn)
    ldap_user_filter: str = setting(
        "(|(uid={name})(mail={name}))",
        "How they are found by {name}, which they type; nobody else is asked for a password.",
        parse=check_user_filter,
    )
    ldap_id_attribute: str = setting(
        "entryUUID",
        "Attribute that tells who somebody is, for ever: objectGUID of Active Directory, "
        "ipaUniqueID of FreeIPA.",
        parse=_attribute,
    )
    ldap_login_attribute: str = setting(
        "uid", "Attribute that {login} of the group filter stands for.", parse=_attribute
    )
    ldap_email_attributes: tuple[str, ...] = setting(
        ("mail",), "Attributes, by commas, of which the first has their address.", parse=_attributes
    )
    ldap_name_attributes: tuple[str, ...] = setting(
        ("displayName", "cn"), "Attributes of which the first has their name.", parse=_attributes
    )
    ldap_group_base_dn: str = setting(
        "", "Below what groups count; below MATRIXFLAG_LDAP_BASE_DN if empty.", parse=check_dn
    )
    ldap_group_filter: str = setting(
        "(|(member={dn})(uniqueMember={dn})(memberUid={login}))",
        "How the groups of {dn}, or of {login}, are found.",
        parse=check_group_filter,
    )
    ldap_member_of_attribute: str = setting(
        "",
        "Attribute of people with their groups, as memberOf; then none are searched for.",
        parse=_attribute,
    )
    ldap_nested_groups: bool = setting(
        False, "Whether the groups of groups count, ten levels of them.", parse=boolean
    )
    ldap_roles: tuple[GroupRole, ...] = setting(
        (),
        "Roles of groups: flag-admins=admin,shop=manager:shop/staging, or by whole names, with "
        "semicolons: cn=flag-admins,ou=groups,dc=example,dc=com=admin;... Whose groups have none "
        "is not let in.",
        parse=parse_directory_roles,
    )
    ldap_trust_email: bool = setting(
        False,
        "Whether nobody can write their own address there, so that it leads to the account that "
        "has it here.",
        parse=boolean,
    )
    ldap_timeout_s: float = setting(
        5.0,
        "Longest wait for all that a login asks, of all servers together; then it is 503.",
        parse=number(float, 0.1, 60.0),
    )
    ldap_connections: int = setting(
        4, "Logins that talk to LDAP servers at once; some more wait.", parse=number(int, 1, 64)
    )
    access_max_age_s: float = setting(
        0.0,
        "Longest time without Redis for which people and service keys are let in: what others have "
        "revoked meanwhile is not known here. 0 is for as long as it lasts. Sidecars always are.",
        parse=number(float, 0.0, 86_400.0),
    )
    service_key_max_days: int = setting(
        0,
        "Days that a service key may live, from when it was made; those that do not say so end "
        "then. 0 is for ever. Keys that are there stay as they are.",
        parse=number(int, 0, 3_650),
    )
    audit_days: int = setting(
        400,
        "Days that entries of the audit log are kept, 100,000 a project at most; what is older "
        "makes way for a checkpoint, signed by these keys.",
        parse=number(int, 1, 36_500),
    )
    cors_origins: tuple[str, ...] = setting(
        (),
        "Origins, comma-separated, whose pages may call the API; none by default.",
        parse=origins,
    )
    hsts_s: int = setting(
        0,
        "Seconds for which browsers that came by https shall come by nothing else; 0 says nothing. "
        "31536000 where this name is served by https alone.",
        parse=number(int, 0, 63_072_000),
    )
    trusted_proxies: tuple[Network, ...] = setting(
        (),
        "Networks, comma-separated, of the proxies that say where a request comes from; others are "
        "not believed.",
        parse=networks,
    )
    forwarded_header: str = setting(
        "x-forwarded-for",
        "The header they say it in, x-forwarded-for or forwarded; the other one is not read.",
        parse=one_of(*FORWARDED_HEADERS),
    )
    allowed_networks: tuple[Network, ...] = setting(
        (),
        "Networks, comma-separated, that requests are taken from; from everywhere when empty.",
        parse=networks,
    )
    denied_networks: tuple[Network, ...] = setting(
        (),
        "Networks, comma-separated, that none are taken from, whatever is allowed.",
        parse=networks,
    )
    rate_limit_read: int = setting(
        60_000,
        "Requests a minute of one key or person that read; 0 is no limit.",
        parse=number(int, 0, MAX_LIMIT),
    )
    rate_limit_write: int = setting(
        30_000,
        "Requests a minute of one key or person that change something; 0 is no limit.",
        parse=number(int, 0, MAX_LIMIT),
    )
    rate_limit_login: int = setting(
        300,
        "Requests a minute from one address that log in or go on with a session; 0 is no limit.",
        parse=number(int, 0, MAX_LIMIT),
    )
    rate_limit_address: int = setting(
        120_000,
        "Requests a minute from one address, of all kinds and callers together; 0 is no limit.",
        parse=number(int, 0, MAX_LIMIT),
    )
    rate_limit_credentials: int = setting(
        600,
        "Requests a minute from one address with a wrong credential that are answered 401, at each "
        "replica; others are 429, and good ones are not counted. 0 is no limit.",
        parse=number(int, 0, MAX_LIMIT),
    )
    rate_limit_wait_s: float = setting(
        0.1,
        "Longest wait for Redis to tell whether a request is within its limits.",
        parse=number(float, 0.001, 10.0),
    )
    rate_limit_unknown: str = setting(
        "allow",
        "What becomes of a request when Redis does not tell: allow, or refuse, which is 503.",
        parse=one_of("allow", "refuse"),
    )
    max_body_bytes: int = setting(
        4 * 1024 * 1024,
        "Largest body that is read, after decompression.",
        parse=number(int, 1000, 32 * 1024 * 1024),
    )
    body_timeout_s: float = setting(
        30.0, "Longest wait for the whole of a request's body.", parse=number(float, 0.001, 3600.0)
    )
    keepalive_timeout_s: float = setting(
        75.0,
        "How long an idle connection is kept; above the 60 s at which clients and balancers poll.",
        parse=number(float, 0.001, 3600.0),
    )
    shutdown_timeout_s: float = setting(
        10.0,
        "How long requests under way may take to finish after SIGTERM.",
        parse=number(float, 0.001, 3600.0),
    )
    sync_max_streams: int = setting(
        10_000,
        "Streams of sidecars at a time; further ones get 503. Each is an open file.",
        parse=number(int, 1, 1_000_000),
    )
    sync_streams_per_s: int = setting(
        500,
        "Streams of sidecars that may begin in a second, so that a fleet that comes back does not "
        "hold up the rest; further ones get 503 and another time to come again.",
        parse=number(int, 1, 1_000_000),
    )
    sync_stream_life_s: float = setting(
        3600.0,
        "After about so long a stream is ended, and its sidecar opens another, so that streams "
        "spread over replicas; 0 for never.",
        parse=number(float, 0.0, 31_536_000.0),
    )
    log_level: str = setting(
        "info", "debug, info, warning or error.", parse=one_of("debug", "info", "warning", "error")
    )
    log_format: str = setting(
        "text", "text or json, one line each, on stderr.", parse=one_of("text", "json")
    )
    ready_file: str = setting(
        "", "File that gets the bound addresses as JSON once the API listens."
    )
    dev: bool = False
    """Requests from this machine without a credential act as administrator. Set by `matrixflag dev`
    alone: there is no variable and no flag for it."""

    def __post_init__(self) -> None:
        problems = []
        logins = self.secret_key or self.secret_key_file
        if not (self.admin_token or logins) and not is_loopback(self.host):
            problems.append(
                f"MATRIXFLAG_HOST: {self.host} is reachable from other machines, and nobody could "
                "do anything there; set SECRET_KEY, and ADMIN_TOKEN for the first administrator, "
                "or listen on 127.0.0.1"
            )
        if self.admin_token_use == EVERYTHING and not self.admin_token:
            problems.append(f"MATRIXFLAG_ADMIN_TOKEN_USE: {EVERYTHING} needs ADMIN_TOKEN")
        if self.dev and not is_loopback(self.host):
            problems.append("MATRIXFLAG_HOST: in dev mode only loopback is listened on")
        if self.redis_wait_replicas and self.redis_wait_s >= self.redis_timeout_s:
            problems.append(
                f"MATRIXFLAG_REDIS_WAIT_S: {self.redis_wait_s:g} is not below "
                f"MATRIXFLAG_REDIS_TIMEOUT_S, {self.redis_timeout_s:g}"
            )
        if self.port and self.port == self.metrics_port:
            problems.append(f"METRICS_PORT: {self.port} is MATRIXFLAG_PORT too")
        if bool(self.admin_email) != bool(self.admin_password or self.admin_password_file):
            problems.append("MATRIXFLAG_ADMIN_EMAIL and MATRIXFLAG_ADMIN_PASSWORD go together")
        if self.admin_email and not self.admin_password_file:
            named = plain_email(self.admin_email)
            wrong = check_email(named, "") + check_password(self.admin_password, named)
            problems += [
                f"MATRIXFLAG_ADMIN_{each.pointer[1:].upper()}: {each.message}" for each in wrong
            ]
        problems += self._problems_of_oidc()
        problems += self._problems_of_ldap()
        variables = {row.field: row.env for row in rows(type(self))}
        problems += [
            f"{variables[name]} and {_file_flag(name)} exclude each other"
            for name in _IN_FILES
            if getattr(self, name) and getattr(self, f"{name}_file") is not None
        ]
        if problems:
            raise SettingsError(problems)

    def _problems_of_oidc(self) -> list[str]:
        name = "MATRIXFLAG_OIDC_"
        if not self.oidc_issuer:
            return [f"{name}CLIENT_ID: needs {name}ISSUER"] if self.oidc_client_id else []
        needed = {
            f"{name}CLIENT_ID": self.oidc_client_id,
            f"{name}ROLES": self.oidc_roles,
            "MATRIXFLAG_PUBLIC_URL": self.public_url,
            "SECRET_KEY": self.secret_key or self.secret_key_file,
        }
        problems = [f"{name}ISSUER: needs {each}" for each, value in needed.items() if not value]
        if "openid" not in self.oidc_scopes.split():
            problems.append(f"{name}SCOPES: must hold openid")
        secret = self.oidc_client_secret or self.oidc_client_secret_file
        if any(each.startswith("HS") for each in self.oidc_algorithms) and not secret:
            problems.append(f"{name}ALGORITHMS: HS... needs {name}CLIENT_SECRET")
        return problems

    def _problems_of_ldap(self) -> list[str]:
        name = "MATRIXFLAG_LDAP_"
        if not self.ldap_url:
            given = {"BASE_DN": self.ldap_base_dn, "ROLES": self.ldap_roles}
            return [f"{name}{each}: needs {name}URL" for each, value in given.items() if value]
        needed = {
            f"{name}BASE_DN": self.ldap_base_dn,
            f"{name}ROLES": self.ldap_roles,
            "SECRET_KEY": self.secret_key or self.secret_key_file,
        }
        problems = [f"{name}URL: needs {each}" for each, value in needed.items() if not value]
        for server in self.ldap_url:
            is_safe = server.is_tls or self.ldap_start_tls or self.ldap_allow_plaintext
            if not is_safe and not is_loopback(server.host):
                problems.append(
                    f"{name}URL: {server} would send passwords that the network can read; use "
                    f"ldaps://, or {name}START_TLS=true"
                )
            if server.is_tls and self.ldap_start_tls:
                problems.append(f"{name}START_TLS: {server} is TLS already; it is for ldap://")
        has_password = bool(self.ldap_bind_password) or self.ldap_bind_password_file is not None
        if bool(self.ldap_bind_dn) != has_password:
            problems.append(f"{name}BIND_DN and {name}BIND_PASSWORD go together")
        if self.ldap_bind_dn and self.ldap_bind_as:
            problems.append(f"{name}BIND_DN and {name}BIND_AS exclude each other")
        return problems

    def ldap(self) -> LdapConfig | None:
        """Return what is configured of LDAP, None when nothing is."""
        if not self.ldap_url:
            return None
        return LdapConfig(
            servers=self.ldap_url,
            start_tls=self.ldap_start_tls,
            ca_file=None if self.ldap_ca_file is None else str(self.ldap_ca_file),
            bind_dn=self.ldap_bind_dn,
            bind_password=self.ldap_bind_password,
            bind_as=self.ldap_bind_as,
            base_dn=self.ldap_base_dn,
            user_filter=self.ldap_user_filter,
            id_attribute=self.ldap_id_attribute,
            login_attribute=self.ldap_login_attribute,
            email_attributes=self.ldap_email_attributes,
            name_attributes=self.ldap_name_attributes,
            group_base_dn=self.ldap_group_base_dn,
            group_filter=self.ldap_group_filter,
            member_of_attribute=self.ldap_member_of_attribute,
            nested_groups=self.ldap_nested_groups,
            trust_email=self.ldap_trust_email,
            timeout_s=self.ldap_timeout_s,
            connections=self.ldap_connections,
        )

    @classmethod
    def load(cls, environ: Mapping[str, str], args: Mapping[str, str | None]) -> Self:
        """Return the settings; keys and secrets come from their files where these are named.

        Raises:
            SettingsError: with every problem.
        """
        return read(cls, environ, args, _with_files)


_IN_FILES: dict[str, Callable[[str], Any]] = {
    "signing_keys": parse_signing_keys,
    "secret_key": _secrets,
    "admin_password": str,
    "oidc_client_secret": str.strip,
    "ldap_bind_password": str,
}
"""What can stand in a file, which `<name>_file` names, and what is made of its text."""


def _file_flag(name: str) -> str:
    return f"--{name.replace('_', '-')}-file"


def _with_files(values: dict[str, Any]) -> list[str]:
    """Put what is in files in the place of their paths; return what is wrong with them."""
    problems = []
    for name, parse in _IN_FILES.items():
        path = values.get(f"{name}_file")
        if path is None or values.get(name):
            continue
        try:
            values[name] = parse(_text_in(path))
        except ValueError as error:
            problems.append(f"{_file_flag(name)} {path}: {error}")
        else:
            del values[f"{name}_file"]
    if (path := values.get("ldap_ca_file")) is not None:
        try:
            ssl.create_default_context(cafile=path)
        except ssl.SSLError:
            problems.append(f"--ldap-ca-file {path}: does not hold certificates (PEM)")
        except OSError as error:
            problems.append(f"--ldap-ca-file {path}: {error.strerror}")
    return problems


def _text_in(path: Path) -> str:
    """Return what a file of a secret holds, without the end of its last line.

    Raises:
        ValueError: it cannot be read, or holds nothing.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES).decode().rstrip("\r\n")
    except OSError as error:
        raise ValueError(error.strerror) from None
    except UnicodeDecodeError:
        raise ValueError("does not hold text") from None
    if not text.strip():
        raise ValueError("is empty")
    return text
