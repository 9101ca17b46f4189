"""Logins of people whose password a real slapd knows, over HTTP, with a real Redis."""

import asyncio
import logging
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import ldap3
import pytest

from control_plane.access.roles import Role
from control_plane.errors import Unauthorized
from control_plane.keys import METRICS, USERS
from control_plane.ldap import service as ldap_service
from control_plane.ldap.model import parse_directory_roles, parse_servers
from control_plane.metrics import Metrics
from control_plane.settings import Settings
from control_plane.users import service as users_service
from proxy.contract.settings import SettingsError
from tests.control_plane.ldap.conftest import environ, settings
from tests.control_plane.users.people import (
    PASSWORD,
    add,
    logged_in,
    login,
    people,
    set_up_totp,
    verify,
)
from tests.support.api import Api, Reply, until
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.slapd import BASE, LDAP_PASSWORD, Slapd

ADMINS = f"cn=flag-admins,ou=groups,{BASE}"
ADA_DN = f"uid=ada,ou=people,{BASE}"
NOBODY = "cn=nobody"


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The beat of failed logins is a tenth of what it is in life."""
    monkeypatch.setattr(users_service, "_BEAT_S", 0.025)


@pytest.fixture
async def api(redis_url: str, slapd: Slapd) -> AsyncIterator[Api]:
    """A control plane whose people are there."""
    async with people(redis_url, **settings(slapd, group_base_dn=f"ou=groups,{BASE}")) as running:
        yield running


async def ldap(api: Api, name: str = "ada", password: str = LDAP_PASSWORD) -> Reply:
    """Try to log in with LDAP's password."""
    return await login(api, name, password)


async def users(api: Api) -> list[dict[str, Any]]:
    """Return who there is."""
    items: list[dict[str, Any]] = (await api.ask("GET", "/api/v1/users")).json["items"]
    return items


async def audited(api: Api, action: str) -> list[dict[str, Any]]:
    """Return the entries of an action, newest first."""
    log = "~refused" if action == "session.refuse" else "~access"
    reply = await api.ask("GET", f"/api/v1/audit?project={log}&action={action}")
    assert reply.status == 200, reply.body
    items: list[dict[str, Any]] = reply.json["items"]
    return items


async def refused(reply: Reply, api: Api) -> str:
    """See that somebody was not let in, told nothing, and return what the audit log says."""
    assert (reply.status, reply.json["code"]) == (401, "login_failed"), reply.body
    assert "address or the password is wrong" in reply.json["detail"]
    reason: str = (await audited(api, "session.refuse"))[0]["reason"]
    return reason.removeprefix("login failed: ")


def outcomes(api: Api) -> dict[str, int]:
    """Return how many logins came to what, of LDAP."""
    metrics: Metrics = api.app[METRICS]
    found = {}
    for metric in metrics.registry.collect():
        for sample in metric.samples:
            if sample.name == "matrixflag_ldap_login_seconds_count":
                found[sample.labels["outcome"]] = int(sample.value)
    return found


# Coming in


@pytest.mark.parametrize("name", ["ada", "ada@example.com", "ADA"])
async def test_who_comes_for_the_first_time_is_made_with_the_roles_of_their_groups(
    api: Api, name: str
) -> None:
    """By name or address, with a session like any other."""
    reply = await ldap(api, name)
    assert reply.status == 200, reply.body
    token = reply.json["access_token"]
    me = (await api.ask("GET", "/api/v1/me", token=token)).json
    assert (me["email"], me["name"]) == ("ada@example.com", "Ada")
    roles = [(each["role"], each["project"]) for each in me["roles"]]
    assert roles == [("admin", "*"), ("viewer", "*")]
    (identity,) = me["identities"]
    assert identity["issuer"] == f"ldap:{BASE}"
    assert me["roles_from"] == ["ldap"]
    sessions = (await api.ask("GET", "/api/v1/me/sessions", token=token)).json["items"]
    assert sessions[0]["methods"] == ["ldap"]
    begun = (await audited(api, "session.begin"))[0]
    assert "method:ldap" in begun["targets"]
    made = (await audited(api, "user.provision"))[0]
    assert made["reason"] == f"as ldap:{BASE} says"
    body = {"refresh_token": reply.json["refresh_token"]}
    origin = {"Sec-Fetch-Site": "same-origin"}
    cookies = await api.ask("POST", "/api/v1/auth/cookies", token=None, json=body, headers=origin)
    assert cookies.status == 200, cookies.body


