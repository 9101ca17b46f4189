"""Which addresses are in which networks."""

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.contract.codes import Severity
from proxy.engine.limits import MAX_NETWORKS
from tests.proxy.engine.operators.samples import holds, leaf_test, problems_of

_octets = st.sampled_from([0, 1, 7, 10, 127, 128, 168, 192, 255]) | st.integers(0, 255)
_v4 = st.tuples(_octets, _octets, _octets, _octets).map(lambda n: ".".join(map(str, n)))
_v6 = st.one_of(
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**34),
    st.integers(0x2001_0DB8 << 96, (0x2001_0DB9 << 96) - 1),
).map(lambda n: str(IPv6Address(n)))
_mapped = _v4.map(lambda text: "::ffff:" + text)
_junk = st.text(alphabet="0123456789abcdef:.%/ x", max_size=20)
addresses = st.one_of(_v4, _v6, _mapped, _junk)
networks = st.one_of(
    _v4,
    _v6,
    st.tuples(_v4, st.integers(0, 32)).map(lambda n: f"{n[0]}/{n[1]}"),
    st.tuples(_v6, st.integers(0, 128)).map(lambda n: f"{n[0]}/{n[1]}"),
).filter(lambda text: not text.startswith("::ffff:"))


def contains(network: str, address: str) -> bool:
    """Return whether an address is in a network, by the standard library."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        if found.scope_id is not None:
            return False
        found = found.ipv4_mapped or found
    return found in ip_network(network, strict=False)


@given(
    wanted=st.lists(networks, min_size=1, max_size=8),
    values=st.lists(addresses, min_size=1, max_size=20),
)
@settings(max_examples=300, deadline=None)
def test_an_address_is_in_one_of_the_networks(wanted: list[str], values: list[str]) -> None:
    """As the standard library says of each network alone; its own edges are among the values."""
    edges = [ip_network(network, strict=False) for network in wanted]
    values += [str(edge[0]) for edge in edges] + [str(edge[-1]) for edge in edges]
    test = leaf_test("in_cidr", *wanted)
    for value in values:
        assert test(value) is any(contains(network, value) for network in wanted), value


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("10.1.2.3", "10.0.0.0/8"),
        ("10.255.255.255", "10.0.0.0/8"),
        ("127.0.0.1", "127.0.0.1"),
        ("255.255.255.255", "0.0.0.0/0"),
        ("::1", "::/0"),
        ("2001:DB8::1", "2001:db8::/32"),
        ("2001:0db8:0:0:0:0:0:1", "2001:db8::1"),
        ("::ffff:10.1.2.3", "10.0.0.0/8"),
        ("::ffff:a01:203", "10.0.0.0/8"),
        ("10.1.2.3", "::ffff:10.0.0.0/104"),
        ("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "::/0"),
    ],
)
def test_in_the_network(value: str, wanted: str) -> None:
    """In each way of writing an address."""
    assert holds(value, "in_cidr", wanted)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("11.0.0.0", "10.0.0.0/8"),
        ("9.255.255.255", "10.0.0.0/8"),
        ("10.0.0.1", "::/0"),
        ("::ffff:10.0.0.1", "::/0"),
        ("::10.0.0.1", "10.0.0.0/8"),
        ("::1", "0.0.0.0/0"),
        ("fe80::1%eth0", "::/0"),
        ("10.0.0.1%eth0", "0.0.0.0/0"),
        ("010.0.0.1", "0.0.0.0/0"),
        ("10.1", "0.0.0.0/0"),
        ("0x0a000001", "0.0.0.0/0"),
        ("167772161", "0.0.0.0/0"),
        (167772161, "0.0.0.0/0"),
        ("10.0.0.1 ", "0.0.0.0/0"),
        (" 10.0.0.1", "0.0.0.0/0"),
        ("10.0.0.1\n", "0.0.0.0/0"),
        ("10.0.0.1\0", "0.0.0.0/0"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.1:80", "10.0.0.0/8"),
        ("[::1]", "::/0"),
        ("\u0661\u0660.0.0.1", "0.0.0.0/0"),
        ("10.0.0.\ud800", "0.0.0.0/0"),
        ("::\ud800", "::/0"),
        ("", "0.0.0.0/0"),
        ("1" * 1_000_000, "0.0.0.0/0"),
        (["10.0.0.1"], "10.0.0.0/8"),
    ],
)
def test_not_in_the_network(value: Any, wanted: str) -> None:
    """The other family, what is no address, and what only some systems take for one."""
    assert not holds(value, "in_cidr", wanted)


def test_many_networks_are_one_test() -> None:
    """As many as a leaf can have; neighbours, overlaps and gaps."""
    many = [
        f"{10 + i // 128 // 256}.{i // 128 % 256}.{i * 2 % 256}.0/24" for i in range(MAX_NETWORKS)
    ]
    test = leaf_test("in_cidr", *many)
    assert test("10.0.0.9")
    assert not test("10.0.1.9")
    assert test("10.7.206.255")
    assert not test("10.7.207.0")
    assert not test("10.7.208.0")


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "x",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/",
            "10.0.0.0/08",
            "10.0.0.0/\u0668",
            "10.0/8",
        ),
        *("10.0.0.0/255.0.0.0", "::/129", "::/x", "10.0.0.0/8/8", "fe80::%eth0/64", "10.0.0.1-9"),
        *("::ffff:10.0.0.0/90", "1" * 100_000, "\ud800/8", "10.0.0.0/\ud800"),
    ],
)
def test_what_is_no_network_is_a_problem(value: str) -> None:
    """At its place, in a message of bounded length."""
    [problem] = problems_of("in_cidr", "10.0.0.0/8", value)
    assert (problem.pointer, problem.code) == ("/values/1", "operator_values")
    assert problem.severity is Severity.ERROR
    assert len(problem.message) < 200


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("10.0.0.1/31", "10.0.0.0/31"),
        ("1.2.3.4/0", "0.0.0.0/0"),
        ("2001:db8::1/32", "2001:db8::/32"),
        ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
    ],
)
def test_bits_behind_the_prefix_are_a_warning(value: str, meant: str) -> None:
    """It says the network that is taken; and that one is."""
    [problem] = problems_of("in_cidr", value)
    assert (problem.pointer, problem.severity) == ("/values/0", Severity.WARNING)
    assert problem.hint == f"the network is {meant}"
    assert problems_of("in_cidr", meant) == []
    inside = str(ip_network(meant)[0])
    assert holds(inside, "in_cidr", value)
