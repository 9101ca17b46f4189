"""Where a request comes from: one function, for the audit log, limits, lists and the log alike.

It is the peer, unless the peer is a proxy that the settings trust. Then it is what that proxy wrote
last into the header that the settings name, and so on towards the left for as long as what is
written is itself a trusted proxy. So nothing is believed that somebody else may have written:

- What stands further left is the client's word, and is not looked at.
- One header alone is read. A proxy that adds to the one passes the other on as the client sent it.
- Where a trusted proxy did not write an address, that proxy is as far as it is known.
"""

import re
from collections.abc import Iterable

from aiohttp import web

from control_plane.networks import Network, contains, plain_address

__all__ = ["FORWARDED", "FORWARDED_HEADERS", "NO_ADDRESS", "Proxies", "PROXIES", "client_address"]

FORWARDED = "forwarded"
"""RFC 7239; `for=` in each element."""
FORWARDED_HEADERS = ("x-forwarded-for", FORWARDED)

NO_ADDRESS = "local"
"""Of a peer without one, at a unix socket; it is in no network."""

_MAX_HOPS = 32
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::\d{1,5})?|([0-9.]+):\d{1,5}")
_FOR = re.compile(r'for=(?:"([^"\\]*)"|([^"\s]*))', re.IGNORECASE)

_ADDRESS: web.RequestKey[str] = web.RequestKey("client_address")


class Proxies:
    """The proxies whose word is taken, and the header that they give it in."""

    def __init__(self, trusted: tuple[Network, ...], header: str) -> None:
        self._trusted = trusted
        self._header = header
        self._of_hop = _named_by_for if header == FORWARDED else str.strip

    def client(self, peer: str, headers: Iterable[str]) -> str:
        """Return the address behind a peer, given the lines of the header that is read."""
        address = plain_address(peer) or NO_ADDRESS
        if not contains(self._trusted, address):
            return address
        for hop in reversed(",".join(headers).split(",")[-_MAX_HOPS:]):
            written = _plain_hop(self._of_hop(hop))
            if written is None:
                return address
            address = written
            if not contains(self._trusted, address):
                break
        return address

    def __call__(self, request: web.Request) -> str:
        """Return where a request comes from."""
        peer = request.transport.get_extra_info("peername") if request.transport else None
        if not isinstance(peer, tuple):
            return NO_ADDRESS
        if not self._trusted:
            return plain_address(peer[0]) or NO_ADDRESS
        return self.client(peer[0], request.headers.getall(self._header, ()))


PROXIES: web.AppKey[Proxies] = web.AppKey("proxies", Proxies)
_NONE = Proxies((), "x-forwarded-for")


def client_address(request: web.Request) -> str:
    """Return the address that a request comes from, in plain form, or `NO_ADDRESS`."""
    address = request.get(_ADDRESS)
    if address is None:
        address = request[_ADDRESS] = request.app.get(PROXIES, _NONE)(request)
    return address


def _plain_hop(text: str) -> str | None:
    """Return the address a proxy wrote, with or without a port; None for anything else."""
    if match := _WITH_PORT.fullmatch(text):
        text = match[1] or match[2] or ""
    return None if "%" in text else plain_address(text)


def _named_by_for(element: str) -> str:
    """Return what one element of `Forwarded` says of its client; nothing for two or none."""
    parts = (part.strip() for part in element.split(";"))
    found = [match[1] or match[2] or "" for part in parts if (match := _FOR.fullmatch(part))]
    return found[0] if len(found) == 1 else ""
