"""Logins at a real slapd, and at servers that are away, hostile, or not who they should be."""

import contextlib
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from control_plane.ldap import client as client_module
from control_plane.ldap.client import LdapClient, Outcome, ServersAway
from tests.control_plane.ldap.conftest import client, environ
from tests.control_plane.ldap.hostile import (
    Script,
    ber,
    bind_answer,
    entry,
    extended,
    found,
    hostile_server,
    message,
)
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.slapd import ADA_GUID, BASE, CORP, LDAP_PASSWORD, Slapd

WAIT_S = 10.0
BIND, SEARCH, EXTENDED, UNBIND = 0x60, 0x63, 0x77, 0x42
WRONG = "wrong password"
AD_FILTER = (
    "(&(|(sAMAccountName={name})(userPrincipalName={name}))"
    "(!(userAccountControl:1.2.840.113556.1.4.803:=2)))"
)
AD = {
    "base_dn": CORP,
    "user_filter": AD_FILTER,
    "id_attribute": "objectGUID",
    "login_attribute": "sAMAccountName",
    "bind_dn": "",
    "bind_password": "",
}


def login(
    asked: LdapClient, name: str = "ada", password: str = LDAP_PASSWORD, wait_s: float = WAIT_S
) -> Outcome:
    """Try to log in."""
    return asked.login(name, password, time.monotonic() + wait_s)


def away(asked: LdapClient, wait_s: float = WAIT_S) -> str:
    """See that no server can be used, within the time there is, and return why."""
    began = time.monotonic()
    with pytest.raises(ServersAway) as caught:
        login(asked, wait_s=wait_s)
    assert time.monotonic() - began < wait_s + 0.5
    assert LDAP_PASSWORD not in str(caught.value)
    return str(caught.value)


# Who it is


@pytest.mark.parametrize("name", ["ada", "ADA", "  ada ", "Ada@Example.com", "\uff41\uff44\uff41"])
def test_people_are_found_by_what_the_filter_names(slapd: Slapd, name: str) -> None:
    """Whatever the case, and are told apart by an id that stays."""
    outcome = login(client(slapd), name)
    assert outcome.why == ""
    assert outcome.entry is not None
    assert outcome.entry.dn == f"uid=ada,ou=people,{BASE}"
    assert len(outcome.entry.subject) == 36
    assert outcome.entry.attributes["mail"] == ["ada@example.com"]


@pytest.mark.parametrize(
    ("name", "password", "why"),
    [
        ("ada", "wrong", WRONG),
        ("ada", LDAP_PASSWORD.upper(), WRONG),
        ("ada", LDAP_PASSWORD + " ", WRONG),
        ("nobody", LDAP_PASSWORD, "unknown"),
        ("same@example.com", LDAP_PASSWORD, "several people have this name there"),
        ("twin", LDAP_PASSWORD, ""),
    ],
)
def test_who_is_somebody_and_who_is_not(slapd: Slapd, name: str, password: str, why: str) -> None:
    """Of two who are found none is asked."""
    assert login(client(slapd), name, password).why == why


@pytest.mark.parametrize(
    "name",
    [
        *("*", "ad*", "a*a", "ada)(uid=*", "*)(uid=*))(|(uid=*", "ada\\2a", "\\61da", "(ada)", "&"),
        *("ada\x00", "\x00", "", " ", "ada\x1b", "x" * 257, "x" * 1_000_000, "á" * 256, "\ud800"),
        *(f"uid=ada,ou=people,{BASE}", "ada,ou=people", "ádá", "ad\u00ada"),
    ],
)
def test_nothing_in_a_name_is_syntax(slapd: Slapd, name: str) -> None:
    """With a password that would be right."""
    outcome = login(client(slapd), name)
    assert outcome.why in {"unknown", "no name that could be one"}
    assert outcome.entry is None


