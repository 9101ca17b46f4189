"""What groups and paths come to, as pure functions; and what settings refuse."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from control_plane.access.roles import Binding, Role
from control_plane.settings import Settings
from control_plane.sso.model import (
    groups_in,
    is_own_path,
    parse_factor_claims,
    parse_group_roles,
    roles_of,
)
from proxy.contract.settings import SettingsError

GOOD = {
    "SECRET_KEY": "s" * 32,
    "MATRIXFLAG_PUBLIC_URL": "https://flags.example.com",
    "MATRIXFLAG_OIDC_ISSUER": "https://login.example.com/realms/company",
    "MATRIXFLAG_OIDC_CLIENT_ID": "matrix-flag",
    "MATRIXFLAG_OIDC_ROLES": "flag-admins=admin",
}


def test_groups_are_given_roles_in_places() -> None:
    """A group's name may hold what separates the rest."""
    found = parse_group_roles(" flag-admins=admin, a:b=c=Manager:shop ,x=viewer:shop/staging,")
    assert found == (
        ("flag-admins", Binding(Role.ADMIN)),
        ("a:b=c", Binding(Role.MANAGER, "shop")),
        ("x", Binding(Role.VIEWER, "shop", "staging")),
    )
    assert roles_of(["x", "x", "none", "a:b=c"], found) == (found[1].binding, found[2].binding)


@pytest.mark.parametrize("text", ["a", "=admin", "a=root", "a=admin:sh op", "a=viewer:/staging"])
def test_what_gives_no_role_is_refused(text: str) -> None:
    """A spelling mistake must not let nobody in, or everybody."""
    with pytest.raises(ValueError, match="holds"):
        parse_group_roles(text)


@pytest.mark.parametrize(
    ("claims", "name", "groups"),
    [
        ({"groups": ["a", "b"]}, "groups", ("a", "b")),
        ({"https://x.example/groups": ["a"]}, "https://x.example/groups", ("a",)),
        ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", ("a",)),
        ({"realm_access": "a"}, "realm_access.roles", None),
        ({"hd": "example.com"}, "hd", ("example.com",)),
        ({"groups": ["a", 1, None, {}, "", "x" * 501]}, "groups", ("a",)),
        ({"groups": []}, "groups", ()),
        ({}, "groups", None),
    ],
)
def test_where_groups_are(claims: dict[str, Any], name: str, groups: Any) -> None:
    """As providers have them."""
    assert groups_in(claims, name) == groups


@given(st.text(alphabet="/\\.:@?#%a\t\n ", max_size=12) | st.text(max_size=20))
def test_an_own_path_stays_at_its_origin(text: str) -> None:
    """As a browser reads it, which takes a backslash for a slash and drops tabs and line ends."""
    if not is_own_path(text):
        return
    read = re.sub(r"[\t\n\r]", "", text).replace("\\", "/")
    joined = URL("https://flags.example.com/login").join(URL(read, encoded=True))
    assert joined.origin() == URL("https://flags.example.com")
    assert text.isascii()
    assert text.isprintable()


def test_good_settings_are_taken(tmp_path: Path) -> None:
    """And the secret comes from its file."""
    file = tmp_path / "secret"
    file.write_text("hush\n")
    settings = Settings.load(GOOD, {"oidc_client_secret_file": str(file)})
    assert settings.oidc_client_secret == "hush"
    assert "HS256" not in settings.oidc_algorithms
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"SECRET_KEY": ""}, "needs SECRET_KEY"),
        ({"MATRIXFLAG_PUBLIC_URL": ""}, "needs MATRIXFLAG_PUBLIC_URL"),
        ({"MATRIXFLAG_OIDC_CLIENT_ID": ""}, "needs MATRIXFLAG_OIDC_CLIENT_ID"),
        ({"MATRIXFLAG_OIDC_ROLES": ""}, "needs MATRIXFLAG_OIDC_ROLES"),
        ({"MATRIXFLAG_OIDC_ISSUER": ""}, "needs MATRIXFLAG_OIDC_ISSUER"),
        ({"MATRIXFLAG_OIDC_ISSUER": "http://login.example.com"}, "https but on loopback"),
        ({"MATRIXFLAG_OIDC_ISSUER": "https://a.example?x"}, "is not an address"),
        ({"MATRIXFLAG_OIDC_SCOPES": "email"}, "must hold openid"),
        ({"MATRIXFLAG_OIDC_ALGORITHMS": "none"}, "something else"),
        ({"MATRIXFLAG_OIDC_ALGORITHMS": "RS256,HS256"}, "needs MATRIXFLAG_OIDC_CLIENT_SECRET"),
        ({"MATRIXFLAG_OIDC_CLIENT_SECRET_FILE": "/none/such"}, "No such file"),
    ],
)
def test_settings_that_cannot_work(changed: dict[str, str], problem: str) -> None:
    """Are told at the start, not to the first who wants to log in."""
    with pytest.raises(SettingsError, match=problem):
        Settings.load({**GOOD, **changed}, {})


def test_what_says_that_a_factor_was_shown_is_read() -> None:
    """Blanks and empty parts are no matter; what is no claim with a value is refused."""
    found = parse_factor_claims(" amr=mfa,, acr=https://refeds.org/profile/mfa?a=b ")
    assert found == (("amr", "mfa"), ("acr", "https://refeds.org/profile/mfa?a=b"))
    for text in ("mfa", "amr=", "=mfa", "amr=pwd mfa", "amr=mfa,acr"):
        with pytest.raises(ValueError, match="not CLAIM=VALUE"):
            parse_factor_claims(text)
