"""Second factors over real HTTP: codes and recovery codes, shown, replayed, guessed, required."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import jwt
import msgspec
import pyotp
import pytest
import redis

from control_plane.app import ROUTES
from control_plane.keys import FACTORS
from control_plane.store.keys import ProjectKeys
from control_plane.supervise import stop
from control_plane.users import challenges
from control_plane.users.sealing import Sealer
from control_plane.users.store import MAX_ATTEMPTS, MAX_GUESSES, MAX_TRIES
from control_plane.web.openapi import plain_path
from control_plane.web.routing import Permission
from tests.control_plane.users.people import (
    ADA,
    PASSWORD,
    SECRET,
    Totp,
    add,
    logged_in,
    login,
    people,
    set_up_totp,
    verify,
)
from tests.support.api import Api, Reply, until

ME, FACTORS_PATH, PROVE = "/api/v1/me", "/api/v1/me/factors", "/api/v1/me/verify"
TOTP_PATH, RECOVERY = f"{FACTORS_PATH}/totp", f"{FACTORS_PATH}/recovery"
KEYS = ProjectKeys("~access")


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    """A control plane with one person."""
    async with people(redis_url) as running:
        await add(running)
        yield running


@pytest.fixture
async def ada(api: Api) -> Totp:
    """An authenticator app of hers."""
    return await set_up_totp(api)


async def challenge(api: Api, email: str = ADA) -> str:
    """Show the password, and return the challenge."""
    reply = await login(api, email)
    assert reply.status == 200, reply.body
    return str(reply.json["challenge"])


async def actions(api: Api) -> list[tuple[str, str]]:
    """Return what was done to people and who was refused, each newest first, and why."""
    paths = [f"/api/v1/audit?project={name}&limit=500" for name in ("~access", "~refused")]
    entries = [entry for path in paths for entry in (await api.ask("GET", path)).json["items"]]
    return [(entry["action"], entry.get("reason", "")) for entry in entries]


def code_of(reply: Reply) -> tuple[int, str]:
    """Return the status and the code of a refusal."""
    return reply.status, "" if reply.status < 300 else reply.json["code"]


# At a login


async def test_a_password_alone_begins_no_session(api: Api, ada: Totp) -> None:
    """It gives a challenge, which is no token, neither for requests nor for going on."""
    asked = (await login(api)).json
    assert asked["mfa_required"] is True
    assert asked["methods"] == ["totp", "recovery"]
    assert not {"access_token", "refresh_token"} & asked.keys()
    for token in (asked["challenge"], asked["challenge"].removeprefix("mf_challenge_")):
        assert (await api.ask("GET", ME, token=token)).status == 401
        again = await api.ask("POST", "/api/v1/auth/refresh", json={"refresh_token": token})
        assert again.status == 401
    listed = await api.ask("GET", "/api/v1/me/sessions", token=ada.token)
    assert len(listed.json["items"]) == 1, "no session was begun on the way"
    reply = await verify(api, asked["challenge"], code=ada.code())
    assert reply.status == 200
    listed = await api.ask("GET", "/api/v1/me/sessions", token=reply.json["access_token"])
    assert listed.json["items"][0]["methods"] == ["password", "totp"]


async def test_a_wrong_password_tells_nothing_of_a_factor(api: Api, ada: Totp) -> None:
    """The same as for nobody."""
    wrong, nobody = await login(api, ADA, "wrong horse battery"), await login(api, "no@example.com")
    assert code_of(wrong) == code_of(nobody) == (401, "login_failed")
    assert wrong.json["detail"] == nobody.json["detail"]


async def test_a_code_is_good_once(api: Api, ada: Totp) -> None:
    """Also for another challenge, also that of its setting up."""
    first = await challenge(api)
    assert code_of(await verify(api, first, code=ada.used)) == (401, "factor_failed")
    code = ada.code()
    assert (await verify(api, first, code=code)).status == 200
    assert code_of(await verify(api, await challenge(api), code=code)) == (401, "factor_failed")


async def test_a_challenge_is_good_once(api: Api, ada: Totp) -> None:
    """Also with another code that is good."""
    one = await challenge(api)
    assert (await verify(api, one, code=ada.code())).status == 200
    reply = await verify(api, one, recovery_code=ada.recovery[0])
    assert code_of(reply) == (401, "challenge_failed")
    assert (await verify(api, await challenge(api), recovery_code=ada.recovery[0])).status == 200


async def test_two_replicas_take_one_code_once(redis_url: str) -> None:
    """Asked at the same time, with a challenge each: exactly one is let in."""
    async with people(redis_url) as one, people(redis_url) as other:
        await add(one)
        app = await set_up_totp(one)
        challenges = [await challenge(one) for _ in range(4)]

        async def is_known() -> bool:
            return (await api_knows(other, app.token)) == 200

        await until(is_known)
        code = app.code()
        replies = await asyncio.gather(
            *(
                verify(api, each, code=code)
                for api, each in zip((one, other) * 2, challenges, strict=True)
            )
        )
        assert sorted(reply.status for reply in replies) == [200, 401, 401, 401]


async def api_knows(api: Api, token: str) -> int:
    """Return the status of who asks who they are."""
    return (await api.ask("GET", ME, token=token)).status


async def test_a_recovery_code_is_good_once(api: Api, ada: Totp) -> None:
    """However it is typed; and one less is left."""
    typed = ada.recovery[3].upper().replace("-", " ")
    reply = await verify(api, await challenge(api), recovery_code=typed)
    assert reply.status == 200
    token = reply.json["access_token"]
    shown = (await api.ask("GET", FACTORS_PATH, token=token)).json
    assert shown["recovery_codes_left"] == 9
    again = await verify(api, await challenge(api), recovery_code=ada.recovery[3])
    assert code_of(again) == (401, "factor_failed")


async def test_who_is_refused_is_told_what_to_look_at_and_not_what_was_wrong(
    api: Api, ada: Totp
) -> None:
    """Wrong, replayed, or that of the setting up: the same words."""
    replayed, spent = ada.code(), ada.recovery[0]
    assert (await verify(api, await challenge(api), code=replayed)).status == 200
    assert (await verify(api, await challenge(api), recovery_code=spent)).status == 200
    one = await challenge(api)
    codes = [await verify(api, one, code=each) for each in (ada.used, replayed, "no")]
    assert {code_of(reply) for reply in codes} == {(401, "factor_failed")}
    (said,) = {reply.json["detail"] for reply in codes}
    assert "each code works once, also the one that set the app up" in said
    assert "check the clock of the device" in said
    two = await challenge(api)
    recovery = [await verify(api, two, recovery_code=each) for each in (spent, "no")]
    (said,) = {reply.json["detail"] for reply in recovery}
    assert "each recovery code works once" in said


async def test_setting_an_app_up_says_when_it_shows_the_next_code(api: Api) -> None:
    """Whoever types the same one again would be refused."""
    token = (await logged_in(api))["access_token"]
    begun = (await api.ask("POST", TOTP_PATH, token=token)).json
    app = pyotp.TOTP(begun["secret"])
    body = {"challenge": begun["challenge"], "code": app.now()}
    done = (await api.ask("POST", f"{TOTP_PATH}/confirm", token=token, json=body)).json
    at = datetime.fromisoformat(done["next_code_at"])
    assert at.timestamp() % 30 == 0
    one = await challenge(api)
    assert code_of(await verify(api, one, code=body["code"])) == (401, "factor_failed")
    assert (await verify(api, one, code=app.at(at))).status == 200


@pytest.mark.parametrize(
    "code", ["", "000000", "12345", "1234567", "abcdef", "٣٤٥٦٧٨", "123456\0", "9" * 4000]
)
async def test_what_is_no_code_is_refused(api: Api, ada: Totp, code: str) -> None:
    """As a wrong one."""
    one = await challenge(api)
    assert code_of(await verify(api, one, code=code)) == (401, "factor_failed")
    assert code_of(await verify(api, one, recovery_code=code)) == (401, "factor_failed")


@pytest.mark.parametrize("answer", [{}, {"code": "123456", "recovery_code": "x"}])
async def test_one_answer_is_given_to_a_challenge(
    api: Api, ada: Totp, answer: dict[str, str]
) -> None:
    """Neither none nor two."""
    assert (await verify(api, await challenge(api), **answer)).status == 422


async def test_guessing_codes_is_stopped(api: Api, ada: Totp) -> None:
    """After five answers the challenge is over, after ten attempts the account waits.

    The right password, shown in between, takes none of them back.
    """
    one = await challenge(api)
    right = ada.code()
    wrong = f"{(int(right) + 1) % 1_000_000:06}"
    for _ in range(MAX_TRIES):
        assert code_of(await verify(api, one, code=wrong)) == (401, "factor_failed")
    assert code_of(await verify(api, one, code=right)) == (401, "challenge_failed")
    left = MAX_ATTEMPTS["account"] - MAX_TRIES - 2
    other = await challenge(api)
    for _ in range(left - 1):
        assert code_of(await verify(api, other, code=wrong)) == (401, "factor_failed")
    assert code_of(await verify(api, other, code=right)) == (429, "login_throttled")
    assert code_of(await login(api)) == (429, "login_throttled")
    assert ("session.refuse", "login failed: wrong_code") in await actions(api)


async def test_codes_are_bounded_by_the_day(api: Api, ada: Totp, redis_url: str) -> None:
    """Whatever the quarters of an hour forgive; then a recovery code is still taken."""
    right = ada.code()
    wrong = f"{(int(right) + 1) % 1_000_000:06}"
    with redis.Redis.from_url(redis_url) as client:
        for _ in range(MAX_GUESSES // MAX_TRIES):
            client.delete(*client.keys("mf:{~login}:a*"), "none")
            one = await challenge(api)
            for _ in range(MAX_TRIES):
                assert code_of(await verify(api, one, code=wrong)) == (401, "factor_failed")
        client.delete(*client.keys("mf:{~login}:a*"))
    one = await challenge(api)
    reply = await verify(api, one, code=right)
    assert code_of(reply) == (429, "login_throttled")
    assert int(reply.headers["Retry-After"]) > 3600
    assert reply.json["detail"].endswith("codes again in 24 hours")
    assert (await verify(api, one, recovery_code=ada.recovery[0])).status == 200


async def test_a_challenge_is_its_persons(api: Api, ada: Totp) -> None:
    """Whoever shows another's code to it is not let in, as neither of them."""
    await add(api, "bob@example.com", "viewer")
    bob = await set_up_totp(api, "bob@example.com")
    one = await challenge(api, "bob@example.com")
    assert code_of(await verify(api, one, code=ada.code())) == (401, "factor_failed")
    reply = await verify(api, one, recovery_code=ada.recovery[0])
    assert code_of(reply) == (401, "factor_failed")
    reply = await verify(api, one, code=bob.code())
    me = await api.ask("GET", ME, token=reply.json["access_token"])
    assert me.json["email"] == "bob@example.com"


