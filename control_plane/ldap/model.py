"""What is asked of an LDAP server, as text: addresses, names (RFC 4514), filters (RFC 4515). Pure.

What people type gets into a filter or a name as a value and never as syntax: all of it that is not
a plain letter or digit is escaped. A filter of the settings says by which attributes people are
found, `(uid={name})`; an entry counts only if one of these is what was typed, by our own idea of
equal (`plain_name`). Servers have wider ones, for which `ádá` is `ada`, so that a bound on attempts
by name could be walked around.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from control_plane.sso.model import GroupRole, parse_group_roles

__all__ = [
    "METHOD",
    "NAME",
    "LdapConfig",
    "Server",
    "check_dn",
    "check_group_filter",
    "check_template",
    "check_user_filter",
    "comparisons",
    "filled",
    "filled_dn",
    "first_value",
    "group_names",
    "is_below",
    "issuer_of",
    "parse_directory_roles",
    "parse_servers",
    "plain_dn",
    "plain_name",
    "values_for",
]

METHOD = "ldap"
"""How sessions say that their person was proved."""

NAME, DN, LOGIN = "{name}", "{dn}", "{login}"
"""What stands in filters for: what was typed; the name of an entry; its login attribute."""

MAX_NAME_CHARS = 256
_MAX_SERVERS = 8
_PORTS = {"ldap": 389, "ldaps": 636}
_PLACE = re.compile(r"\{[^{}]*\}")
_ATTRIBUTE = re.compile(r"(?:[A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+)(?:;[A-Za-z0-9-]+)*")
_VALUE = re.compile(r"(?:[^()\\\x00]|\\[0-9A-Fa-f]{2})*")
_ESCAPE = re.compile(r"\\([0-9A-Fa-f]{2})|\\(.)|[^\\]", re.DOTALL)
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@._-")


class Server(NamedTuple):
    """Where an LDAP server is asked, and whether by TLS from the first byte."""

    host: str
    port: int
    is_tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'ldaps' if self.is_tls else 'ldap'}://{host}:{self.port}"


class LdapConfig(NamedTuple):
    """What the settings say. `bind_as` makes of what was typed the name to log in with; when it is
    empty, people are searched for, as `bind_dn`, or as nobody.
    """

    servers: tuple[Server, ...]
    start_tls: bool
    ca_file: str | None
    bind_dn: str
    bind_password: str
    bind_as: str
    base_dn: str
    user_filter: str
    id_attribute: str
    login_attribute: str
    email_attributes: tuple[str, ...]
    name_attributes: tuple[str, ...]
    group_base_dn: str
    group_filter: str
    member_of_attribute: str
    nested_groups: bool
    trust_email: bool
    timeout_s: float
    connections: int


class Comparison(NamedTuple):
    """One `(attribute=value)` of a filter; `is_plain` when it is of that form and no other."""

    attribute: str
    value: str
    is_plain: bool


# Addresses


def parse_servers(text: str) -> tuple[Server, ...]:
    """Return the servers of `ldaps://one, ldaps://two:1636`.

    Raises:
        ValueError: with the rest of a sentence that begins with the setting's name.
    """
    found = []
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        try:
            parts = urlsplit(part)
            port = parts.port
        except ValueError:
            raise ValueError(f"holds {part[:80]!r}, whose port is none") from None
        if "@" in parts.netloc:  # not quoted: there may be a password in it
            raise ValueError("holds an address with a user in it; that is MATRIXFLAG_LDAP_BIND_DN")
        if parts.scheme not in _PORTS or not parts.hostname or port == 0:
            raise ValueError(f"holds {part[:80]!r}, which is not like ldaps://ldap.example.com")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(f"holds {part[:80]!r}; what is searched is MATRIXFLAG_LDAP_BASE_DN")
        port = port or _PORTS[parts.scheme]
        found.append(Server(parts.hostname, port, parts.scheme == "ldaps"))
    if len(found) > _MAX_SERVERS:
        raise ValueError(f"holds more than {_MAX_SERVERS} servers")
    return tuple(found)


# Names


def plain_name(name: str) -> str:
    """Return what is typed as it is counted, searched for and compared."""
    return " ".join(unicodedata.normalize("NFKC", name).lower().split())


def _folded(value: str) -> str:
    """Return a part of a name as servers compare it, and no more alike than they do."""
    return " ".join(value.lower().split())


def _parts_of(dn: str) -> list[list[tuple[str, str]]]:
    """Return attributes and values of a name, one list for each level; raises ValueError."""
    levels: list[list[tuple[str, str]]] = []
    level: list[tuple[str, str]] = []
    at = 0
    while True:
        equals = dn.find("=", at)
        attribute = dn[at:equals].strip() if equals >= 0 else ""
        if not _ATTRIBUTE.fullmatch(attribute):
            raise ValueError("is not a name like ou=people,dc=example,dc=com")
        value = bytearray()
        at = equals + 1
        while at < len(dn) and dn[at] not in ",+;":
            escape = _ESCAPE.match(dn, at)
            if escape is None:
                raise ValueError("ends within an escape")
            if escape[1]:
                value.append(int(escape[1], 16))
            else:
                value += (escape[2] or escape[0]).encode("utf-8", "surrogatepass")
            at = escape.end()
        level.append((attribute, bytes(value).decode("utf-8", "replace")))
        if at >= len(dn) or dn[at] != "+":
            levels.append(level)
            level = []
        if at >= len(dn):
            return levels
        at += 1


def plain_dn(dn: str) -> str:
    """Return a name in the form in which equal ones are equal; raises ValueError."""
    return ",".join(
        "+".join(sorted(f"{key.lower()}={_escaped(_folded(value))}" for key, value in level))
        for level in _parts_of(dn)
    )


def is_below(dn: str, base: str) -> bool:
    """Return whether a name is that of a base or of something below it; no name is below none."""
    try:
        name, root = plain_dn(dn), plain_dn(base)
    except ValueError:
        return False
    return name == root or name.endswith("," + root)


def issuer_of(base_dn: str) -> str:
    """Return what the system is called that vouches for people below a name.

    Its domain alone, so that neither another address nor another place makes others of them.
    """
    levels = plain_dn(base_dn).split(",")
    domain = [level for level in levels if level.startswith("dc=")]
    return "ldap:" + ",".join(domain or levels)


def _escaped(value: str) -> str:
    """Return a value as it stands in a name (RFC 4514) and in a filter (RFC 4515): whatever is not
    plain by its bytes.
    """
    return "".join(
        chr(byte) if byte in _PLAIN else f"\\{byte:02x}"
        for byte in value.encode("utf-8", "surrogatepass")
    )


def filled_dn(template: str, name: str) -> str:
    """Return with which name somebody logs in: a name of an entry, or one like `ada@corp`."""
    return template.replace(NAME, _escaped(name) if "=" in template else name)


# Filters


def comparisons(text: str) -> list[Comparison]:
    """Return the leaves of a filter; raises ValueError when it is none."""
    found: list[Comparison] = []
    at = _read_filter(text, 0, found, 0)
    if at != len(text):
        raise ValueError(f"goes on after its end, {_place(text, at)}")
    return found


def _place(text: str, at: int) -> str:
    return f"at {text[at : at + 20]!r}" if at < len(text) else "at its end"


def _read_filter(text: str, at: int, found: list[Comparison], depth: int) -> int:
    if text[at : at + 1] != "(" or depth > 20:
        raise ValueError(f"is not a filter like (uid={{name}}), {_place(text, at)}")
    at += 1
    if text[at : at + 1] in {"&", "|", "!"}:
        is_not = text[at] == "!"
        at = _read_filter(text, at + 1, found, depth + 1)
        while not is_not and text[at : at + 1] == "(":
            at = _read_filter(text, at, found, depth + 1)
    else:
        leaf = re.compile(r"([^()=<>~:*\s]*)((?::[^()=<>~:*\s]+)*:=|[<>~]=|=)").match(text, at)
        if leaf is None or (leaf[1] and not _ATTRIBUTE.fullmatch(leaf[1])):
            raise ValueError(f"compares nothing {_place(text, at)}")
        value = _VALUE.match(text, leaf.end())
        assert value is not None  # noqa: S101 - it matches nothing at least
        found.append(Comparison(leaf[1], value[0], leaf[2] == "=" and bool(leaf[1])))
        at = value.end()
    if text[at : at + 1] != ")":
        raise ValueError(f"lacks a closing bracket {_place(text, at)}")
    return at + 1


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return a filter with values in its places, escaped; each stands for `{key}`."""
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", _escaped(value))
    return text