@pytest.mark.parametrize(
    "password", ["", "\x00", f"{LDAP_PASSWORD}\x00", f"{LDAP_PASSWORD}\x00x", "x" * 1025]
)
def test_a_password_that_cannot_be_one_is_never_sent(
    slapd: Slapd, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No server is asked: an empty one is good for many, and some end them at NUL."""

    def fail(*_: object) -> None:
        raise AssertionError("a server was asked")

    monkeypatch.setattr(LdapClient, "_talking", fail)
    assert login(client(slapd), "ada", password).why == "no password that could be one"


@pytest.mark.parametrize("password", ["\ud800", "correct horse in LDAP\ud800"])
def test_half_characters_are_no_password(slapd: Slapd, password: str) -> None:
    """And not left out of one."""
    assert login(client(slapd), "ada", password).why == "no password that could be one"


@pytest.mark.parametrize(
    "password", ["pässwörd", "p\u00adss \u00a0", "*)(x\\", " leading", "\U0001f511"]
)
def test_a_password_goes_as_it_is(slapd: Slapd, password: str) -> None:
    """Neither prepared nor escaped."""
    dn = slapd.person("letters", userPassword=password)
    try:
        assert login(client(slapd), "letters", password).why == ""
        assert login(client(slapd), "letters", password.strip() + "x").why == WRONG
    finally:
        slapd.delete(dn)


def test_an_entry_counts_only_if_it_has_the_name_that_was_typed(slapd: Slapd) -> None:
    """Servers hold more to be equal than we do: here hyphens that are not shown. Each such name
    would have attempts of its own."""
    asked = client(slapd, user_filter="(cn={name})")
    assert login(asked, "ada").why == ""
    found_there = login(asked, "a\u00adda").why
    assert found_there == "no name that could be one"  # it is not printable
    odd = login(client(slapd, user_filter="(|(cn={name})(sn=x))"), "nobody").why
    assert odd == "several people have this name there"
    one = login(client(slapd, user_filter="(|(cn={name})(uid=ada))"), "nobody").why
    assert one == "unknown"


def test_somebody_without_an_id_cannot_be_told_apart(slapd: Slapd) -> None:
    """So the settings are wrong, and nobody is let in under a name that may be another's."""
    assert "MATRIXFLAG_LDAP_ID_ATTRIBUTE" in away(client(slapd, id_attribute="employeeNumber"))


# Who is asked, and how


def test_active_directory_tells_ids_as_bytes(slapd: Slapd) -> None:
    """And its names have commas; who is disabled is not found; anybody may search here."""
    outcome = login(client(slapd, **AD), "ADA")
    assert outcome.why == ""
    assert outcome.entry is not None
    assert outcome.entry.subject == str(ADA_GUID)
    assert login(client(slapd, **AD), "ada@corp.example").why == ""
    assert login(client(slapd, **AD), "gone").why == "unknown"


def test_people_can_log_in_to_search_for_themselves(slapd: Slapd) -> None:
    """Where nobody else may."""
    direct = {"bind_dn": "", "bind_password": "", "bind_as": f"uid={{name}},ou=people,{BASE}"}
    outcome = login(client(slapd, **direct))
    assert (outcome.why, outcome.groups[1]) == ("", "flag-admins")
    assert login(client(slapd, **direct), password="wrong").why == WRONG
    assert login(client(slapd, **direct), "nobody").why == WRONG
    for name in ("ada,ou=people", "ada+cn=Ada", "*", f"ada,ou=people,{BASE}"):
        assert login(client(slapd, **direct), name).why == WRONG, name


def test_who_may_not_search_finds_nobody(slapd: Slapd) -> None:
    """The log says who may not, and where."""
    assert "noSuchObject" in away(client(slapd, bind_dn="", bind_password=""))
    said = away(client(slapd, bind_password="not this"))
    assert "does not let cn=matrix" in said
    assert "not this" not in said
    assert "noSuchObject" in away(client(slapd, base_dn="ou=nowhere,dc=example,dc=com"))


# Groups


def groups(asked: LdapClient, name: str = "ada") -> set[str]:
    """Return the groups of somebody, by their short names."""
    return {each for each in login(asked, name).groups if "=" not in each}


def test_groups_are_searched_by_each_way_of_being_a_member(slapd: Slapd) -> None:
    """By name, by unique name, by login."""
    assert groups(client(slapd)) == {"flag-admins", "unique", "by-login"}
    assert f"cn=flag-admins,ou=groups,{BASE}" in login(client(slapd)).groups
    assert groups(client(slapd, group_filter="(member={dn})")) == {"flag-admins"}


def test_groups_elsewhere_do_not_count(slapd: Slapd) -> None:
    """Bob is of a group that has the right name and the wrong place."""
    assert groups(client(slapd), "bob") == {"flag-admins"}
    assert groups(client(slapd, group_base_dn=f"ou=groups,{BASE}"), "bob") == set()


def test_groups_of_groups_count_where_they_are_to(slapd: Slapd) -> None:
    """Also round in a circle."""
    assert groups(client(slapd), "carol") == {"devs"}
    nested = client(slapd, nested_groups="true")
    assert groups(nested, "carol") == {"devs", "shop-devs", "shop-team"}
    devs, team = (f"cn={name},ou=groups,{BASE}" for name in ("devs", "shop-team"))
    slapd.change(devs, member=[f"uid=carol,ou=people,{BASE}", team])
    try:
        assert groups(nested, "carol") == {"devs", "shop-devs", "shop-team"}
    finally:
        slapd.change(devs, member=[f"uid=carol,ou=people,{BASE}"])


def test_groups_can_be_told_by_the_person(slapd: Slapd) -> None:
    """As Active Directory does; those elsewhere do not count here either."""
    asked = client(slapd, **AD, member_of_attribute="memberOf")
    assert groups(asked) == {"flag admins"}
    elsewhere = client(slapd, **AD, member_of_attribute="memberOf", group_base_dn=f"ou=x,{CORP}")
    assert groups(elsewhere) == set()
    assert groups(client(slapd, **AD, member_of_attribute="memberOf", nested_groups="1")) == {
        "flag admins"
    }


def test_all_groups_are_read_page_by_page(slapd: Slapd) -> None:
    """More than servers give at once."""
    dn = slapd.person("many")
    made = [f"cn=many{number},ou=old,{BASE}" for number in range(1_100)]
    with slapd.root(BASE) as root:
        for name in made:
            root.add(name, ["groupOfNames"], {"member": [dn]})
        try:
            assert len(groups(client(slapd), "many")) == 1_100
        finally:
            for name in [*made, dn]:
                root.delete(name)


# TLS


def test_tls_from_the_start_or_after_it(slapd: Slapd) -> None:
    """By address or by name, as the certificate has both."""
    by_name = slapd.tls_url.replace("127.0.0.1", "localhost")
    for url in (slapd.tls_url, by_name):
        assert login(client(slapd, url=url)).why == ""
    assert login(client(slapd, url=slapd.url, start_tls="true")).why == ""


@pytest.mark.parametrize("kind", ["another authority", "past", "another name", "no authority"])
def test_a_server_that_is_not_who_it_should_be_is_told_nothing(
    slapd: Slapd, authority: Authority, tmp_path: Path, kind: str
) -> None:
    """By either way; the log says what is wrong."""
    expected = {
        "another authority": "self-signed certificate in certificate chain",
        "past": "certificate has expired",
        "another name": "not valid for '127.0.0.1'",
        "no authority": "self-signed certificate in certificate chain",
    }[kind]
    if kind == "another authority":
        server, ca = slapd, str(Authority(tmp_path, "other").path)
    elif kind == "no authority":
        server, ca = slapd, ""
    else:
        hosts = ["ldap.example.com"] if kind == "another name" else ["127.0.0.1"]
        held = authority.issue(*hosts, days=-1 if kind == "past" else 1)
        server, ca = Slapd(tmp_path / "slapd", authority, held), str(authority.path)
        server.start()
    try:
        for ways in ({"url": server.tls_url}, {"url": server.url, "start_tls": "true"}):
            said = away(client(server, ca_file=ca, **ways))
            assert "certificate is not good" in said
            assert expected in said
    finally:
        if server is not slapd:
            server.kill()


def test_a_server_without_tls_is_told_nothing(slapd: Slapd) -> None:
    """StartTLS that is refused, or TLS to a port that speaks none."""

    def refuses(number: int, tag: int, data: bytes) -> bytes:
        assert LDAP_PASSWORD.encode() not in data
        return extended(number, 2)

    with hostile_server(refuses) as url:
        assert "startTLS failed" in away(client(slapd, url=url, start_tls="true"))
    assert away(client(slapd, url=slapd.url.replace("ldap:", "ldaps:")))


def test_what_is_put_in_before_tls_is_not_read_after_it(slapd: Slapd) -> None:
    """Answers in the clear, in the same packet as that to StartTLS."""

    def injects(number: int, tag: int, data: bytes) -> bytes:
        return extended(number) + bind_answer(number + 1)

    with hostile_server(injects) as url:
        assert away(client(slapd, url=url, start_tls="true"))


# Servers that are away, and others that are not


def test_the_next_server_is_asked_and_remembered(slapd: Slapd) -> None:
    """Nobody listens at the first; from then on the second comes first."""
    nobody = f"ldap://127.0.0.1:{free_port()}"
    asked = client(slapd, url=f"{nobody},{slapd.tls_url}")
    steps: list[str] = []
    assert asked.login("ada", LDAP_PASSWORD, time.monotonic() + WAIT_S, steps.append).why == ""
    assert nobody in steps[0]
    steps.clear()
    assert asked.login("ada", "wrong", time.monotonic() + WAIT_S, steps.append).why == WRONG
    assert nobody not in "".join(steps)
    assert nobody in away(client(slapd, url=f"{nobody},{nobody}"))


def test_a_server_that_hangs_has_its_share_of_the_time(
    slapd: Slapd, authority: Authority, tmp_path: Path
) -> None:
    """It takes connections, and says nothing; the next one is asked."""
    with Slapd(tmp_path / "slapd", authority) as hanging:
        asked = client(slapd, url=f"{hanging.tls_url},{slapd.tls_url}")
        hanging.freeze()
        began = time.monotonic()
        assert login(asked, wait_s=3.0).why == ""
        assert 1.4 < time.monotonic() - began < 2.5
        began = time.monotonic()
        assert login(asked, wait_s=3.0).why == ""
        assert time.monotonic() - began < 1.0
        for url in (hanging.tls_url, hanging.url):
            assert "does not answer in time" in away(client(slapd, url=url), wait_s=0.5)
        hanging.thaw()
        assert login(client(slapd, url=hanging.tls_url)).why == ""


def test_a_wrong_password_is_asked_at_one_server(slapd: Slapd, authority: Authority) -> None:
    """Else two attempts would be counted there for one here."""
    asked = client(slapd, url=f"{slapd.tls_url},{slapd.url}")
    steps: list[str] = []
    asked.login("ada", "wrong", time.monotonic() + WAIT_S, steps.append)
    assert len([step for step in steps if "connected" in step]) == 1


@pytest.mark.parametrize("ways", [{}, {"start_tls": "true"}, {"start_tls": ""}])
def test_whoever_waits_for_a_server_can_be_called_off(
    authority: Authority, tmp_path: Path, ways: dict[str, str]
) -> None:
    """So that a control plane that is told to stop does, also within TLS; none is asked then."""
    with Slapd(tmp_path / "slapd", authority) as hanging:
        url = hanging.url if ways else hanging.tls_url
        asked = client(hanging, url=f"{url},{url}", **ways)
        hanging.freeze()
        said: list[str] = []
        thread = threading.Thread(target=lambda: said.append(away(asked, wait_s=60.0)))
        thread.start()
        while not asked._open:
            time.sleep(0.01)  # it sets no event
        time.sleep(0.1)  # nor does a thread once it waits
        began = time.monotonic()
        asked.close()
        thread.join(10)
        assert time.monotonic() - began < 5.0
        assert len(said) == 1
        assert asked._open == set()
        assert "no time was left" in away(asked)


# Servers that are hostile


def honest(number: int, tag: int, data: bytes) -> bytes:
    """Answer as a server does that has Ada alone, and any password is right."""
    if tag == BIND:
        return bind_answer(number)
    if tag == SEARCH and b"uid" in data:
        who = entry(number, "uid=ada,dc=x", uid="ada", mail="a@b.c", entryUUID="id")
        return who + found(number)
    if tag == SEARCH:
        return found(number)
    return extended(number, value=b"dn:uid=ada,dc=x") if tag == EXTENDED else b""


def instead(tag: int, answer: Callable[[int], bytes], nth: int = 1) -> Script:
    """Return a script that is honest but for the nth question of a kind."""
    count = 0

    def script(number: int, asked: int, data: bytes) -> bytes:
        nonlocal count
        if asked == tag:
            count += 1
            if count == nth:
                return answer(number)
        return honest(number, asked, data)

    return script


def at(script: Script, slapd: Slapd, wait_s: float = WAIT_S) -> Outcome:
    """Log in at a server that follows a script."""
    with hostile_server(script) as url:
        return login(client(slapd, url=url), wait_s=wait_s)


def test_an_honest_server_is_one(slapd: Slapd) -> None:
    """Or what follows would show nothing."""
    assert at(honest, slapd).why == ""


def test_success_for_nobody_is_no_login(slapd: Slapd) -> None:
    """The server says that it was right, and then that nobody is there."""
    for value in (b"", None):
        outcome = at(instead(EXTENDED, lambda n, v=value: extended(n, value=v)), slapd)
        assert "nobody's" in outcome.why
    outcome = at(instead(EXTENDED, lambda n: extended(n, 2)), slapd)
    assert outcome.why == ""  # it does not know the question


STRANGE: list[tuple[str, Script]] = [
    ("half an answer", instead(BIND, lambda n: bind_answer(n)[:-3])),
    ("no LDAP", instead(BIND, lambda n: b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20)),
    ("zeros", instead(BIND, lambda n: bytes(100))),
    ("another's answer", instead(BIND, lambda n: bind_answer(n + 1))),
    ("an answer to something else", instead(BIND, lambda n: message(n, b"\x04\x00"))),
    ("a size without end", instead(BIND, lambda n: b"\x30\x84\xff\xff\xff\xff" + bytes(1000))),
    ("nesting", instead(SEARCH, lambda n: b"\x30\x80" * 5000)),
    (
        "disconnected",
        instead(
            SEARCH,
            lambda n: message(
                0, ber(0x78, b"\x0a\x01\x34\x04\x00\x04\x00", ber(0x8A, b"1.3.6.1.4.1.1466.20036"))
            ),
        ),
    ),
    ("a referral instead of an answer", instead(SEARCH, lambda n: found(n, 10))),
    ("a referral instead of a login", instead(BIND, lambda n: bind_answer(n, 10), 2)),
    ("busy", instead(BIND, lambda n: bind_answer(n, 51), 2)),
    ("no groups for now", instead(SEARCH, lambda n: found(n, 52), 2)),
    ("not all groups", instead(SEARCH, lambda n: found(n, 4), 2)),
]


@pytest.mark.parametrize(("what", "script"), STRANGE, ids=[what for what, _ in STRANGE])
def test_an_answer_that_is_none_lets_nobody_in(slapd: Slapd, what: str, script: Script) -> None:
    """And says nothing about the password; it ends in time."""
    with hostile_server(script) as url:
        assert url in away(client(slapd, url=url), wait_s=0.6)


@pytest.mark.parametrize("tag", [BIND, SEARCH, EXTENDED])
def test_whatever_is_wrong_in_an_answer_is_the_servers_trouble(slapd: Slapd, tag: int) -> None:
    """Bytes that are others, lacking or too many raise nothing that nobody expects."""
    draw = random.Random(tag)

    def spoilt(number: int, asked: int, data: bytes) -> bytes:
        answer = bytearray(honest(number, asked, data))
        if asked == tag and answer:
            at = draw.randrange(len(answer))
            answer[at : at + draw.choice([0, 1, 1])] = draw.randbytes(draw.choice([0, 1, 1, 1]))
        return bytes(answer)

    came_out = 0
    with hostile_server(spoilt) as url:
        asked = client(slapd, url=url)
        for _ in range(20):
            with contextlib.suppress(ServersAway):
                login(asked, wait_s=0.1)
                came_out += 1
    assert came_out < 20


def test_a_server_that_drips_ends_in_time(slapd: Slapd) -> None:
    """A byte now and then is an answer for a time-out of single reads."""

    def drips(number: int, tag: int, data: bytes) -> Iterator[bytes]:
        yield b"\x30\x84\x00\x10\x00\x00"
        while True:
            time.sleep(0.02)
            yield b"x"

    with hostile_server(drips) as url:
        began = time.monotonic()
        assert "in time" in away(client(slapd, url=url), wait_s=0.7)
        assert time.monotonic() - began < 1.2


def test_no_more_is_read_than_anybody_needs(slapd: Slapd) -> None:
    """However fast it comes, and however much time there is."""
    endless = instead(SEARCH, lambda n: entry(n, "uid=ada", uid="x" * 5_000_000))
    with hostile_server(endless) as url:
        assert "answers more than" in away(client(slapd, url=url), wait_s=60.0)


def test_who_is_not_there_costs_as_many_answers(slapd: Slapd) -> None:
    """As who is there, and gives a wrong password; what is sent for them is no password of
    anybody's."""
    counted: list[int] = []

    def nobody_is_right(number: int, tag: int, data: bytes) -> bytes:
        counted.append(tag)
        if tag == BIND:
            return bind_answer(number, 0 if counted.count(BIND) == 1 else 49)
        if tag == SEARCH and b"nobody" in data:
            assert LDAP_PASSWORD.encode() not in data
            return found(number)
        return honest(number, tag, data)

    sizes = []
    with hostile_server(nobody_is_right) as url:
        for name in ("ada", "nobody"):
            counted.clear()
            assert login(client(slapd, url=url), name).why != ""
            sizes.append([tag for tag in counted if tag != UNBIND])
    assert sizes[0] == sizes[1] == [BIND, SEARCH, BIND]


def test_referrals_are_not_followed(slapd: Slapd) -> None:
    """Passwords go where the settings say."""
    asked: list[int] = []

    def counts(number: int, tag: int, data: bytes) -> bytes:
        asked.append(tag)
        return honest(number, tag, data)

    with hostile_server(counts) as target:
        reference = ber(0x73, ber(0x04, f"{target}/dc=x".encode()))
        refers = instead(
            SEARCH,
            lambda n: message(n, reference) + honest(n, SEARCH, b"uid"),
        )
        assert at(refers, slapd).why == ""
        instead_of_entries = instead(SEARCH, lambda n: found(n, 10, f"{target}/dc=x"))
        with hostile_server(instead_of_entries) as url:
            assert "referral" in away(client(slapd, url=url))
    assert asked == []


@pytest.mark.parametrize(
    ("code", "said", "why"),
    [
        (
            49,
            "80090308: LdapErr: DSID-0C09041C, comment: AcceptSecurityContext, data 52e, v4563",
            WRONG,
        ),
        (
            49,
            "80090308: LdapErr: DSID-0C09041C, comment: x, data 775, v4563",
            "the account is locked",
        ),
        (
            49,
            "80090308: LdapErr: DSID-0C09041C, comment: x, data 532, v4563",
            "the password has expired",
        ),
        (49, "data fff", WRONG),
        (19, "Exceed password retry limit. Please try later.", "the account is locked"),
        (
            53,
            "Account inactivated. Contact system administrator.",
            "the server will not let the account log in",
        ),
    ],
)
def test_the_audit_log_is_told_why_a_server_lets_somebody_not_in(
    slapd: Slapd, code: int, said: str, why: str
) -> None:
    """In the words of Active Directory, of 389 Directory Server and of others; all are refusals."""
    assert at(instead(BIND, lambda n: bind_answer(n, code, said), 2), slapd).why == why


def test_an_entry_without_a_name_is_nobody(slapd: Slapd) -> None:
    """A login without a name would be one of nobody."""
    nameless = instead(
        SEARCH, lambda n: entry(n, "", uid="ada", mail="a@b.c", entryUUID="id") + found(n)
    )
    assert at(nameless, slapd).why == "unknown"


def test_nobody_is_asked_in_the_time_of_another(slapd: Slapd) -> None:
    """When no time is left, no server is."""
    asked = client(slapd)
    with pytest.raises(ServersAway):
        asked.login("ada", LDAP_PASSWORD, time.monotonic() - 1)


def test_several_threads_ask_at_once(slapd: Slapd) -> None:
    """Each gets its own answer."""
    asked = client(slapd)
    told: dict[int, str] = {}

    def one(number: int) -> None:
        name = ("ada", "bob", "carol", "nobody")[number % 4]
        told[number] = login(asked, name, LDAP_PASSWORD if number % 3 else "wrong").why

    threads = [threading.Thread(target=one, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, why in told.items():
        expected = WRONG if number % 3 == 0 else ""
        assert why == ("unknown" if number % 4 == 3 else expected), number
    assert len(told) == 12


def test_without_a_file_the_machine_s_authorities_are_trusted(slapd: Slapd) -> None:
    """And names are checked."""
    context = client_module.tls_context(None)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert environ(slapd)["MATRIXFLAG_LDAP_CA_FILE"]
