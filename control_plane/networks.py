"""Networks as people write them, and whether an address is in them. Pure.

Rules, because each other way of reading addresses has let somebody in somewhere:

- An IPv4 address within IPv6, `::ffff:192.0.2.1`, is the IPv4 address: one host, one list entry.
- A network of IPv6 holds no address of IPv4, not even `::/0`.
- Refused in networks: zones, leading zeros, netmasks, bits beyond the prefix. An address has no
  zone once it is plain: which interface it came by is not who it is.
- What is no address, a peer at a unix socket for one, is in no network, and passes no list.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem, pointer

__all__ = [
    "MAX_NETWORKS",
    "Network",
    "check_networks",
    "contains",
    "in_one_form",
    "networks",
    "parse_network",
    "permits",
    "plain_address",
    "site_of",
]

MAX_NETWORKS = 100
"""Of one list: each request is compared with them one by one, some 10 us in all."""

Network = IPv4Network | IPv6Network
_Address = IPv4Address | IPv6Address

_NETWORK = re.compile(r"[0-9A-Fa-f.:]{2,45}(/(0|[1-9][0-9]{0,2}))?")
_HINT = "an address, or an address and the length of its prefix, such as 192.0.2.0/24"
_SITE_BITS = 64  # of an IPv6 address: a site has all the others for itself


def parse_network(text: str) -> Network:
    """Return a network; an address alone is the network of that one.

    Raises:
        ValueError: with the rest of a sentence that begins with the text.
    """
    try:
        found = ip_network(text, strict=False) if _NETWORK.fullmatch(text) else None
    except ValueError:
        found = None
    if found is None:
        raise ValueError("is not a network")
    try:
        found = ip_network(text)
    except ValueError:
        raise ValueError(f"has bits beyond its prefix; the network is {found}") from None
    if isinstance(found, IPv6Network) and found.network_address.ipv4_mapped is not None:
        return IPv4Network((found.network_address.ipv4_mapped, found.prefixlen - 96))
    return found


def networks(text: str) -> tuple[Network, ...]:
    """Return the networks of a setting, between commas; raises ValueError."""
    found = []
    for word in (part.strip() for part in text.split(",")):
        if not word:
            continue
        try:
            found.append(parse_network(word))
        except ValueError as error:
            raise ValueError(f"holds {word[:60]!r}, which {error}") from None
    return tuple(found)


def check_networks(texts: Iterable[str], name: str) -> list[Problem]:
    """Return what is wrong with the networks of a member of a document, each with its place."""
    problems = []
    listed = list(texts)
    if len(listed) > MAX_NETWORKS:
        message = f"{len(listed)} networks, at most {MAX_NETWORKS} are taken"
        problems.append(Problem(pointer(name), ProblemCode.OUT_OF_RANGE, message))
    for index, text in enumerate(listed[:MAX_NETWORKS]):
        try:
            parse_network(text)
        except ValueError as error:
            place, message = pointer(name, index), f"{text[:60]!r} {error}"
            problems.append(Problem(place, ProblemCode.INVALID_NETWORK, message, _HINT))
    return problems


def in_one_form(texts: Iterable[str]) -> tuple[str, ...]:
    """Return networks as they are stored, each once; none when one is not a network."""
    try:
        return tuple(dict.fromkeys(str(parse_network(text)) for text in texts))
    except ValueError:
        return ()


def plain_address(text: str) -> str | None:
    """Return an address in the one form it is compared, kept and shown in; None if it is none."""
    found = _parsed(text)
    return None if found is None else str(found)


def contains(listed: Iterable[Network], address: str) -> bool:
    """Return whether an address is in one of some networks."""
    found = _parsed(address)
    return found is not None and any(found in network for network in listed)


def permits(allowed: tuple[str, ...], denied: tuple[str, ...], address: str) -> bool:
    """Return whether an address passes two lists of networks, which were checked before.

    `denied` wins; without `allowed` all others pass.
    """
    if not allowed and not denied:
        return True
    if _parsed(address) is None or contains(_compiled(denied), address):
        return False
    return not allowed or contains(_compiled(allowed), address)


def site_of(address: str) -> str:
    """Return what an address is counted under: itself, or of IPv6 the network of its site."""
    found = _parsed(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((found, _SITE_BITS), strict=False))
    return address


@lru_cache(10_000)
def _parsed(text: str) -> _Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


@lru_cache(2_000)
def _compiled(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(map(parse_network, texts))