def values_for(user_filter: str) -> dict[str, list[str]]:
    """Return by which attributes a filter finds people: of each, what it may be, with `{name}`."""
    found: dict[str, list[str]] = {}
    for each in comparisons(user_filter):
        if NAME in each.value:
            found.setdefault(each.attribute.lower(), []).append(each.value)
    return found


def _check_places(text: str, *allowed: str) -> None:
    for place in _PLACE.findall(text):
        if place not in allowed:
            raise ValueError(f"holds {place[:40]}; there is only {', '.join(allowed)}")


def check_user_filter(text: str) -> str:
    """Return a filter that finds people by what they type.

    Raises:
        ValueError: with the rest of a sentence that begins with the setting's name.
    """
    _check_places(text, NAME)
    leaves = [each for each in comparisons(text) if NAME in each.value]
    if not leaves or text.count(NAME) != sum(each.value.count(NAME) for each in leaves):
        raise ValueError("must hold a comparison with what is typed, as (uid={name})")
    for each in leaves:
        if not each.is_plain or "*" in each.value or "\\" in each.value:
            raise ValueError(f"may compare what is typed by = alone, not as in {each.value[:40]!r}")
    return text


def check_group_filter(text: str) -> str:
    """Return a filter that finds the groups of an entry; raises ValueError."""
    _check_places(text, DN, LOGIN)
    if not any(DN in each.value or LOGIN in each.value for each in comparisons(text)):
        raise ValueError("must hold a comparison with the member, as (member={dn})")
    return text