async def test_one_person_is_one_by_whatever_name(api: Api) -> None:
    """And a version only when something is new."""
    for name in ("ada", "ada@example.com", "Ada"):
        assert (await ldap(api, name)).status == 200
    (ada,) = await users(api)
    assert ada["version"] == 1


async def test_roles_follow_the_groups_at_each_login(api: Api, slapd: Slapd) -> None:
    """Who leaves a group loses its role; who leaves all loses their sessions too."""
    token = (await ldap(api)).json["access_token"]
    slapd.change(ADMINS, member=[NOBODY])
    try:
        assert (await ldap(api)).status == 200
        (ada,) = await users(api)
        assert [each["role"] for each in ada["roles"]] == ["viewer"]
        slapd.change(f"cn=by-login,ou=groups,{BASE}", memberUid=[])
        reply = await ldap(api)
        assert (reply.status, reply.json["code"]) == (403, "sso_refused")
        assert "none of your groups" in reply.json["detail"]
        assert (await users(api))[0]["roles"] == []
        assert (await api.ask("GET", "/api/v1/me", token=token)).status == 401
        reason = (await audited(api, "session.refuse"))[0]["reason"]
        assert reason.startswith("login failed: ldap: none of your groups")
    finally:
        slapd.change(ADMINS, member=[ADA_DN])
        slapd.change(f"cn=by-login,ou=groups,{BASE}", memberUid=["ada"])


async def test_who_has_no_group_is_not_made(api: Api) -> None:
    """Bob's group has the right name, in another place."""
    reply = await ldap(api, "bob")
    assert (reply.status, reply.json["code"]) == (403, "sso_refused")
    assert await users(api) == []


async def test_who_was_refused_is_found_by_what_ldap_calls_them(api: Api, slapd: Slapd) -> None:
    """Their address, else their name; nothing of what was typed."""
    await ldap(api, "bob")
    await ldap(api, "bob", "wrong")
    path = "/api/v1/audit?project=~refused&target=person:bob@example.com"
    found = [each["reason"] for each in (await api.ask("GET", path)).json["items"]]
    none = "login failed: ldap: none of your groups has a role here"
    assert found == ["login failed: ldap: wrong password", none]
    slapd.change(ADA_DN, mail=[])
    try:
        await ldap(api)
    finally:
        slapd.change(ADA_DN, mail=["ada@example.com"])
    newest = (await audited(api, "session.refuse"))[0]
    assert (newest["targets"], "no address" in newest["reason"]) == (["person:Ada"], True)
    await ldap(api, "correct horse battery typed here", "")
    newest = (await audited(api, "session.refuse"))[0]
    assert newest["targets"] == []
    assert "horse" not in str(newest)


async def test_an_address_and_a_name_are_followed(api: Api, slapd: Slapd) -> None:
    """People marry; their id stays."""
    await ldap(api)
    slapd.change(ADA_DN, mail=["lovelace@example.com"], displayName=["Ada L."])
    try:
        assert (await ldap(api)).status == 200
        (ada,) = await users(api)
        assert (ada["email"], ada["name"]) == ("lovelace@example.com", "Ada L.")
    finally:
        slapd.change(ADA_DN, mail=["ada@example.com"], displayName=[])


