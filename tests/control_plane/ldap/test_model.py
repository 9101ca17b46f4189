"""Names and filters: what people type is a value in them, whatever it is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3.operation.search import compile_filter, parse_filter
from ldap3.utils.dn import parse_dn

from control_plane.access.roles import Binding, Role
from control_plane.ldap.model import (
    Server,
    check_dn,
    check_group_filter,
    check_template,
    check_user_filter,
    comparisons,
    filled,
    filled_dn,
    group_names,
    is_below,
    issuer_of,
    parse_directory_roles,
    parse_servers,
    plain_dn,
    plain_name,
    values_for,
)

FILTER = "(&(objectClass=person)(|(uid={name})(mail={name})))"


# Addresses


def test_servers_have_the_ports_of_their_schemes() -> None:
    """Unless they say another."""
    assert parse_servers(" ldaps://a.example , ldap://[::1], ldap://B:1389/ ") == (
        Server("a.example", 636, True),
        Server("::1", 389, False),
        Server("b", 1389, False),
    )
    assert str(Server("::1", 389, False)) == "ldap://[::1]:389"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a.example",
            "https://a",
            "ldap://",
            "ldapi:///x",
            "ldap://a:x",
            "ldap://a:0",
            "ldap://a:99999",
        ),
        *("ldap://a/dc=example", "ldap://a?x", "ldap://a#x", "ldap://u:hidden@a"),
        ",".join(f"ldap://a{number}" for number in range(9)),
    ],
)
def test_an_address_that_is_none_is_refused(text: str) -> None:
    """And not quoted where a password may be in it."""
    with pytest.raises(ValueError, match="holds") as caught:
        parse_servers(text)
    assert "hidden" not in str(caught.value)


# Names


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cn=Ada,dc=x", "CN=ada, DC=X"),
        ("cn=a\\,b,dc=x", "cn=a\\2Cb,dc=x"),
        ("cn=é,dc=x", "cn=\\c3\\a9,dc=x"),
        ("cn=a+uid=b,dc=x", "uid=b+cn=a,dc=x"),
        ("cn=a  b,dc=x", "cn=a b,dc=x"),
        ("cn=a\\ ,dc=x", "cn=a ,dc=x"),
    ],
)
def test_names_that_are_equal_are_equal(one: str, other: str) -> None:
    """Case, spaces and ways of escaping make no difference."""
    assert plain_dn(one) == plain_dn(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cn=a\\,dc=x", "cn=a,dc=x"),
        ("cn=a,dc=x\\,dc=y", "cn=a,dc=x,dc=y"),
        ("cn=\ufb02ag,dc=x", "cn=flag,dc=x"),
        ("cn=á,dc=x", "cn=a,dc=x"),
    ],
)
def test_names_that_only_look_alike_are_not(one: str, other: str) -> None:
    """An escaped comma is part of a value."""
    assert plain_dn(one) != plain_dn(other)


@pytest.mark.parametrize(
    "text", ["", "x", "cn", "=x", "cn=a,", "cn=a,,dc=x", "cn=a\\", "1x=a", "c n=a"]
)
def test_a_name_that_is_none_is_refused(text: str) -> None:
    """In the settings, and as a group's."""
    with pytest.raises(ValueError, match=r"is not a name|ends within"):
        check_dn(text)
    assert not is_below(text, "dc=x")
    assert group_names(text) == ()


@given(st.text(min_size=1, max_size=30))
def test_what_is_typed_stays_one_value_of_a_name(typed: str) -> None:
    """Read by the library as by us."""
    dn = filled_dn("uid={name},ou=people,dc=x", typed)
    levels = dn.split(",")
    assert levels[1:] == ["ou=people", "dc=x"]
    value = re.sub(r"\\([0-9a-f]{2})", lambda m: chr(int(m[1], 16)), levels[0][4:])
    assert value.encode("latin-1") == typed.encode("utf-8", "surrogatepass")
    assert plain_dn(dn).endswith(",ou=people,dc=x")
    if typed.strip():
        assert len(parse_dn(dn)) == 3


def test_what_is_below() -> None:
    """By whole levels."""
    assert is_below("cn=a,dc=x,dc=y", "dc=x,dc=y")
    assert is_below("DC=x,dc=y", "dc=X, dc=y")
    assert not is_below("cn=a,dc=xx,dc=y", "dc=x,dc=y")
    assert not is_below("cn=a,adc=x,dc=y", "dc=x,dc=y")
    assert not is_below("dc=y", "dc=x,dc=y")
    assert not is_below("cn=a\\,dc=x\\,dc=y,dc=z", "dc=x,dc=y")


def test_a_server_is_called_by_its_domain() -> None:
    """So that moving people within it makes nobody of them another."""
    assert issuer_of("ou=people,DC=Example,dc=com") == "ldap:dc=example,dc=com"
    assert issuer_of("dc=example,dc=com") == "ldap:dc=example,dc=com"
    assert issuer_of("o=Company") == "ldap:o=company"


def test_names_that_servers_hold_equal_are_counted_as_one() -> None:
    """Also those in other letters for the same."""
    same = ["ada l", " ADA  L ", "\uff41\uff44\uff41 l", "Ada\u00a0L", "ada\tl"]
    assert {plain_name(each) for each in same} == {"ada l"}
    assert plain_name("ádá") == plain_name("a\u0301da\u0301") != "ada"