def check_dn(text: str) -> str:
    """Return the name of an entry; raises ValueError."""
    plain_dn(text)
    return text


def check_template(text: str) -> str:
    """Return what makes of what is typed the name to log in with; raises ValueError."""
    _check_places(text, NAME)
    if text.count(NAME) != 1:
        raise ValueError("must hold {name} once, as uid={name},ou=people,dc=example,dc=com")
    if "=" in text:
        plain_dn(text.replace(NAME, "x"))
    return text


# Groups


def parse_directory_roles(text: str) -> tuple[GroupRole, ...]:
    """Return the roles of groups: by their names, with commas between them, or with semicolons
    where groups are given by their whole names; raises ValueError.
    """
    separator = ";" if ";" in text or re.search(r"\bdc=", text, re.IGNORECASE) else ","
    found = []
    for each in parse_group_roles(text, separator):
        if re.search(r"=[^,+\\]*=", each.group):
            raise ValueError(f"holds {each.group[:80]!r}, where a semicolon seems to be lacking")
        try:
            name = plain_dn(each.group) if "=" in each.group else _folded(each.group)
        except ValueError:
            raise ValueError(f"holds {each.group[:80]!r}, which is no name of a group") from None
        found.append(GroupRole(name, each.binding))
    return tuple(found)


def group_names(dn: str) -> tuple[str, ...]:
    """Return as what roles know a group: its whole name, and the first value of that."""
    try:
        name, value = plain_dn(dn), _folded(_parts_of(dn)[0][0][1])
    except ValueError:
        return ()
    # one that is made to look like a whole name is none
    return (name,) if "=" in value or not value else (name, value)


def first_value(attributes: Mapping[str, list[str]], names: tuple[str, ...]) -> str:
    """Return the first value of the first attribute that has one; names are in lower case."""
    for name in names:
        for value in attributes.get(name.lower(), ()):
            if value.strip():
                return value.strip()
    return ""