async def test_what_is_no_challenge_is_refused(api: Api, ada: Totp) -> None:
    """Forged, changed, sealed under another secret, made for something else, over."""
    good = await challenge(api)
    kid, _, body = good.removeprefix("mf_challenge_").partition(".")
    other = Sealer(["another secret, of enough characters"])
    began = await api.ask("POST", f"{FACTORS_PATH}/totp", token=ada.token)
    assert began.status == 409
    bad = [
        "",
        good.removeprefix("mf_challenge_"),
        good[:-4] + "AAAA",
        f"mf_challenge_{kid}.",
        f"mf_challenge_.{body}",
        f"mf_challenge_{other.seal(b'{}', 'challenge')}",
        f"mf_challenge_{Sealer([SECRET]).seal(b'{}', 'totp')}",
        ada.token,
        "x" * 5000,
        "é",
    ]
    for each in bad:
        reply = await verify(api, each, code=ada.code())
        assert code_of(reply) == (401, "challenge_failed"), each
    assert (await verify(api, good, code=ada.code())).status == 200


async def test_a_challenge_ends_with_its_password_and_its_time(
    api: Api, ada: Totp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five minutes; or somebody was disabled, or chose another password."""
    one = await challenge(api)
    body = {"current": PASSWORD, "new": "staple apple window rain"}
    changed = await api.ask("POST", "/api/v1/me/password", token=ada.token, json=body)
    assert changed.status == 204
    assert code_of(await verify(api, one, code=ada.code())) == (401, "challenge_failed")
    old = await login(api, ADA, body["new"])
    monkeypatch.setattr(challenges, "CHALLENGE_S", -1)
    late = (await login(api, ADA, body["new"])).json["challenge"]
    assert code_of(await verify(api, late, code=ada.code())) == (401, "challenge_failed")
    made = await api.ask("GET", ME, token=ada.token)
    await add(api, "bob@example.com", "admin")
    path = f"/api/v1/users/{made.json['id']}"
    assert (await api.ask("PATCH", path, json={"disabled": True})).status == 200
    reply = await verify(api, old.json["challenge"], code=ada.code())
    assert code_of(reply) == (401, "factor_failed")


# Set up, changed, removed


async def test_the_first_factor_ends_sessions_that_lack_one(api: Api) -> None:
    """Whoever was there with the password alone is out; who set it up stays."""
    other = await logged_in(api)
    app = await set_up_totp(api)
    assert await api_knows(api, other["access_token"]) == 401
    assert await api_knows(api, app.token) == 200
    refreshed = await api.ask(
        "POST", "/api/v1/auth/refresh", json={"refresh_token": other["refresh_token"]}
    )
    assert refreshed.status == 401


async def test_nothing_changes_until_a_code_confirms(api: Api) -> None:
    """A secret that was shown and not scanned locks nobody out."""
    tokens = await logged_in(api)
    began = (await api.ask("POST", TOTP_PATH, token=tokens["access_token"])).json
    assert began["uri"].startswith("otpauth://totp/Matrix%20Flag:ada%40example.com?secret=")
    assert began["qr"].startswith("<svg")
    assert "access_token" in (await login(api)).json
    body = {"challenge": began["challenge"], "code": "000000"}
    path = f"{TOTP_PATH}/confirm"
    reply = await api.ask("POST", path, token=tokens["access_token"], json=body)
    assert code_of(reply) == (401, "factor_failed")
    body["code"] = pyotp.TOTP(began["secret"]).now()
    elsewhere = await logged_in(api)
    reply = await api.ask("POST", path, token=elsewhere["access_token"], json=body)
    assert code_of(reply) == (401, "challenge_failed"), "it is of the session that began it"
    reply = await api.ask("POST", path, token=tokens["access_token"], json=body)
    assert reply.status == 200
    assert len(set(reply.json["recovery_codes"])) == 10
    reply = await api.ask("POST", path, token=tokens["access_token"], json=body)
    assert code_of(reply) == (401, "challenge_failed")


async def test_factors_change_only_for_who_proved_it_lately(api: Api, redis_url: str) -> None:
    """A token that was stolen from a session an hour old changes nothing."""
    app = await set_up_totp(api)
    make_old(api, app.token)
    old: list[tuple[str, str]] = [
        ("DELETE", TOTP_PATH),
        ("POST", RECOVERY),
        ("POST", TOTP_PATH),
    ]
    for method, path in old:
        reply = await api.ask(method, path, token=app.token)
        assert code_of(reply) == (403, "proof_needed"), path
    wrong = await api.ask("POST", PROVE, token=app.token, json={"password": "wrong horse"})
    assert code_of(wrong) == (401, "factor_failed")
    for proof in ({"password": PASSWORD}, {"code": app.code()}):
        make_old(api, app.token)
        assert (await api.ask("POST", PROVE, token=app.token, json=proof)).status == 204
        assert (await api.ask("POST", RECOVERY, token=app.token)).status == 200
    assert (await api.ask("DELETE", TOTP_PATH, token=app.token)).status == 204
    shown = (await api.ask("GET", FACTORS_PATH, token=app.token)).json
    assert shown == {
        "totp_since": None,
        "passkeys": [],
        "recovery_codes_left": 0,
        "needed": False,
        "missing": False,
    }
    assert "access_token" in (await login(api)).json


def make_old(api: Api, token: str) -> None:
    """Make the session of a token begin an hour ago, here."""
    directory = api.app[FACTORS]._directory
    session = jwt.decode(token, options={"verify_signature": False})["sid"]
    directory.sessions[session] = msgspec.structs.replace(
        directory.sessions[session], created_at="2020-01-01T00:00:00.000Z", proved_at=None
    )


async def test_new_recovery_codes_end_the_old_ones(api: Api, ada: Totp) -> None:
    """All ten of them."""
    fresh = (await api.ask("POST", RECOVERY, token=ada.token)).json["recovery_codes"]
    assert not set(fresh) & set(ada.recovery)
    reply = await verify(api, await challenge(api), recovery_code=ada.recovery[0])
    assert code_of(reply) == (401, "factor_failed")
    reply = await verify(api, await challenge(api), recovery_code=fresh[9])
    assert reply.status == 200


async def test_an_admin_resets_the_factors_of_who_lost_them(api: Api, ada: Totp) -> None:
    """Which ends their sessions; who is no admin does not."""
    await add(api, "bob@example.com", "viewer")
    bob = (await logged_in(api, "bob@example.com"))["access_token"]
    made = (await api.ask("GET", ME, token=ada.token)).json
    assert made["factors"] == ["totp"]
    path = f"/api/v1/users/{made['id']}/factors"
    assert (await api.ask("DELETE", path, token=bob)).status == 403
    assert (await api.ask("DELETE", path)).status == 204
    assert await api_knows(api, ada.token) == 401
    assert "access_token" in (await login(api)).json
    assert "factor.reset" in [action for action, _ in await actions(api)]


# Required


async def test_a_role_may_need_a_second_factor(redis_url: str) -> None:
    """Without one a session reaches what it takes to set one up, and then everything."""
    async with people(redis_url, require_second_factor=("admin",)) as api:
        await add(api)
        made = await add(api, "bob@example.com", "viewer")
        token = (await logged_in(api))["access_token"]
        for path in ("/api/v1/flags", "/api/v1/users", "/api/v1/me/sessions", "/api/v1/projects"):
            reply = await api.ask("GET", path, token=token)
            assert code_of(reply) == (403, "second_factor_needed"), path
        served = {route.path for route in ROUTES if route.method == "POST"}
        named = re.findall(r"/api/v1/[a-z/]+", reply.json["detail"])
        assert len(named) == 3
        assert served.issuperset(named)  # what it says to do can be done
        shown = (await api.ask("GET", FACTORS_PATH, token=token)).json
        assert (shown["needed"], shown["missing"]) == (True, True)
        app = await set_up_totp(api, token=token)
        assert (await api.ask("GET", "/api/v1/users", token=app.token)).status == 200
        # a role changes while a session lives
        bob = (await logged_in(api, "bob@example.com"))["access_token"]
        assert (await api.ask("GET", "/api/v1/flags", token=bob)).status == 200
        roles = {"roles": [{"role": "admin", "project": "default"}]}
        await api.ask("PATCH", f"/api/v1/users/{made['id']}", json=roles)
        reply = await api.ask("GET", "/api/v1/flags", token=bob)
        assert code_of(reply) == (403, "second_factor_needed")
        # and whoever removes theirs has to set another up
        assert (await api.ask("DELETE", TOTP_PATH, token=app.token)).status == 204
        reply = await api.ask("GET", "/api/v1/users", token=app.token)
        assert code_of(reply) == (403, "second_factor_needed")


async def test_a_session_that_was_begun_without_shows_one(redis_url: str) -> None:
    """Another system vouched for somebody who has one: it is asked for, no password will do."""
    async with people(redis_url, require_second_factor=("admin",)) as api:
        made = await add(api)
        app = await set_up_totp(api)
        tokens = await api.app[FACTORS]._users.begin_for(made["id"], "local", "", ("oidc",))
        token = tokens.access_token
        other = await api.app[FACTORS]._users.begin_for(made["id"], "local", "", ("oidc",))
        assert code_of(await api.ask("GET", "/api/v1/flags", token=token))[0] == 403
        assert code_of(await api.ask("DELETE", TOTP_PATH, token=token))[0] == 403
        reply = await api.ask("POST", PROVE, token=token, json={"password": PASSWORD})
        assert code_of(reply) == (403, "proof_needed")
        reply = await api.ask("POST", PROVE, token=token, json={"code": app.code()})
        assert reply.status == 204
        assert (await api.ask("GET", "/api/v1/flags", token=token)).status == 200
        reply = await api.ask("GET", "/api/v1/flags", token=other.access_token)
        assert code_of(reply) == (403, "second_factor_needed"), "no session lifts another"


async def test_a_session_that_lacks_a_factor_reaches_no_other_route(redis_url: str) -> None:
    """Of all there are, an administrator of everything: what the table says, and nothing else."""
    async with people(redis_url, require_second_factor=("admin",)) as api:
        await add(api)
        token = (await logged_in(api))["access_token"]
        reached = set()
        for route in sorted(ROUTES, key=lambda route: route.path.endswith("/logout")):
            if route.permission is Permission.PUBLIC or route.streaming:
                continue
            path = plain_path(route.path).replace("{", "").replace("}", "")
            body = {} if route.body is None else {"json": {"nonsense": True}}
            reply = await api.ask(route.method, path, token=token, **body)
            if reply.status != 403 or reply.json["code"] not in (
                "second_factor_needed",
                "forbidden",
            ):
                reached.add((route.method, route.path))
        assert reached == {(r.method, r.path) for r in ROUTES if r.without_factor}
        assert ("DELETE", "/api/v1/me/factors/totp") not in reached


async def test_a_replica_that_had_not_heard_of_a_factor_lets_nobody_in(redis_url: str) -> None:
    """It finds out when it writes the session down."""
    async with people(redis_url) as one, people(redis_url) as deaf:
        await add(one)
        await until(lambda: _has_user(deaf))
        directory = deaf.app[FACTORS]._directory
        await stop(directory._task)
        app = await set_up_totp(one)
        assert not directory.find(ADA).totp
        assert code_of(await login(deaf)) == (401, "login_failed")
        assert (await login(deaf)).json["mfa_required"], "now it has"
        listed = (await one.ask("GET", "/api/v1/me/sessions", token=app.token)).json["items"]
        assert len(listed) == 1


async def _has_user(api: Api) -> bool:
    return bool(api.app[FACTORS]._directory.users)


async def test_who_is_there_without_the_factor_they_have_changes_none(
    api: Api, ada: Totp, redis_url: str
) -> None:
    """Also where no role needs one, and although the session is new."""
    made = (await api.ask("GET", ME, token=ada.token)).json
    token = (
        await api.app[FACTORS]._users.begin_for(made["id"], "local", "", ("oidc",))
    ).access_token
    for method, path in (("DELETE", TOTP_PATH), ("POST", RECOVERY)):
        reply = await api.ask(method, path, token=token)
        assert code_of(reply) == (403, "proof_needed")
    reply = await api.ask("POST", PROVE, token=token, json={"recovery_code": ada.recovery[0]})
    assert reply.status == 204
    assert (await api.ask("DELETE", TOTP_PATH, token=token)).status == 204


# Kept


async def test_nothing_that_proves_somebody_is_shown_or_kept_plain(
    api: Api, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in Redis, the audit log, what the API shows, or a log."""
    caplog.set_level(logging.DEBUG)
    ada = await set_up_totp(api)
    one, code = await challenge(api), ada.code()
    await verify(api, one, code=code, passkey=None)
    await verify(api, one, code=code)
    await verify(api, one, code=code)
    await verify(api, await challenge(api), recovery_code=ada.recovery[0])
    for secret in (ada.secret, code, one, *ada.recovery):
        assert secret not in caplog.text
    with redis.Redis.from_url(redis_url) as client:
        stored = client.hgetall(KEYS.users)
        hashes = [str(h) for v in stored.values() for h in json.loads(v)["recovery"]]
        sealed = [json.loads(v)["totp"]["secret"] for v in stored.values()]
        kept = [client.dump(key) for key in client.keys("*")]
        texts = [*stored.values(), *(str(e).encode() for e in client.xrange(KEYS.changes))]
    paths = ["/api/v1/users"]
    paths += [f"/api/v1/audit?project={name}&limit=500" for name in ("~access", "~refused")]
    shown = [(await api.ask("GET", path)).body for path in paths]
    texts += shown
    for text in [*texts, *kept]:
        for secret in (ada.secret, *ada.recovery):
            assert secret.encode() not in text
    for text in shown:
        for secret in (*hashes, *sealed):
            assert secret.encode() not in text
    assert ("factor.add", "") in await actions(api)


async def test_secrets_are_sealed_anew_when_the_first_changes(redis_url: str) -> None:
    """So that the old one can be left out a while later."""
    new = "another-secret-that-is-long-enough-here"
    async with people(redis_url) as api:
        await add(api)
        app = await set_up_totp(api)
    async with people(redis_url, secret_key=(new, SECRET)) as api:
        directory = api.app[FACTORS]._directory

        async def is_resealed() -> bool:
            totp = next(iter(directory.users.values())).totp if directory.users else None
            return totp is not None and Sealer([new]).is_current(totp.secret)

        await until(is_resealed)
    async with people(redis_url, secret_key=(new,)) as api:
        assert (await verify(api, await challenge(api), code=app.code())).status == 200


async def test_a_failure_and_a_success_are_written_down(api: Api, ada: Totp) -> None:
    """Who asked, with what, from where."""
    one = await challenge(api)
    await verify(api, one, code="000000")
    await verify(api, one, code=ada.code())
    entries = (await api.ask("GET", "/api/v1/audit?project=~access")).json["items"]
    refused = (await api.ask("GET", "/api/v1/audit?project=~refused&limit=1")).json["items"]
    newest: list[Any] = [(e["action"], e["actor"], e["address"]) for e in entries[:2] + refused]
    assert newest == [
        ("session.begin", f"user:{ADA}", "127.0.0.1"),
        ("session.challenge", f"user:{ADA}", "127.0.0.1"),
        ("session.refuse", "anonymous", "127.0.0.1"),
    ]
    assert {"method:password", "method:totp"} <= set(entries[0]["targets"])
