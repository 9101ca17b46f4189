"""Which variables of the environment are ours, so that one that is misspelt is told. Pure.

A misspelt variable changes nothing and says nothing, which is how limits are believed to be set. It
is a warning and no error, because an environment is shared: by the two programs, by commands, by
whatever else somebody calls MATRIXFLAG_SOMETHING.

Kubernetes puts variables of each Service into the containers of its namespace: for one that is
called `matrixflag-admin` there is `MATRIXFLAG_ADMIN_PORT=tcp://10.0.0.7:8014`. These are no
settings of ours (`is_service_link`), whatever they are called: they are neither read nor told.

`NAMES` must change together with the settings of all programs; `tests/proxy/contract` compares.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches

__all__ = ["NAMES", "PREFIX", "is_service_link", "unknown_variables"]

PREFIX = "MATRIXFLAG_"

NAMES = frozenset(
    (
        "ADMIN_TOKEN",
        "EXPOSURES_REDIS_URL",
        "MATRIXFLAG_ACCESS_MAX_AGE_S",
        "MATRIXFLAG_ADMIN_EMAIL",
        "MATRIXFLAG_ADMIN_HOST",
        "MATRIXFLAG_ADMIN_PASSWORD",
        "MATRIXFLAG_ADMIN_PASSWORD_FILE",
        "MATRIXFLAG_ADMIN_PORT",
        "MATRIXFLAG_ADMIN_TOKEN_USE",
        "MATRIXFLAG_ALLOWED_NETWORKS",
        "MATRIXFLAG_ALLOW_ANONYMOUS",
        "MATRIXFLAG_APPLICATION",
        "MATRIXFLAG_APPLICATION_VERSION",
        "MATRIXFLAG_AUDIT_DAYS",
        "MATRIXFLAG_BODY_TIMEOUT_S",
        "MATRIXFLAG_CACHE_DIR",
        "MATRIXFLAG_CLAIM_AFTER_S",
        "MATRIXFLAG_CONTROL_PLANE_URL",
        "MATRIXFLAG_CORS_HEADERS",
        "MATRIXFLAG_CORS_ORIGINS",
        "MATRIXFLAG_DATA_DIR",
        "MATRIXFLAG_DENIED_NETWORKS",
        "MATRIXFLAG_DRAIN_S",
        "MATRIXFLAG_ENVIRONMENT",
        "MATRIXFLAG_EVENTS_INTERVAL_S",
        "MATRIXFLAG_EVENTS_MAX_PENDING_BYTES",
        "MATRIXFLAG_EVENTS_SPOOL_MAX_BYTES",
        "MATRIXFLAG_EVENT_STREAMS",
        "MATRIXFLAG_EXPOSURES_INTERVAL_S",
        "MATRIXFLAG_EXPOSURES_MAX_PENDING",
        "MATRIXFLAG_EXPOSURES_SPOOL_MAX_BYTES",
        "MATRIXFLAG_FIRST_SNAPSHOT_WAIT_S",
        "MATRIXFLAG_FLAGD_FRACTIONAL",
        "MATRIXFLAG_FLEET_MISSING_S",
        "MATRIXFLAG_FORWARDED_HEADER",
        "MATRIXFLAG_FRESHNESS_HEADERS",
        "MATRIXFLAG_HOST",
        "MATRIXFLAG_HSTS_S",
        "MATRIXFLAG_INSTANCE",
        "MATRIXFLAG_KEEPALIVE_TIMEOUT_S",
        "MATRIXFLAG_KEY",
        "MATRIXFLAG_KEY_FILE",
        "MATRIXFLAG_LABELS",
        "MATRIXFLAG_LDAP_ALLOW_PLAINTEXT",
        "MATRIXFLAG_LDAP_BASE_DN",
        "MATRIXFLAG_LDAP_BIND_AS",
        "MATRIXFLAG_LDAP_BIND_DN",
        "MATRIXFLAG_LDAP_BIND_PASSWORD",
        "MATRIXFLAG_LDAP_BIND_PASSWORD_FILE",
        "MATRIXFLAG_LDAP_CA_FILE",
        "MATRIXFLAG_LDAP_CONNECTIONS",
        "MATRIXFLAG_LDAP_EMAIL_ATTRIBUTES",
        "MATRIXFLAG_LDAP_GROUP_BASE_DN",
        "MATRIXFLAG_LDAP_GROUP_FILTER",
        "MATRIXFLAG_LDAP_ID_ATTRIBUTE",
        "MATRIXFLAG_LDAP_LOGIN_ATTRIBUTE",
        "MATRIXFLAG_LDAP_MEMBER_OF_ATTRIBUTE",
        "MATRIXFLAG_LDAP_NAME_ATTRIBUTES",
        "MATRIXFLAG_LDAP_NESTED_GROUPS",
        "MATRIXFLAG_LDAP_ROLES",
        "MATRIXFLAG_LDAP_START_TLS",
        "MATRIXFLAG_LDAP_TIMEOUT_S",
        "MATRIXFLAG_LDAP_TRUST_EMAIL",
        "MATRIXFLAG_LDAP_URL",
        "MATRIXFLAG_LDAP_USER_FILTER",
        "MATRIXFLAG_LOG_FORMAT",
        "MATRIXFLAG_LOG_LEVEL",
        "MATRIXFLAG_MAX_AGE_S",
        "MATRIXFLAG_MAX_BODY_BYTES",
        "MATRIXFLAG_MAX_CONNECTIONS",
        "MATRIXFLAG_MAX_STREAMS",
        "MATRIXFLAG_METRICS_HOST",
        "MATRIXFLAG_OIDC_ALGORITHMS",
        "MATRIXFLAG_OIDC_CLIENT_ID",
        "MATRIXFLAG_OIDC_CLIENT_SECRET",
        "MATRIXFLAG_OIDC_CLIENT_SECRET_FILE",
        "MATRIXFLAG_OIDC_GROUPS_CLAIM",
        "MATRIXFLAG_OIDC_ISSUER",
        "MATRIXFLAG_OIDC_ROLES",
        "MATRIXFLAG_OIDC_SCOPES",
        "MATRIXFLAG_OIDC_SECOND_FACTOR",
        "MATRIXFLAG_PORT",
        "MATRIXFLAG_PUBLIC_URL",
        "MATRIXFLAG_RATE_LIMIT",
        "MATRIXFLAG_RATE_LIMIT_ADDRESS",
        "MATRIXFLAG_RATE_LIMIT_CREDENTIALS",
        "MATRIXFLAG_RATE_LIMIT_LOGIN",
        "MATRIXFLAG_RATE_LIMIT_READ",
        "MATRIXFLAG_RATE_LIMIT_UNKNOWN",
        "MATRIXFLAG_RATE_LIMIT_WAIT_S",
        "MATRIXFLAG_RATE_LIMIT_WRITE",
        "MATRIXFLAG_READY_FILE",
        "MATRIXFLAG_REDIS_BACKOFF_S",
        "MATRIXFLAG_REDIS_CONNECT_TIMEOUT_S",
        "MATRIXFLAG_REDIS_MAX_CONNECTIONS",
        "MATRIXFLAG_REDIS_RETRIES",
        "MATRIXFLAG_REDIS_TIMEOUT_S",
        "MATRIXFLAG_REDIS_WAIT_REPLICAS",
        "MATRIXFLAG_REDIS_WAIT_S",
        "MATRIXFLAG_REQUIRE_SECOND_FACTOR",
        "MATRIXFLAG_SERVICE_KEY_MAX_DAYS",
        "MATRIXFLAG_SESSION_DAYS",
        "MATRIXFLAG_SESSION_IDLE_DAYS",
        "MATRIXFLAG_SHUTDOWN_TIMEOUT_S",
        "MATRIXFLAG_SIDECAR_PORT",
        "MATRIXFLAG_SIGNING_KEYS",
        "MATRIXFLAG_SIGNING_KEYS_FILE",
        "MATRIXFLAG_SNAPSHOT",
        "MATRIXFLAG_STANDING_INTERVAL_S",
        "MATRIXFLAG_STARTUP_GRACE_S",
        "MATRIXFLAG_STARTUP_POLICY",
        "MATRIXFLAG_STREAMS_HEARTBEAT_S",
        "MATRIXFLAG_STREAMS_PREFIX",
        "MATRIXFLAG_SYNC_MAX_STREAMS",
        "MATRIXFLAG_SYNC_STREAMS_PER_S",
        "MATRIXFLAG_SYNC_STREAM_LIFE_S",
        "MATRIXFLAG_TRUSTED_PROXIES",
        "MATRIXFLAG_UNIT_HASH_KEY",
        "MATRIXFLAG_UNIX",
        "MATRIXFLAG_UNREADY_AFTER_S",
        "MATRIXFLAG_USAGE_INTERVAL_S",
        "MATRIXFLAG_USAGE_SPOOL_MAX_BYTES",
        "MATRIXFLAG_VERIFY_ENVIRONMENT",
        "MATRIXFLAG_VERIFY_KEYS",
        "MATRIXFLAG_VERIFY_KEYS_FILE",
        "METRICS_PORT",
        "REDIS_URL",
        "SECRET_KEY",
        "SECRET_KEY_FILE",
    )
)
"""What the settings of the sidecar, the control plane and `matrixflag dev` are read from."""

_COMMANDS = frozenset(("MATRIXFLAG_TOKEN", "MATRIXFLAG_URL"))
"""What commands read that ask a control plane."""

_TESTS = re.compile(PREFIX + r"(SUITES|VECTORS|(CHAOS|FUZZ)(_[A-Z]+)?)")
"""What tests of ours read: developers have them in their shells."""

_BY_BARE_NAME = {name.removeprefix(PREFIX): name for name in sorted(NAMES)}

_LINK_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+")
_LINK_NAME = re.compile(
    r"\w+?_(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_MAX_TOLD = 20
_MAX_CHARS = 80


def is_service_link(name: str, environ: Mapping[str, str]) -> bool:
    """Return whether Kubernetes made a variable, for a Service of the namespace."""
    if name.endswith("_PORT") and _LINK_ADDRESS.fullmatch(environ[name]):
        return f"{name.removesuffix('_PORT')}_SERVICE_HOST" in environ
    return name not in NAMES and _LINK_NAME.fullmatch(name) is not None


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each variable that looks like a setting and is none, 20 at most.

    What it was set to is not in it: that may be a secret.
    """
    known = NAMES | _COMMANDS
    unknown = sorted(
        name
        for name in environ
        if name.startswith(PREFIX)
        and name not in known
        and not _TESTS.fullmatch(name)
        and not is_service_link(name, environ)
    )
    told = [f"{name[:_MAX_CHARS]!a} is no setting{_meant(name)}" for name in unknown[:_MAX_TOLD]]
    more = len(unknown) - _MAX_TOLD
    return told if more <= 0 else [*told, f"{more} more variables are no settings"]


def _meant(name: str) -> str:
    bare = name.removeprefix(PREFIX)[:_MAX_CHARS].upper()
    nearest = get_close_matches(bare, _BY_BARE_NAME, n=1)
    return f"; did you mean {_BY_BARE_NAME[nearest[0]]}?" if nearest else ""
