"""Tests of networks and addresses: each way of writing that has let somebody in elsewhere."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.networks import (
    MAX_NETWORKS,
    check_networks,
    contains,
    networks,
    parse_network,
    permits,
    plain_address,
    site_of,
)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
    ],
)
def test_a_network_is_read_in_its_one_form(text: str, meant: str) -> None:
    """Upper case and IPv4 within IPv6 included."""
    assert str(parse_network(text)) == meant


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/8/8", "10.0.0.0/-1"),
        *("010.0.0.0/8", "10.0.0.00/8", "0x0a.0.0.0", "10.0.0.0/08", "10.0.0.0/+8", "167772160"),
        *("10.0.0.0/255.0.0.0", "10.0.0.0/0.255.255.255", "10.0.0", "10.0.0.*", "10.0.0.1-9"),
        *("fe80::1%eth0", "fe80::/10%1", "[::1]", "::1]", ":::", "12345::"),
        *(" 10.0.0.0/8", "10.0.0.0/8\n", "１0.0.0.0/8", "10.0.0.0\x00/8", "example.com"),  # noqa: RUF001 - a digit that is none of ASCII
    ],
)
def test_what_may_be_read_in_two_ways_is_refused(text: str) -> None:
    """Not understood as one of them."""
    with pytest.raises(ValueError, match="is not a network"):
        parse_network(text)


def test_bits_beyond_the_prefix_are_refused_and_the_network_is_named() -> None:
    """Somebody meant the one address, or all of the network."""
    with pytest.raises(ValueError, match=r"the network is 10\.0\.0\.0/8"):
        parse_network("10.1.2.3/8")
    with pytest.raises(ValueError, match="prefix"):
        parse_network("::ffff:10.1.2.3/104")


def test_problems_have_their_places() -> None:
    """All of them, and of a list that is too long that it is."""
    found = check_networks(["10.0.0.0/8", "nonsense", "10.0.0.1/8"], "denied_networks")
    assert [(p.pointer, str(p.code)) for p in found] == [
        ("/denied_networks/1", "invalid_network"),
        ("/denied_networks/2", "invalid_network"),
    ]
    assert check_networks(["10.0.0.1"] * MAX_NETWORKS, "x") == []
    (problem,) = check_networks(["10.0.0.1"] * (MAX_NETWORKS + 1), "x")
    assert problem.pointer == "/x"


def test_a_setting_names_what_is_wrong_in_it() -> None:
    """The word, not the whole list."""
    assert len(networks("10.0.0.0/8, 2001:db8::/32 ,")) == 2
    with pytest.raises(ValueError, match=r"'10\.0\.0\.999'"):
        networks("10.0.0.0/8,10.0.0.999")


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_within_ipv6_is_that_address(number: int) -> None:
    """In each spelling, for lists and in the log."""
    plain = str(IPv4Address(number))
    mapped = IPv6Address((0xFFFF << 32) | number)
    for text in (f"::ffff:{plain}", str(mapped), mapped.exploded, f"::FFFF:{plain}%eth0"):
        assert plain_address(text) == plain
        assert not permits((), (plain,), text)
        assert permits((f"{plain}/32",), (), text)


@given(st.lists(st.integers(0, 32), max_size=3), st.integers(0, 2**32 - 1))
def test_denied_wins_and_without_allowed_all_others_pass(lengths: list[int], number: int) -> None:
    """Whatever else is listed."""
    address = str(IPv4Address(number))
    around = tuple(f"{IPv4Address(number >> (32 - n) << (32 - n))}/{n}" for n in lengths)
    assert permits((), (), address)
    assert permits(around, (), address)
    assert permits((), around, address) is (not around)
    assert not permits(around, ("0.0.0.0/0",), address)
    assert not permits(("2001:db8::/32",), (), address)
    assert permits((), ("::/0",), address)


@pytest.mark.parametrize("address", ["local", "", "10.0.0.1.", "010.0.0.1", "unknown", "_hidden"])
def test_what_is_no_address_passes_no_list(address: str) -> None:
    """Nor is it in a network."""
    assert not permits(("0.0.0.0/0", "::/0"), (), address)
    assert not permits((), ("192.0.2.0/24",), address)
    assert permits((), (), address)
    assert not contains(networks("0.0.0.0/0,::/0"), address)
    assert plain_address(address) is None


def test_ipv6_is_counted_by_site() -> None:
    """Whoever has a /64 has all addresses in it."""
    assert site_of("2001:db8:1:2:3:4:5:6") == site_of("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert site_of("192.0.2.1") == "192.0.2.1"
    assert site_of("local") == "local"
