"""Tests of where a request comes from: nobody can write it but the proxies that are trusted."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.networks import networks
from control_plane.web.address import FORWARDED, NO_ADDRESS, Proxies
from tests.support.api import Api, running_api

PROXY, OUTER, CLIENT, SPOOFED = "10.0.0.1", "10.0.0.2", "192.0.2.7", "198.51.100.66"
TRUSTED = networks("10.0.0.0/8, fd00::/8")

TEXTS = st.text(st.characters(max_codepoint=255, blacklist_characters="\r\n\x00"), max_size=40)


def by_list(peer: str, *lines: str) -> str:
    """Return the client by `X-Forwarded-For`."""
    return Proxies(TRUSTED, "x-forwarded-for").client(peer, lines)


def by_forwarded(peer: str, *lines: str) -> str:
    """Return the client by `Forwarded`."""
    return Proxies(TRUSTED, FORWARDED).client(peer, lines)


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ((), PROXY),
        ((CLIENT,), CLIENT),
        ((f"{SPOOFED}, {CLIENT}",), CLIENT),
        ((SPOOFED, CLIENT), CLIENT),
        ((f"{SPOOFED}, {CLIENT}, {OUTER}",), CLIENT),
        ((f"{SPOOFED},{CLIENT}, {OUTER} , 10.9.9.9",), CLIENT),
        ((f"{OUTER}, 10.9.9.9",), OUTER),
        ((f"{CLIENT}:51234",), CLIENT),
        (("[2001:db8::7]:443",), "2001:db8::7"),
        (("2001:DB8:0::7",), "2001:db8::7"),
        ((f"::ffff:{CLIENT}",), CLIENT),
        ((f"{SPOOFED}, unknown",), PROXY),
        ((f"{SPOOFED}, {OUTER}, unknown, {OUTER}",), OUTER),
        ((f"{SPOOFED}, fe80::1%eth0",), PROXY),
        ((f"{SPOOFED}, 010.0.0.9",), PROXY),
        ((f"{SPOOFED},",), PROXY),
    ],
)
def test_the_list_is_walked_from_the_right(lines: tuple[str, ...], client: str) -> None:
    """To the first that is no trusted proxy; what no proxy wrote as an address ends it."""
    assert by_list(PROXY, *lines) == client


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ((f"for={CLIENT}",), CLIENT),
        ((f"For={CLIENT};proto=https;by=10.0.0.1",), CLIENT),
        ((f'for={SPOOFED}, proto=https;for="{CLIENT}:4711"',), CLIENT),
        (('for="[2001:db8::7]:443"',), "2001:db8::7"),
        ((f"for={SPOOFED}, for=_hidden",), PROXY),
        ((f"for={SPOOFED}, for=unknown",), PROXY),
        ((f"for={SPOOFED}, by=10.0.0.1",), PROXY),
        ((f"for={SPOOFED};for={CLIENT}",), PROXY),
        ((f'for="{SPOOFED}, for={CLIENT}',), CLIENT),
        ((f"for={SPOOFED}", f"for={CLIENT}"), CLIENT),
        ((f"xfor={CLIENT}",), PROXY),
    ],
)
def test_forwarded_is_walked_from_the_right(lines: tuple[str, ...], client: str) -> None:
    """A quote that the client left open changes nothing."""
    assert by_forwarded(PROXY, *lines) == client


@given(st.lists(TEXTS, max_size=4), st.sampled_from([by_list, by_forwarded]))
def test_nothing_that_a_client_sends_is_believed_without_a_proxy(
    lines: list[str], read: Callable[..., str]
) -> None:
    """Nobody else is asked."""
    assert read(CLIENT, *lines) == CLIENT
    assert read(f"::ffff:{CLIENT}", *lines) == CLIENT


@given(st.lists(TEXTS, max_size=4))
def test_nothing_that_a_client_sends_through_a_proxy_is_believed(lines: list[str]) -> None:
    """The proxy adds the address of its peer, in the same line or in another."""
    assert by_list(PROXY, *lines, CLIENT) == CLIENT
    assert by_list(PROXY, ", ".join([*lines, CLIENT])) == CLIENT
    assert by_forwarded(PROXY, *lines, f"for={CLIENT}") == CLIENT
    assert by_forwarded(PROXY, ", ".join([*lines, f"for={CLIENT}"])) == CLIENT


def test_a_long_list_is_not_walked_for_ever() -> None:
    """Nor does it end anywhere but at a proxy."""
    assert by_list(PROXY, ",".join([SPOOFED, *[OUTER] * 10_000])) == OUTER


def test_a_peer_without_an_address_has_none() -> None:
    """A unix socket's."""
    assert by_list("", SPOOFED) == NO_ADDRESS


async def _noted(api: Api, headers: dict[str, str]) -> str:
    """Return the address that the audit log has of a change."""
    made = await api.ask("POST", "/api/v1/keys", json={"kind": "server"}, headers=headers)
    assert made.status == 201, made.body
    entry = (await api.ask("GET", "/api/v1/audit?limit=1")).json["items"][0]
    return str(entry["address"])


async def test_the_audit_log_believes_a_trusted_proxy_and_nobody_else(redis_url: str) -> None:
    """Over a socket; of the two headers only the one that the proxy writes."""
    both = {"X-Forwarded-For": CLIENT, "Forwarded": f"for={SPOOFED}"}
    async with running_api(redis_url) as api:
        assert await _noted(api, both) == "127.0.0.1"
    trusted = networks("127.0.0.0/8")
    async with running_api(redis_url, trusted_proxies=trusted) as api:
        assert await _noted(api, both) == CLIENT
        assert await _noted(api, {"Forwarded": f"for={SPOOFED}"}) == "127.0.0.1"
        assert await _noted(api, {"X-Real-IP": SPOOFED, "Via": "1.1 x"}) == "127.0.0.1"
    settings: dict[str, Any] = {"trusted_proxies": trusted, "forwarded_header": FORWARDED}
    async with running_api(redis_url, **settings) as api:
        assert await _noted(api, {"X-Forwarded-For": SPOOFED, "Forwarded": f"for={CLIENT}"}) == (
            CLIENT
        )
