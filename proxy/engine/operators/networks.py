"""IP addresses in networks.

A network is `10.0.0.0/8`, `2001:db8::/32`, or one address. Bits behind the prefix are ignored, with
a warning. An IPv4-mapped IPv6 address, `::ffff:10.0.0.1`, is the IPv4 address in it, because that
is how a server that listens on both sees its IPv4 clients; so it is in no IPv6 network.

Networks are kept as ascending bounds of disjoint intervals, by family, and an address is found in
them by bisection: a thousand networks cost what one does.

`inet_pton` is what every system has and takes nothing lenient: no `010.0.0.1`, no `10.1`. It is the
one thing the engine takes of `socket`, and no I/O: `ipaddress` needs seven times as long.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, NamedTuple

from proxy.contract.codes import ProblemCode, Severity
from proxy.engine.operators.model import Fault, Leaf, Options

__all__ = ["check_networks", "in_networks"]

_MOST_CHARS = 49
"""`ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128`; what is longer is no address, unread."""

_MAPPED = b"\0" * 10 + b"\xff\xff"


class _Network(NamedTuple):
    """Half-open bounds among the addresses of a family of that many bits."""

    bits: int
    low: int
    high: int
    exact: bool
    """Whether it was written without bits behind the prefix."""


def _address(text: str) -> tuple[int, int] | None:
    """Return the bits of an address's family, and its number; None for what is none."""
    if len(text) > _MOST_CHARS or "%" in text:  # some systems read `%eth0`
        return None
    try:
        if ":" not in text:
            return 32, int.from_bytes(inet_pton(AF_INET, text), "big")
        packed = inet_pton(AF_INET6, text)
    except (OSError, ValueError):  # ValueError: a NUL, a lone surrogate
        return None
    if packed.startswith(_MAPPED):
        return 32, int.from_bytes(packed[12:], "big")
    return 128, int.from_bytes(packed, "big")


def _network(text: str) -> _Network | None:
    """Return a network, None for what is none."""
    name, slash, prefix = text.partition("/")
    address = _address(name)
    if address is None:
        return None
    bits, number = address
    size = bits
    if slash:
        if not (prefix.isascii() and prefix.isdigit() and len(prefix) <= 3):
            return None
        size = int(prefix) - (96 if bits == 32 and ":" in name else 0)
        if not 0 <= size <= bits or (prefix[0] == "0" and prefix != "0"):
            return None
    low = number >> (bits - size) << (bits - size)
    return _Network(bits, low, low + (1 << (bits - size)), low == number)


def in_networks(values: Sequence[Any], _options: Options) -> Leaf:
    """Return whether an address is in one of the networks."""
    networks = [network for value in values if (network := _network(value)) is not None]
    v4, v6 = (_bounds(networks, bits) for bits in (32, 128))

    def in_any(value: str) -> bool:
        address = _address(value)
        if address is None:
            return False
        bits, number = address
        return bisect_right(v4 if bits == 32 else v6, number) & 1 == 1

    return Leaf("{f}.__class__ is str and {0}({x})", (in_any,))


def _bounds(networks: list[_Network], bits: int) -> list[int]:
    """Return starts and ends of the union of a family's networks, in turn, ascending."""
    bounds: list[int] = []
    for low, high in sorted((n.low, n.high) for n in networks if n.bits == bits):
        if bounds and low <= bounds[-1]:
            bounds[-1] = max(bounds[-1], high)
        else:
            bounds += (low, high)
    return bounds


_VALUES_A_STEP = 50  # of 2 us to read, or 10 to warn of


def check_networks(values: Sequence[Any], _options: Options) -> Iterator[Fault | None]:
    """Yield what is no network, and, as a warning, what has bits behind its prefix."""
    code = ProblemCode.OPERATOR_VALUES
    for index, value in enumerate(values):
        if index % _VALUES_A_STEP == _VALUES_A_STEP - 1:
            yield None
        network = _network(value)
        if network is None:
            shown = value if len(value) <= _MOST_CHARS else value[:_MOST_CHARS] + "..."
            hint = "write 10.0.0.0/8, 2001:db8::/32 or one address"
            yield Fault(("values", index), code, f"{shown!r} is no network", hint)
        elif not network.exact:
            hint = f"the network is {_written(network)}"
            message = f"{value!r} has bits behind its prefix, which are ignored"
            yield Fault(("values", index), code, message, hint, Severity.WARNING)


def _written(network: _Network) -> str:
    size = network.bits - (network.high - network.low).bit_length() + 1
    return str(ip_network((network.low.to_bytes(network.bits // 8, "big"), size)))