# Filters


@pytest.mark.parametrize(
    "text",
    [
        FILTER,
        "(uid={name})",
        "(userPrincipalName={name}@corp.example)",
        "(&(uid={name})(!(userAccountControl:1.2.840.113556.1.4.803:=2)))",
        "(&(uid={name})(objectClass=*)(cn=a*b)(a>=1)(b~=x)(c;lang-de=x)(:dn:2.4.6:=x))",
    ],
)
def test_a_good_filter_is_one_for_the_library_too(text: str) -> None:
    """With whatever in its places."""
    assert check_user_filter(text) == text
    compile_filter(
        parse_filter(filled(text, {"name": "a*)("}), None, False, False, None, False).elements[0]
    )


@pytest.mark.parametrize(
    "text",
    [
        *(
            "uid={name}",
            "(uid={name}",
            "(uid={name}))",
            "(uid={name})x",
            "()",
            "(&)",
            "(!)",
            "(uid)",
        ),
        *("(uid=x)", "(uid={name})(mail={name})", "(uid={user})", "({name}=x)", "(uid={name}*)"),
        *(
            "(uid~={name})",
            "(uid:={name})",
            "(uid>={name})",
            "(&(uid={name})(cn=a\\zz))",
            "(uid={name}(x))",
        ),
        "(" * 50 + "uid={name}" + ")" * 50,
        "(&" * 30 + "(uid={name})" + ")" * 30,
    ],
)
def test_a_filter_that_is_none_or_finds_by_less_is_refused(text: str) -> None:
    """At the start, and not when somebody logs in."""
    with pytest.raises(ValueError, match=r"."):
        check_user_filter(text)


@given(st.text(max_size=60))
def test_no_text_is_read_for_ever_or_as_two_things(text: str) -> None:
    """It is a filter for us only if it is one for the library."""
    try:
        comparisons(text)
    except ValueError:
        return
    parse_filter(text, None, False, False, None, False)


@given(st.text(max_size=40))
def test_what_is_typed_stays_one_value_of_a_filter(typed: str) -> None:
    """Nothing in it opens, closes or stands for anything."""
    made = filled(FILTER, {"name": typed})
    assert [each.attribute for each in comparisons(made)] == ["objectClass", "uid", "mail"]
    leaf = parse_filter(filled("(uid={name})", {"name": typed}), None, False, False, None, False)
    assert leaf.elements[0].tag == 10 or not typed  # equality, as the library numbers it
    compiled = compile_filter(leaf.elements[0])
    value = bytes(compiled["equalityMatch"]["assertionValue"])
    assert value == typed.encode("utf-8", "surrogatepass")


def test_people_are_found_by_the_attributes_that_are_compared() -> None:
    """Which an entry then has to bear out."""
    assert values_for("(|(UID={name})(upn={name}@corp)(objectClass=x))") == {
        "uid": ["{name}"],
        "upn": ["{name}@corp"],
    }


def test_group_filters_name_the_member() -> None:
    """By name or by login."""
    good = "(member:1.2.840.113556.1.4.1941:={dn})"
    assert check_group_filter(good) == good
    assert check_group_filter("(memberUid={login})")
    for text in ("(cn=x)", "(member={name})", "member={dn}"):
        with pytest.raises(ValueError, match=r"."):
            check_group_filter(text)


def test_templates_name_whoever_logs_in_once() -> None:
    """As a name, or as other systems call them."""
    for text in ("{name}@corp.example", "CORP\\{name}", "uid={name},dc=x"):
        assert check_template(text) == text
    for text in ("", "x", "{name}{name}", "uid={user},dc=x", "uid={name},dc", "{name}={name}"):
        with pytest.raises(ValueError, match=r"."):
            check_template(text)
    assert filled_dn("{name}@corp", "a,b") == "a,b@corp"


# Groups


def test_roles_are_of_names_or_of_whole_names() -> None:
    """With semicolons, because whole names have commas."""
    viewer = Binding(Role.VIEWER, "*", "*")
    assert parse_directory_roles("Flag Admins=admin, shop=viewer") == (
        ("flag admins", Binding(Role.ADMIN, "*", "*")),
        ("shop", viewer),
    )
    assert parse_directory_roles("CN=A,ou=admin,dc=x=viewer:shop; b=viewer") == (
        ("cn=a,ou=admin,dc=x", Binding(Role.VIEWER, "shop", "*")),
        ("b", viewer),
    )
    for text in ("a", "a=owner", "cn=a,dc=x=viewer,cn=b,dc=x=viewer", "=x=viewer"):
        with pytest.raises(ValueError, match="holds"):
            parse_directory_roles(text)


def test_a_group_that_is_called_like_another_is_not_that() -> None:
    """Nor is one whose value has the form of a whole name."""
    assert group_names("CN=Flag  Admins,ou=groups,dc=x") == (
        "cn=flag\\20admins,ou=groups,dc=x",
        "flag admins",
    )
    whole = "cn=flag-admins,dc=x"
    assert whole not in group_names("cn=cn\\=flag-admins\\,dc\\=x,ou=old,dc=x")
