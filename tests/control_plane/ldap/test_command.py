"""`matrixflag ldap check`: what it says when things are right, and what when they are not."""

import argparse
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from control_plane.ldap.command import COMMAND
from tests.control_plane.ldap.conftest import environ
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.processes import ROOT
from tests.support.slapd import BASE, LDAP_PASSWORD, SEARCH_PASSWORD, Slapd

Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Runs it with an environment, and returns its status and all it said."""

    def run(given: dict[str, str], *arguments: str, stdin: str = "") -> tuple[int, str]:
        parser = argparse.ArgumentParser()
        COMMAND.configure(parser)
        monkeypatch.setattr(os, "environ", given)
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        status = COMMAND.run(parser.parse_args(["check", *arguments]))
        said = "".join(capsys.readouterr())
        assert LDAP_PASSWORD not in said
        assert SEARCH_PASSWORD not in said
        return status, said

    return run


def test_it_is_a_command_of_matrixflag(slapd: Slapd) -> None:
    """As people run it."""
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "ldap", "check", "--user", "ada"],
        env={"PATH": os.environ["PATH"], **environ(slapd)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ada can log in if the password is right" in done.stdout


def test_it_goes_the_whole_way_and_says_each_step(slapd: Slapd, check: Check) -> None:
    """With the password from stdin."""
    given = environ(slapd, group_base_dn=f"ou=groups,{BASE}")
    status, said = check(given, "--user", "ada", "--password-file", "-", stdin=LDAP_PASSWORD + "\n")
    assert status == 0, said
    for step in (
        "connected",
        "TLS, certificate and name are good",
        "logged in to search as cn=matrix",
        "1 found by (|(uid=ada)(mail=ada))",
        f"it is uid=ada,ou=people,{BASE}, entryUUID ",
        f"logged in as uid=ada,ou=people,{BASE}",
        "3 groups below",
        "address ada@example.com, name Ada",
        "role admin in project *, environment *",
        "ada can log in with this password",
    ):
        assert step in said, said


def test_it_goes_as_far_as_it_can_without_a_password(slapd: Slapd, check: Check) -> None:
    """Of nobody, of somebody, and of somebody without a role."""
    given = environ(slapd, group_base_dn=f"ou=groups,{BASE}")
    status, said = check(given)
    assert (status, "The server can be used" in said) == (0, True), said
    assert f"there is ou=groups,{BASE}" in said
    status, said = check(given, "--user", "ada")
    assert (status, "ada can log in if the password is right" in said) == (0, True), said
    status, said = check(given, "--user", "bob")
    assert (status, "lacks a group with a role" in said) == (1, True), said
    status, said = check(given, "--user", "nobody")
    assert (status, "nobody could not log in: unknown" in said) == (1, True), said


def test_it_needs_no_secret_key(slapd: Slapd, check: Check) -> None:
    """Who runs the LDAP server has none, and none of what it makes is made here."""
    given = environ(slapd)
    del given["SECRET_KEY"]
    for more in ({}, {"SECRET_KEY_FILE": "/nowhere"}, {"MATRIXFLAG_HOST": "0.0.0.0"}):
        status, said = check({**given, **more}, "--user", "ada")
        assert (status, "ada can log in if the password is right" in said) == (0, True), said


def test_a_role_may_be_where_there_is_nothing(slapd: Slapd, check: Check) -> None:
    """It cannot be known here, and is said."""
    roles = "flag-admins=manager:no-such-shop"
    _, said = check(environ(slapd, roles=roles, group_base_dn=f"ou=groups,{BASE}"), "--user", "ada")
    assert "role manager in project no-such-shop" in said
    assert "only the control plane knows" in said
    _, said = check(environ(slapd, roles="flag-admins=admin"), "--user", "ada")
    assert "only the control plane knows" not in said


def test_it_says_what_is_wrong(slapd: Slapd, tmp_path: Path, check: Check) -> None:
    """With the password, the server, the certificate, the settings, or how it is used."""
    wrong = tmp_path / "password"
    wrong.write_text("wrong\n")
    status, said = check(environ(slapd), "--user", "ada", "--password-file", str(wrong))
    assert (status, "ada could not log in: wrong password" in said) == (1, True), said
    assert "invalidCredentials (49)" in said
    nobody = f"ldaps://127.0.0.1:{free_port()}"
    status, said = check(environ(slapd, url=f"{nobody},{slapd.tls_url}"))
    assert (status, "refused" in said, "The server can be used" in said) == (0, True, True), said
    other = str(Authority(tmp_path, "other").path)
    status, said = check(environ(slapd, ca_file=other))
    assert (status, "certificate is not good" in said, "503" in said) == (1, True, True), said
    status, said = check(environ(slapd, group_base_dn=f"ou=nowhere,{BASE}"))
    assert (status, f"shows no ou=nowhere,{BASE}" in said) == (1, True), said
    status, said = check(environ(slapd, url=slapd.url.replace("ldap://", "ldaps://")))
    assert (status, "at a port that speaks LDAP without it: EOF occurred" in said) == (1, True), (
        said
    )
    assert "('" not in said
    status, said = check(environ(slapd, user_filter="(uid={name}"))
    assert (status, "lacks a closing bracket at its end" in said) == (2, True), said
    status, said = check(environ(slapd, user_filter="(uid=x)"))
    assert (status, "MATRIXFLAG_LDAP_USER_FILTER" in said) == (2, True), said
    status, said = check({})
    assert (status, "MATRIXFLAG_LDAP_URL names no server" in said) == (2, True), said
    status, said = check(environ(slapd), "--password-file", str(wrong))
    assert (status, "--user" in said) == (2, True), said
    missing = str(tmp_path / "missing")
    status, said = check(environ(slapd), "--user", "ada", "--password-file", missing)
    assert (status, "cannot be read" in said) == (2, True), said
    direct = {"bind_dn": "", "bind_password": "", "bind_as": f"uid={{name}},ou=people,{BASE}"}
    status, said = check(environ(slapd, **direct), "--user", "ada")
    assert (status, "needs --user and their password" in said) == (2, True), said