async def test_who_has_no_address_is_told_whose_it_is_to_give_one(api: Api, slapd: Slapd) -> None:
    """In the words of LDAP."""
    slapd.change(ADA_DN, mail=[])
    try:
        reply = await ldap(api)
        assert (reply.status, reply.json["code"]) == (403, "sso_refused")
        assert "MATRIXFLAG_LDAP_EMAIL_ATTRIBUTES" in reply.json["detail"]
    finally:
        slapd.change(ADA_DN, mail=["ada@example.com"])


async def test_who_comes_after_with_the_same_name_is_somebody_else(api: Api, slapd: Slapd) -> None:
    """A name and an address that are given to somebody new do not bring the account along."""
    dn = slapd.person("eve")
    slapd.change(ADMINS, member=[ADA_DN, dn])
    try:
        assert (await ldap(api, "eve")).status == 200
        slapd.delete(dn)
        slapd.person("eve")
        reply = await ldap(api, "eve")
        assert (reply.status, reply.json["code"]) == (403, "sso_refused")
        assert "is somebody's here" in reply.json["detail"]
    finally:
        slapd.change(ADMINS, member=[ADA_DN])
        slapd.delete(dn)


# Not coming in


WRONG = [
    ("ada", "wrong", "ldap: wrong password"),
    ("ada", "", "ldap: no password that could be one"),
    ("ada", "\x00", "ldap: no password that could be one"),
    ("nobody", LDAP_PASSWORD, "ldap: unknown"),
    ("nobody@example.com", "", "ldap: no password that could be one"),
    ("same@example.com", LDAP_PASSWORD, "ldap: several people have this name there"),
    ("*", LDAP_PASSWORD, "ldap: unknown"),
    ("x" * 5_000, LDAP_PASSWORD, "ldap: no name that could be one"),
    ("", LDAP_PASSWORD, "ldap: no name that could be one"),
]


async def test_whoever_is_not_let_in_is_told_the_same(api: Api) -> None:
    """Only the audit log says why."""
    for name, password, why in WRONG:
        assert await refused(await ldap(api, name, password), api) == why, name
    assert await users(api) == []
    await ldap(api)
    await refused(await ldap(api, "ada", "wrong"), api)
    (ada,) = await users(api)
    assert (await audited(api, "session.refuse"))[0]["targets"] == [f"user:{ada['id']}"]
    assert outcomes(api)["right"] == 1


