"""One LDAP server for each module, and the settings that name it."""

from collections.abc import Iterator
from typing import Any

import pytest

from control_plane.ldap.client import LdapClient, tls_context
from control_plane.settings import Settings
from tests.control_plane.users.conftest import real_parameters
from tests.support.certificates import Authority
from tests.support.slapd import BASE, SEARCH_PASSWORD, SEARCHER, Slapd

__all__ = ["authority", "client", "environ", "real_parameters", "slapd"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who vouches for the servers."""
    return Authority(tmp_path_factory.mktemp("authority"), "good")


@pytest.fixture(scope="module")
def slapd(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """A server with its people; what a test changes there, it changes back."""
    with Slapd(tmp_path_factory.mktemp("slapd"), authority) as server:
        yield server


def environ(slapd: Slapd, **others: str) -> dict[str, str]:
    """Return the environment of a control plane whose people are there; "" takes one away."""
    given = {
        "url": slapd.tls_url,
        "ca_file": str(slapd.ca),
        "base_dn": BASE,
        "bind_dn": SEARCHER,
        "bind_password": SEARCH_PASSWORD,
        "roles": "flag-admins=admin,shop-team=manager:shop,by-login=viewer",
        **others,
    }
    named = {f"MATRIXFLAG_LDAP_{key.upper()}": value for key, value in given.items() if value}
    return {"SECRET_KEY": "x" * 40, **named}


def client(slapd: Slapd, **others: str) -> LdapClient:
    """Return what asks that server."""
    config = Settings.load(environ(slapd, **others), {}).ldap()
    assert config is not None
    return LdapClient(config, tls_context(config.ca_file))


def settings(slapd: Slapd, **others: Any) -> dict[str, Any]:
    """Return the settings of LDAP as fields; those of `others` that are texts as variables."""
    texts = {key: value for key, value in others.items() if isinstance(value, str)}
    loaded = Settings.load(environ(slapd, **texts), {})
    fields = {name: getattr(loaded, name) for name in vars(loaded) if name.startswith("ldap_")}
    return {**fields, **{f"ldap_{k}": v for k, v in others.items() if k not in texts}}
