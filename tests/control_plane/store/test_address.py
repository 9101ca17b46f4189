"""Addresses of Redis, of each kind."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio.connection import SSLConnection

from control_plane.store.address import parse_address


def test_a_server() -> None:
    """As ever."""
    address = parse_address("rediss://ada:p%40ss@redis.example:6380/2?ssl_check_hostname=no")
    assert (address.topology, address.nodes) == ("standalone", (("redis.example", 6380),))
    assert address.options == {
        "username": "ada",
        "password": "p@ss",
        "db": 2,
        "ssl_check_hostname": False,
        "connection_class": SSLConnection,
    }
    assert parse_address("redis://localhost").nodes == (("localhost", 6379),)
    assert parse_address("unix:///run/redis.sock?db=1").nodes == (("/run/redis.sock", 0),)
    assert parse_address("redis://[::1]:7000").nodes == (("::1", 7000),)


def test_sentinels() -> None:
    """Their credentials are their own; TLS is for both."""
    address = parse_address(
        "rediss+sentinel://:p4ss@a,b:26380,[::1]:26381/my%20flags/3"
        "?sentinel_username=watch&sentinel_password=s%2Fw&ssl_ca_certs=/ca.pem"
    )
    assert address.topology == "sentinel"
    assert address.nodes == (("a", 26379), ("b", 26380), ("::1", 26381))
    assert address.service == "my flags"
    assert address.options["password"] == "p4ss"
    assert address.options["db"] == 3
    assert address.sentinel_options == {
        "connection_class": SSLConnection,
        "ssl_ca_certs": "/ca.pem",
        "username": "watch",
        "password": "s/w",
    }
    plain = parse_address("redis+sentinel://:p4ss@a/flags")
    assert (plain.sentinel_options, plain.options) == ({}, {"password": "p4ss"})


def test_a_cluster() -> None:
    """Some of its nodes; of databases it has one."""
    address = parse_address("redis+cluster://ada:p4ss@a:7000,b/0")
    assert address.topology == "cluster"
    assert address.nodes == (("a", 7000), ("b", 6379))
    assert address.options == {"username": "ada", "password": "p4ss"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("http://h", "must start with"),
        ("redis+://h", "must start with"),
        ("redis+sentinel:a/flags", "must start with"),
        ("redis+sentinel://:hunter2@a", "name the Sentinels have"),
        ("redis+sentinel://:hunter2@a,,b/flags", "needs a host"),
        ("redis+sentinel://:hunter2@a/flags/x", "must be like"),
        ("redis+cluster://:hunter2@a/1", "only number 0"),
        ("redis+cluster://:hunter2@a?db=1", "only number 0"),
        ("redis+cluster://:hunter2@a,a:6379", "twice"),
        ("redis+cluster://:hunter2@a?sentinel_password=hunter2", "has credentials for Sentinels"),
        ("redis://:hunter2@a,b", "must be like"),
        ("redis+cluster://:hunter2@a:0", "port"),
        ("redis+cluster://:hunter2@a?unknown=1", "option"),
        ("rediss://:hunter2@a?ssl_min_version=hunter2", "option"),
        ("redis+sentinel://:hunt/er2@a/flags", "must be like"),
        ("redis://:hunter2@", "needs a host"),
    ],
)
def test_what_makes_no_sense_is_said_without_repeating_it(text: str, problem: str) -> None:
    """A password in the wrong place would be in the message otherwise."""
    with pytest.raises(ValueError, match=problem) as caught:
        parse_address(text)
    assert "hunt" not in str(caught.value)
    assert "er2" not in str(caught.value)


def test_all_problems_are_said_at_once() -> None:
    """One start tells everything that is wrong."""
    with pytest.raises(ValueError, match="port") as caught:
        parse_address("redis+sentinel://a:70000,,a:70000?foo=1&sentinel_passwort=x")
    for word in ("port", "host", "twice", "name", "option"):
        assert word in str(caught.value)


@given(st.text(min_size=1), st.text(min_size=1))
def test_credentials_of_any_kind_survive_when_they_are_encoded(user: str, password: str) -> None:
    """Also those with the characters that an address is made of."""
    try:
        given = f"{quote(user, safe='')}:{quote(password, safe='')}"
    except UnicodeEncodeError:
        return  # a lone surrogate is no text
    for form in ("redis://{}@h", "redis+cluster://{}@h,i", "redis+sentinel://{}@h,i/flags"):
        options = parse_address(form.format(given)).options
        assert (options["username"], options["password"]) == (user, password)


@given(st.text())
def test_whatever_is_given_is_taken_or_refused_in_words(text: str) -> None:
    """No other error, and no secret of it in the message."""
    for form in ("{}", "redis://{}", "redis+sentinel://{}", "redis+cluster://:hunter2@{}"):
        said = ""
        try:
            parse_address(form.format(text))
        except ValueError as error:
            said = str(error)
        assert "hunter2" not in said