async def test_how_long_it_takes_does_not_tell_who_is_there(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor who has a password here: all answers come at the same beat."""
    monkeypatch.setattr(users_service, "_BEAT_S", 0.25)
    await add(api, "local@example.com")
    took: dict[str, list[float]] = {}
    for _ in range(5):
        for name in ("ada", "nobody", "local@example.com", "x" * 400):
            began = time.perf_counter()
            reply = await ldap(api, name, "wrong")
            took.setdefault(name, []).append(time.perf_counter() - began)
            assert reply.status == 401
            await api.app[USERS].attempts.forgive("127.0.0.1", name[:320])
    for times in took.values():
        assert min(times) >= 0.25, took
        assert statistics.median(each % 0.25 for each in times) < 0.1, took


async def test_too_many_attempts_are_stopped_whatever_the_spelling(api: Api) -> None:
    """Before LDAP is asked, also when the password is right at last."""
    names = [
        "ada",
        "ADA",
        " ada",
        "\uff41da",
        "ada ",
        "aDA",
        "Ada",
        "ada\t",
        "adA",
        "\uff41\uff44a",
    ]
    for name in names:
        await refused(await ldap(api, name, "wrong"), api)
    asked = outcomes(api)
    reply = await ldap(api)
    assert (reply.status, reply.json["code"]) == (429, "login_throttled")
    assert int(reply.headers["Retry-After"]) > 0
    assert outcomes(api) == asked


async def test_a_success_takes_failed_attempts_back(api: Api) -> None:
    """As for passwords that are kept here."""
    for _ in range(2):
        for _ in range(8):
            await refused(await ldap(api, "ada", "wrong"), api)
        assert (await ldap(api)).status == 200


async def test_who_is_disabled_here_stays_out(api: Api) -> None:
    """Whatever LDAP says."""
    await add(api, "root@example.com")
    token = (await ldap(api)).json["access_token"]
    ada = next(each for each in await users(api) if each["identities"])
    await api.ask("PATCH", f"/api/v1/users/{ada['id']}", json={"disabled": True})
    assert (await api.ask("GET", "/api/v1/me", token=token)).status == 401
    reply = await ldap(api)
    assert (reply.status, reply.json["code"]) == (403, "sso_refused")
    assert "disabled" in reply.json["detail"]
    await refused(await ldap(api, "ada", "wrong"), api)


# Accounts that are here


async def test_a_password_that_is_kept_here_is_not_for_ldap_to_judge(api: Api) -> None:
    """Somebody with the address there gets nobody's account here, whichever password they give."""
    await add(api, "ada@example.com", role="viewer")
    assert (await login(api, "ada@example.com", PASSWORD)).status == 200
    assert await refused(await ldap(api, "ada@example.com"), api) == "wrong_password"
    assert outcomes(api) == {}
    reply = await ldap(api, "ada")
    assert (reply.status, reply.json["code"]) == (403, "sso_refused")
    assert "does not vouch" in reply.json["detail"]
    (ada,) = await users(api)
    assert (ada["identities"], ada["roles_from"], ada["version"]) == ([], [], 1)


async def test_who_was_invited_is_not_whoever_has_the_address_there(api: Api) -> None:
    """Unless the settings say that nobody can write their own."""
    body = {"email": "ada@example.com", "roles": [{"role": "viewer", "project": "*"}]}
    assert (await api.ask("POST", "/api/v1/users", json=body)).status == 201
    assert (await ldap(api, "ada@example.com")).status == 403


async def test_an_address_that_is_trusted_leads_to_the_account_that_is_here(
    redis_url: str, slapd: Slapd
) -> None:
    """Whose password stays, and whose invitation is void; then both passwords are theirs."""
    async with people(redis_url, **settings(slapd, trust_email="true")) as api:
        made = await add(api, "ada@example.com", role="viewer")
        assert (await ldap(api, "ada")).status == 200
        (ada,) = await users(api)
        assert ada["id"] == made["id"]
        assert len(await audited(api, "user.link")) == 1
        assert (await login(api, "ada@example.com", PASSWORD)).status == 200
        assert (await ldap(api, "ada@example.com")).status == 200
        await refused(await ldap(api, "ada@example.com", "wrong"), api)


async def test_who_has_no_password_here_gets_none_behind_the_back_of_ldap(api: Api) -> None:
    """Nor proves anything by one: as with other systems, they log in again."""
    token = (await ldap(api)).json["access_token"]
    for current in ("", LDAP_PASSWORD):
        body = {"current": current, "new": "staple apple window rain"}
        reply = await api.ask("POST", "/api/v1/me/password", token=token, json=body)
        assert (reply.status, reply.json["code"]) == (401, "wrong_password")
    body = {"password": LDAP_PASSWORD}
    reply = await api.ask("POST", "/api/v1/me/verify", token=token, json=body)
    assert (reply.status, reply.json["code"]) == (401, "factor_failed")


# Second factors


async def test_who_has_a_second_factor_shows_it(api: Api) -> None:
    """LDAP's password is no more than any; the session says both."""
    token = (await ldap(api)).json["access_token"]
    app = await set_up_totp(api, token=token)
    reply = await ldap(api)
    assert (reply.status, reply.json.get("mfa_required")) == (200, True)
    assert "access_token" not in reply.json
    wrong = await verify(api, reply.json["challenge"], code="000000")
    assert wrong.status == 401
    done = await verify(api, reply.json["challenge"], code=app.code())
    assert done.status == 200, done.body
    token = done.json["access_token"]
    sessions = (await api.ask("GET", "/api/v1/me/sessions", token=token)).json["items"]
    assert sessions[0]["methods"] == ["ldap", "totp"]


async def test_logging_in_with_a_factor_takes_failed_attempts_back(api: Api) -> None:
    """Also by the name that they logged in with, which is not their address."""
    app = await set_up_totp(api, token=(await ldap(api)).json["access_token"])
    for _ in range(8):
        await refused(await ldap(api, "ada", "wrong"), api)
    challenge = (await ldap(api)).json["challenge"]
    assert (await verify(api, challenge, recovery_code=app.recovery[0])).status == 200
    for _ in range(8):
        await refused(await ldap(api, "ada", "wrong"), api)


async def test_a_factor_that_came_in_this_very_moment_is_asked_for(api: Api) -> None:
    """A replica that had not heard of it when it looked begins no session."""
    app = await set_up_totp(api, token=(await ldap(api)).json["access_token"])
    assert app.recovery
    service = api.app[USERS]
    (ada,) = await users(api)
    with pytest.raises(Unauthorized):
        await service.begin(service.found(ada["id"]), "", "127.0.0.1", "", ("ldap",))


async def test_a_role_that_needs_a_factor_needs_it_of_them(redis_url: str, slapd: Slapd) -> None:
    """They can set one up, and nothing else."""
    given = settings(slapd)
    async with people(redis_url, **given, require_second_factor=(Role.ADMIN,)) as api:
        token = (await ldap(api)).json["access_token"]
        reply = await api.ask("GET", "/api/v1/users", token=token)
        assert (reply.status, reply.json["code"]) == (403, "second_factor_needed")
        app = await set_up_totp(api, token=token)
        challenge = (await ldap(api)).json["challenge"]
        done = await verify(api, challenge, recovery_code=app.recovery[0])
        reply = await api.ask("GET", "/api/v1/users", token=done.json["access_token"])
        assert reply.status == 200


async def test_who_finds_no_room_here_loses_no_attempt(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their password was right: it is no guess."""
    monkeypatch.setattr("control_plane.sso.people.MAX_USERS", 0)
    for _ in range(12):
        reply = await ldap(api)
        assert (reply.status, reply.json["code"]) == (409, "too_many")
    monkeypatch.undo()
    assert (await ldap(api)).status == 200


# Servers that are away


async def test_without_ldap_who_has_a_password_here_logs_in(redis_url: str, slapd: Slapd) -> None:
    """Others are told what is wrong, and lose no attempts; nothing at the start needs it."""
    nobody = f"ldaps://127.0.0.1:{free_port()}"
    async with people(redis_url, **settings(slapd, url=nobody)) as api:
        await add(api, "local@example.com")
        for _ in range(12):
            reply = await ldap(api)
            assert (reply.status, reply.json["code"]) == (503, "ldap_unavailable")
        assert reply.headers["Retry-After"] == "5"
        assert "LDAP" in reply.json["detail"]
        assert nobody not in reply.json["detail"]
        assert (await login(api, "local@example.com")).status == 200
        await refused(await login(api, "local@example.com", "wrong"), api)
        assert outcomes(api) == {"unavailable": 12}


async def test_failed_attempts_stay_counted_while_ldap_is_away(
    redis_url: str, slapd: Slapd, authority: Authority, tmp_path: Path
) -> None:
    """Whoever can hold it up gets no new ones by that."""
    with Slapd(tmp_path / "slapd", authority) as own:
        async with people(redis_url, **settings(own, timeout_s="2")) as api:
            for _ in range(9):
                await refused(await ldap(api, "ada", "wrong"), api)
            own.freeze()
            for _ in range(2):
                assert (await ldap(api, "ada", "wrong")).status == 503
            own.thaw()
            await refused(await ldap(api, "ada", "wrong"), api)
            assert (await ldap(api)).status == 429


async def test_a_server_that_hangs_holds_up_nobody_else(
    redis_url: str,
    slapd: Slapd,
    authority: Authority,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Who waits for it is told in time, who is too many at once; the loop goes on all the while."""
    with Slapd(tmp_path / "slapd", authority) as own:
        given = settings(own, url=f"{own.tls_url}", timeout_s="1.5", connections="2")
        async with people(redis_url, **given, rate_limit_login=0) as api:
            await add(api, "local@example.com")
            own.freeze()
            began = time.monotonic()
            names = [f"person{number}" for number in range(25)]
            waiting = [asyncio.create_task(ldap(api, name)) for name in names]
            longest = 0.0
            while not all(task.done() for task in waiting):
                before = time.monotonic()
                assert (await api.ask("GET", "/livez", token=None)).status == 200
                longest = max(longest, time.monotonic() - before)
                if before - began < 0.5:
                    assert (await login(api, "local@example.com")).status == 200
                await asyncio.sleep(0.02)
            replies = [task.result() for task in waiting]
            assert time.monotonic() - began < 4.0
            assert longest < 0.5
            assert {reply.status for reply in replies} <= {503}
            assert {reply.json["code"] for reply in replies} == {"ldap_unavailable"}
            own.thaw()
            assert (await ldap(api)).status == 200
    assert "does not answer in time" in caplog.text


async def test_more_than_a_few_at_once_are_told_to_come_again(
    redis_url: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In no time, and it costs them no attempt."""
    monkeypatch.setattr(ldap_service, "_WAITING", 2)
    with Slapd(tmp_path / "slapd", authority) as own:
        given = settings(own, timeout_s="1", connections="1")
        async with people(redis_url, **given) as api:
            own.freeze()
            replies = await asyncio.gather(*(ldap(api, f"p{n}") for n in range(6)))
            codes = sorted(reply.json["code"] for reply in replies)
            assert codes == ["busy"] * 3 + ["ldap_unavailable"] * 3
            own.thaw()
            assert (await ldap(api)).status == 200
            assert outcomes(api) == {"busy": 3, "unavailable": 3, "right": 1}


async def test_a_name_that_is_being_resolved_for_ever_is_given_up(
    redis_url: str, slapd: Slapd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can end that thread, so it is busy until it ends; who waits is told in time."""
    over = threading.Event()

    class Resolver:
        def __getattr__(self, name: str) -> object:
            return getattr(socket, name)

        def getaddrinfo(self, *asked: Any) -> object:
            over.wait(30)
            return socket.getaddrinfo(*asked)

    given = settings(slapd, timeout_s="0.3", connections="1")
    async with people(redis_url, **given) as api:
        with monkeypatch.context() as patched:
            patched.setattr(ldap3.core.server, "socket", Resolver())
            began = time.monotonic()
            replies = await asyncio.gather(*(ldap(api, f"p{n}") for n in range(3)))
            assert time.monotonic() - began < 2.0
            assert {reply.json["code"] for reply in replies} == {"ldap_unavailable"}
            over.set()
        await until(lambda: has_logged_in(api))


async def has_logged_in(api: Api) -> bool:
    """Try to log in, and return whether that was so."""
    return (await ldap(api)).status == 200


async def test_a_killed_server_is_noticed_and_its_return_too(
    redis_url: str, authority: Authority, tmp_path: Path, slapd: Slapd
) -> None:
    """Also with another beside it, which is asked then."""
    with Slapd(tmp_path / "slapd", authority) as own:
        one = settings(own)
        both = settings(own, url=f"{own.tls_url},{slapd.tls_url}")
        async with people(redis_url, **one) as api, people(redis_url, **both) as other:
            assert (await ldap(api)).status == 200
            own.kill()
            assert (await ldap(api)).json["code"] == "ldap_unavailable"
            reply = await ldap(other)
            # the other server knows another Ada, who has her address and not her id
            assert (reply.status, reply.json["code"]) == (403, "sso_refused")
            own.start()
            assert (await ldap(api)).status == 200


async def test_no_password_is_in_the_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """At its most talkative, right or wrong."""
    caplog.set_level(logging.DEBUG)
    await ldap(api)
    await refused(await ldap(api, "ada", "a wrong one, to be searched for"), api)
    assert LDAP_PASSWORD not in caplog.text
    assert "to be searched for" not in caplog.text


# Settings


def problems(slapd: Slapd, **others: str) -> str:
    """Return what is said of settings."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ(slapd, **others), {})
    return "\n".join(caught.value.problems)


def test_settings_that_cannot_be_used_are_refused_at_the_start(
    slapd: Slapd, tmp_path: Path
) -> None:
    """Each by its name, in words."""
    plain = "ldap://ldap.example.com"
    assert "would send passwords that the network can read" in problems(slapd, url=plain)
    assert "TLS already" in problems(slapd, start_tls="true")
    for name in ("base_dn", "roles"):
        assert f"needs MATRIXFLAG_LDAP_{name.upper()}" in problems(slapd, **{name: ""})
    assert "go together" in problems(slapd, bind_password="")
    assert "go together" in problems(slapd, bind_dn="")
    assert "exclude each other" in problems(slapd, bind_as="{name}@corp")
    assert "needs MATRIXFLAG_LDAP_URL" in problems(slapd, url="")
    assert "MATRIXFLAG_LDAP_USER_FILTER" in problems(slapd, user_filter="(uid=x)")
    assert "MATRIXFLAG_LDAP_GROUP_FILTER" in problems(slapd, group_filter="(x")
    assert "MATRIXFLAG_LDAP_BASE_DN" in problems(slapd, base_dn="example")
    assert "MATRIXFLAG_LDAP_ROLES" in problems(slapd, roles="x=owner")
    assert "MATRIXFLAG_LDAP_TIMEOUT_S" in problems(slapd, timeout_s="0")
    assert "MATRIXFLAG_LDAP_ID_ATTRIBUTE" in problems(slapd, id_attribute="a b")
    empty = tmp_path / "empty.pem"
    empty.write_text("none")
    assert "does not hold certificates" in problems(slapd, ca_file=str(empty))
    assert "--ldap-ca-file" in problems(slapd, ca_file=str(tmp_path / "missing"))
    missing = {"bind_password": "", "bind_password_file": str(tmp_path / "missing")}
    assert "--ldap-bind-password-file" in problems(slapd, **missing)


def test_settings_that_can_be_used_are(slapd: Slapd, tmp_path: Path) -> None:
    """Plain LDAP to this machine, or where it is meant; a password in a file."""
    held = tmp_path / "password"
    held.write_text("from a file\n")
    given = {"bind_password": "", "bind_password_file": str(held)}
    loaded = Settings.load(environ(slapd, **given), {}).ldap()
    assert loaded is not None
    assert loaded.bind_password == "from a file"
    assert "from a file" not in repr(Settings.load(environ(slapd, **given), {}))
    for more in (
        {"url": "ldap://127.0.0.1:389"},
        {"url": "ldap://[::1]"},
        {"url": "ldap://ldap.example.com", "start_tls": "true"},
        {"url": "ldap://ldap.example.com", "allow_plaintext": "true"},
    ):
        assert Settings.load(environ(slapd, **more), {}).ldap() is not None
    assert Settings().ldap() is None
    assert parse_servers("") == ()
    assert parse_directory_roles("") == ()


def test_nothing_of_it_is_loaded_where_it_is_not_configured() -> None:
    """It would be memory and time of all who do not use it."""
    script = "import sys, control_plane.app; print('ldap3' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"


async def test_tokens_of_both_kinds_of_people_are_the_same(api: Api) -> None:
    """Nothing after the login asks where a password is kept."""
    await add(api, "local@example.com")
    local = await logged_in(api, "local@example.com")
    theirs = (await ldap(api)).json
    assert local.keys() == theirs.keys()
