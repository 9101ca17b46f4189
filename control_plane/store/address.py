"""Where a Redis is: from the text of a setting to what a connection needs. Connects to nothing.

    redis://[[USER]:PASSWORD@]HOST[:6379][/DB]                         one server
    unix:///path/to/socket[?db=DB]                                     one server
    redis+sentinel://[[USER]:PASSWORD@]HOST[:26379],HOST.../NAME[/DB]  who Sentinels call NAME
    redis+cluster://[[USER]:PASSWORD@]HOST[:6379],HOST...              a Cluster, by some nodes

`rediss` in the place of `redis` is TLS, to the Sentinels as well. After `?` stand options of the
client library, `ssl_ca_certs` for one; `sentinel_username` and `sentinel_password` are for the
Sentinels, which are asked without a password otherwise: the one before the `@` is the servers'.

An address may hold passwords, so that no message quotes any of it but the names of options.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlencode

from redis.asyncio.connection import ConnectionPool, parse_url

__all__ = ["Address", "RedisAddress", "Topology", "parse_address"]

Topology = Literal["standalone", "sentinel", "cluster"]

Address = tuple[str, int]
"""A host and a port. Of a unix socket, its path and 0."""

_KINDS: dict[str, Topology] = {"": "standalone", "sentinel": "sentinel", "cluster": "cluster"}
_PORTS = {"standalone": 6379, "cluster": 6379, "sentinel": 26379}
_OF_SENTINELS = {"sentinel_username": "username", "sentinel_password": "password"}
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.%]+)\]|(?P<name>[^\s:,\[\]@/?#]+))(?::(?P<port>\d*))?")

_LIKE = (
    "must be like redis://:PASSWORD@HOST:6379/0, redis+sentinel://:PASSWORD@HOST:26379,HOST:26379"
    "/NAME or redis+cluster://:PASSWORD@HOST:6379,HOST:6379; in a password / is written %2F, @ %40"
)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A Redis of any kind.

    `nodes` are the server, the Sentinels, or nodes of the Cluster to begin with. `options` are what
    each connection to a server takes, `sentinel_options` what each to a Sentinel takes.
    """

    topology: Topology
    nodes: tuple[Address, ...]
    service: str = ""
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    sentinel_options: dict[str, Any] = field(default_factory=dict, repr=False)


def parse_address(text: str) -> RedisAddress:
    """Return what an address says.

    Raises:
        ValueError: with all that is wrong with it, quoting none of it.
    """
    scheme, separator, rest = text.partition("://")
    tls, plus, kind = scheme.lower().partition("+")
    if scheme.lower() == "unix" and separator:
        return _unix(text)
    if not separator or tls not in ("redis", "rediss") or kind not in _KINDS or (plus and not kind):
        raise ValueError(
            "must start with redis://, rediss://, unix://, redis+sentinel://, rediss+sentinel://, "
            "redis+cluster:// or rediss+cluster://"
        )
    topology = _KINDS[kind]
    place, _, query = rest.partition("?")
    authority, _, path = place.partition("/")
    user, _, hosts = authority.rpartition("@")
    problems: list[str] = []
    nodes = _nodes(hosts, topology, problems)
    service, database = _path(path, topology, problems)
    options, sentinels = _options(tls, user, database, query, topology, problems)
    if problems:
        raise ValueError("; ".join(dict.fromkeys(problems)))
    return RedisAddress(topology, nodes, service, options, sentinels)


def _unix(text: str) -> RedisAddress:
    try:
        # connects to nothing yet; the library has no types for it
        ConnectionPool.from_url(text).make_connection()  # type: ignore[no-untyped-call]
        options: dict[str, Any] = dict(parse_url(text))
    except (ValueError, TypeError):
        raise ValueError(_LIKE) from None
    path = options.pop("path", "")
    if not path:
        raise ValueError("needs the path of a socket, unix:///run/redis.sock")
    return RedisAddress("standalone", ((path, 0),), options=options)


def _nodes(hosts: str, topology: Topology, problems: list[str]) -> tuple[Address, ...]:
    found: list[Address] = []
    parts = hosts.split(",") if topology != "standalone" else [hosts]
    for part in parts:
        match = _HOST.fullmatch(part)
        if match is None:
            problems.append(_LIKE if part else "needs a host, redis://localhost:6379")
            continue
        port = int(match["port"] or _PORTS[topology])
        if not 0 < port < 65_536:
            problems.append("has a port that is not between 1 and 65535")
        found.append((match["v6"] or unquote(match["name"]), port))
    if len(set(found)) < len(found):
        problems.append("names a host and port twice")
    return tuple(found)


def _path(path: str, topology: Topology, problems: list[str]) -> tuple[str, str]:
    """Return the name of a master, and the number of a database as text, if there is one."""
    parts = path.split("/") if path else []
    service = ""
    if topology == "sentinel":
        service = unquote(parts.pop(0)) if parts else ""
        if not service:
            problems.append("needs the name the Sentinels have for the master, HOST:26379/mymaster")
    if len(parts) > 1 or (parts and parts[0] and not parts[0].isdecimal()):
        problems.append(_LIKE)
    database = parts[0] if parts else ""
    if topology == "cluster" and database.strip("0"):
        problems.append("names a database, and a Cluster has only number 0")
    return service, database


def _options(
    tls: str, user: str, database: str, query: str, topology: Topology, problems: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of connections to servers, and of those to Sentinels."""
    name, colon, password = user.partition(":")
    given = parse_qsl(query, keep_blank_values=True)
    mine = [(key, value) for key, value in given if key not in _OF_SENTINELS]
    theirs = {_OF_SENTINELS[key]: value for key, value in given if key in _OF_SENTINELS}
    if theirs and topology != "sentinel":
        problems.append("has credentials for Sentinels, but is not redis+sentinel://")
    if re.search(r"[/?#\s\[\]]", user) or not user.isascii():
        problems.append(_LIKE)
    options: dict[str, Any] = {}
    try:
        url = f"{tls}://localhost/{database}?{urlencode(mine)}"
        options = dict(parse_url(url))
        ConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError):
        problems.append(
            "has an option after ? that there is not, or with a value that it cannot be"
        )
    options.pop("host", None)
    if topology == "cluster":
        if options.get("db"):
            problems.append("names a database, and a Cluster has only number 0")
        options.pop("db", None)
    sentinels = {key: value for key, value in options.items() if key.startswith("ssl_")}
    if "connection_class" in options:
        sentinels["connection_class"] = options["connection_class"]
    if name:
        options["username"] = unquote(name)
    if colon and password:
        options["password"] = unquote(password)
    return options, sentinels | theirs
