"""Sessions over real HTTP: begun, used, gone on with, stolen, ended, on two replicas."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
import redis

from control_plane.keys import USERS as USERS_KEY
from control_plane.networks import networks
from control_plane.store.keys import LOGIN, ProjectKeys
from control_plane.users.attempts import duration
from control_plane.users.passwords import Passwords
from control_plane.users.store import MAX_ATTEMPTS, Full
from control_plane.users.tokens import TokenMaker, _derived, _key_id
from tests.control_plane.users.people import ADA, PASSWORD, SECRET, add, logged_in, login, people
from tests.support.api import ADMIN_TOKEN, Api, Reply, until
from tests.support.redis import RedisServer

ME, REFRESH, SESSIONS = "/api/v1/me", "/api/v1/auth/refresh", "/api/v1/me/sessions"
KEYS = ProjectKeys("~access")
LOGIN_PATH = "/api/v1/auth/login"


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    """A control plane with one person."""
    async with people(redis_url) as running:
        await add(running)
        yield running


async def me(api: Api, token: str) -> int:
    """Return the status of who asks who they are."""
    return (await api.ask("GET", ME, token=token)).status


async def go_on(api: Api, refresh: str) -> Any:
    """Use a refresh token up."""
    return await api.ask("POST", REFRESH, token=None, json={"refresh_token": refresh})


# Begun


async def test_who_logs_in_may_do_what_their_roles_give(api: Api) -> None:
    """And history says who it was."""
    tokens = await logged_in(api)
    assert tokens["expires_in"] == 600
    body = {"key": "f", "type": "boolean", "value": True}
    made = await api.ask("POST", "/api/v1/flags", token=tokens["access_token"], json=body)
    assert made.status == 201
    history = (await api.ask("GET", "/api/v1/history?flag=f")).json["items"]
    assert history[0]["actor"] == f"user:{ADA}"


async def test_capitals_of_an_address_do_not_matter(api: Api) -> None:
    """People write their own as they like."""
    assert (await login(api, "Ada@Example.COM ")).status == 200


@pytest.mark.parametrize(
    ("email", "password"),
    [
        (ADA, "wrong horse battery"),
        ("nobody@example.com", PASSWORD),
        (ADA, ""),
        (ADA, PASSWORD + "\0"),
        (ADA, "x" * 300),
        ("", ""),
        ('{"$ne": null}', PASSWORD),
        ("*", PASSWORD),
    ],
)
async def test_who_is_not_let_in_learns_nothing(api: Api, email: str, password: str) -> None:
    """The same words for a wrong password and for nobody."""
    reply = await login(api, email, password)
    assert (reply.status, reply.json["code"]) == (401, "login_failed")
    assert reply.json["detail"] == (await login(api, "no@example.com")).json["detail"]


async def test_a_disabled_person_is_not_let_in(api: Api) -> None:
    """And told nothing else than anybody."""
    made = await add(api, "bob@example.com", "viewer")
    await api.ask("PATCH", f"/api/v1/users/{made['id']}", json={"disabled": True})
    assert (await login(api, "bob@example.com")).json["code"] == "login_failed"


async def test_an_unknown_address_takes_as_long(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash is made in any case: counted, because times are not certain."""
    from argon2 import PasswordHasher

    verified: list[str] = []
    real = PasswordHasher.verify

    def verify(self: PasswordHasher, stored: str, password: str) -> bool:
        verified.append(stored)
        return bool(real(self, stored, password))

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    await login(api, "nobody@example.com")
    await login(api, ADA, "wrong horse battery")
    assert len(verified) == 2
    assert len({stored.rpartition("$")[0].rpartition("$")[0] for stored in verified}) == 1


async def test_without_a_secret_nobody_logs_in(redis_url: str) -> None:
    """It says what is missing, and invents nothing."""
    async with people(redis_url, secret_key=()) as api:
        await add(api)
        reply = await login(api)
        assert (reply.status, reply.json["code"]) == (503, "login_unavailable")


def throttled(whose: str, reply: Reply) -> None:
    """See that an answer says what is full, and how long in words."""
    left = duration(int(reply.headers["Retry-After"]))
    assert reply.json["detail"] == f"too many attempts to log in {whose}: try again in {left}"


async def test_too_many_attempts_to_an_account_are_stopped(api: Api) -> None:
    """With the time to wait; the right password then does not help either."""
    for _ in range(MAX_ATTEMPTS["account"]):
        assert (await login(api, ADA, "wrong horse battery")).status == 401
    reply = await login(api)
    assert (reply.status, reply.json["code"]) == (429, "login_throttled")
    assert 0 < int(reply.headers["Retry-After"]) <= 900
    throttled("to this account", reply)
    for _ in range(MAX_ATTEMPTS["account"]):
        await login(api, "nobody@example.com", "wrong horse battery")
    nobody = await login(api, "nobody@example.com")
    assert nobody.json["code"] == "login_throttled"
    throttled("to this account", nobody)  # the same, so it does not tell who is here
    await add(api, "bob@example.com", "viewer")
    assert (await login(api, "bob@example.com")).status == 200, "others are not in its way"


async def test_too_many_attempts_from_an_address_are_stopped(api: Api) -> None:
    """Whoever they are for."""
    for number in range(MAX_ATTEMPTS["address"]):
        await login(api, f"u{number}@example.com", "wrong horse battery")
    reply = await login(api)
    assert reply.status == 429
    throttled("from this address", reply)


async def test_an_address_without_room_locks_no_accounts(api: Api) -> None:
    """Else one machine could keep everybody out."""
    for number in range(MAX_ATTEMPTS["address"]):
        await login(api, f"u{number}@example.com", "wrong horse battery")
    store = api.app[USERS_KEY]._store
    for _ in range(MAX_ATTEMPTS["account"] + 1):
        assert (await store.attempt("127.0.0.1", "bob")).which == "address"
    assert await store.attempt("127.0.0.2", "bob") is None


async def test_an_attempt_too_many_waits_to_the_end_of_its_window(api: Api, redis_url: str) -> None:
    """Also when that is less than half a second away."""
    store = api.app[USERS_KEY]._store
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{LOGIN}address:a", MAX_ATTEMPTS["address"], px=400)
        assert await store.attempt("a", "ada") == Full("address", 1)


@pytest.mark.parametrize(
    ("wait_s", "said"),
    [(1, "1 minute"), (60, "1 minute"), (61, "2 minutes"), (86_400, "24 hours")],
)
def test_people_are_told_how_long_in_minutes_or_hours(wait_s: float, said: str) -> None:
    """Never less than it is."""
    assert duration(wait_s) == said


async def test_a_success_makes_no_counter_without_an_end(api: Api, redis_url: str) -> None:
    """The window may be over by the time that the password was found right."""
    await api.app[USERS_KEY]._store.succeeded("a", "ada")
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys(f"{LOGIN}*") == []


async def test_a_success_takes_the_failures_back(api: Api) -> None:
    """Who mistypes each morning is not locked out."""
    for _ in range(3):
        for _ in range(MAX_ATTEMPTS["account"] - 1):
            assert (await login(api, ADA, "wrong horse battery")).status == 401
        assert (await login(api)).status == 200


# Used


def forged(secret: bytes | str | None, algorithm: str = "HS256", **claims: Any) -> str:
    """Return a token with these claims instead of good ones."""
    now = int(time.time())
    good = {"iss": "matrixflag", "aud": "matrixflag-api", "sub": "u", "sid": "s"}
    whole = {**good, "iat": now, "exp": now + 600, **claims}
    headers = {"kid": _key_id(_derived(SECRET))}
    return jwt.encode(whole, secret, algorithm, headers=headers)  # type: ignore[arg-type]


async def test_tokens_that_were_made_by_others_are_refused(api: Api) -> None:
    """Forged, expired, for something else, without a signature, under a key of another kind."""
    token = (await logged_in(api))["access_token"]
    said = jwt.decode(token, options={"verify_signature": False})
    key = _derived(SECRET)
    assert await me(api, forged(key, sub=said["sub"], sid=said["sid"])) == 200, "ours are good"
    head, body, signature = token.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    other = {**said, "sub": "u_0"}
    swapped = base64.urlsafe_b64encode(json.dumps(other).encode()).rstrip(b"=").decode()
    bad = [
        forged("another secret of enough characters", **said),
        forged(SECRET, **said),
        forged(key, **{**said, "exp": int(time.time()) - 60}),
        forged(key, **{**said, "aud": "others"}),
        forged(key, **{**said, "iss": "others"}),
        forged(key, **{**said, "sid": "s_0"}),
        forged(key, **{**said, "sub": "u_0"}),
        forged(key, **{**said, "sub": None}),
        forged(key + key, "HS384", **said),
        forged(None, "none", **said),
        f"{none}.{body}.",
        f"{none}.{body}.{signature}",
        f"{head}.{swapped}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}.{signature[:-2]}",
        "eyJ..",
        "eyJhbGciOiJIUzI1NiJ9.e30.x",
    ]
    for each in bad:
        reply = await api.ask("GET", ME, token=each)
        assert reply.status == 401, each
    assert await me(api, token) == 200


PURPOSES = [b"", b"matrixflag csrf 1", b"matrixflag seals 1", b"matrixflag refresh tokens 1"]


async def test_no_key_but_the_one_for_tokens_signs_them(api: Api) -> None:
    """Not one of another purpose, not one that the token itself brings or names."""
    token = (await logged_in(api))["access_token"]
    said = jwt.decode(token, options={"verify_signature": False})
    kid = _key_id(_derived(SECRET))
    bad = []
    for purpose in PURPOSES:
        key = _derived(SECRET, purpose)
        bad += [jwt.encode(said, key, "HS256", {"kid": each}) for each in (kid, _key_id(key))]
    mine = b"a key that an attacker has chosen"
    coded = base64.urlsafe_b64encode(mine).rstrip(b"=").decode()
    brought: list[dict[str, Any]] = [
        {"kid": kid, "jwk": {"kty": "oct", "k": coded}},
        {"kid": kid, "jku": "http://127.0.0.1/keys"},
        {"kid": kid, "x5u": "http://127.0.0.1/certificate"},
        {"kid": "../../../../dev/null"},
        {"kid": f"{kid}' OR '1'='1"},
        {"kid": ""},
        {},
    ]
    bad += [jwt.encode(said, mine, "HS256", headers) for headers in brought]
    bad += [jwt.encode(said, bytes(32), "HS256", {"kid": "/dev/null"})]
    body = token.split(".")[1]
    for header in (
        *({"alg": name, "kid": kid} for name in ("none", "None", "nOnE", "", "HS", "RS256")),
        *({"alg": "HS256", "kid": each} for each in (None, 0, [kid], {"$ne": None}, True)),
        {"kid": kid},
        [],
        None,
    ):
        head = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
        bad += [f"{head}.{body}.", f"{head}.{body}.{token.split('.')[2]}"]
    for each in bad:
        reply = await api.ask("GET", ME, token=each)
        assert reply.status == 401, each
    assert await me(api, token) == 200


SPOOFED = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP")


async def test_no_header_makes_another_address_of_who_guesses(api: Api) -> None:
    """Another account each time, so that the address alone is what stops it."""
    answers = []
    for number in range(MAX_ATTEMPTS["address"] + 2):
        headers = dict.fromkeys(SPOOFED, f"192.0.2.{number}") | {
            "Forwarded": f"for=192.0.2.{number}"
        }
        body = {"email": f"n{number}@example.com", "password": PASSWORD}
        reply = await api.ask("POST", LOGIN_PATH, token=None, json=body, headers=headers)
        answers.append(reply.status)
    assert answers == [401] * MAX_ATTEMPTS["address"] + [429] * 2


async def test_all_addresses_of_one_network_are_one_who_guesses(redis_url: str) -> None:
    """Whoever has a /64 has more addresses than anybody could count."""
    behind = {"trusted_proxies": networks("127.0.0.0/8")}
    async with people(redis_url, **behind) as api:
        answers = []
        for number in range(MAX_ATTEMPTS["address"] + 2):
            headers = {"X-Forwarded-For": f"2001:db8::{number:x}:1"}
            body = {"email": f"n{number}@example.com", "password": PASSWORD}
            reply = await api.ask("POST", LOGIN_PATH, token=None, json=body, headers=headers)
            answers.append(reply.status)
        assert answers[-2:] == [429] * 2
        headers = {"X-Forwarded-For": "2001:db8:0:1::1"}
        body = {"email": "n@example.com", "password": PASSWORD}
        reply = await api.ask("POST", LOGIN_PATH, token=None, json=body, headers=headers)
        assert reply.status == 401


async def test_a_session_is_named_by_nobody_but_us(api: Api) -> None:
    """Whatever a login brings along: a session, a token, a cookie of somebody else's."""
    first = await logged_in(api)
    body = {"email": ADA, "password": PASSWORD}
    for more in ({"session": first["session"]}, {"sid": "s_0"}, {"refresh_token": "x"}):
        reply = await api.ask("POST", LOGIN_PATH, token=None, json=body | more)
        assert reply.status == 422
    headers = {"Cookie": f"matrixflag_access={first['access_token']}; sid={first['session']}"}
    reply = await api.ask(
        "POST", LOGIN_PATH, token=first["access_token"], json=body, headers=headers
    )
    assert reply.json["session"] != first["session"]
    assert reply.json["access_token"] != first["access_token"]


async def test_a_token_without_an_end_is_refused(api: Api) -> None:
    """Whoever signs one by mistake must not have given away a key for ever."""
    said = jwt.decode((await logged_in(api))["access_token"], options={"verify_signature": False})
    del said["exp"]
    headers = {"kid": _key_id(_derived(SECRET))}
    assert await me(api, jwt.encode(said, _derived(SECRET), "HS256", headers=headers)) == 401


async def test_secrets_are_changed_with_an_overlap(redis_url: str) -> None:
    """Old tokens are good as long as the old secret is among those given; then not."""
    new = "another-secret-that-is-long-enough-here"
    async with people(redis_url) as api:
        await add(api)
        token = (await logged_in(api))["access_token"]
    async with people(redis_url, secret_key=(new, SECRET)) as api:
        assert await me(api, token) == 200
        fresh = (await logged_in(api))["access_token"]
        assert jwt.get_unverified_header(fresh)["kid"] != jwt.get_unverified_header(token)["kid"]
    async with people(redis_url, secret_key=(new,)) as api:
        assert await me(api, token) == 401
        assert await me(api, fresh) == 200


async def test_a_person_is_no_sidecar_and_a_program_no_person(api: Api) -> None:
    """403 for the one where the other is wanted."""
    token = (await logged_in(api))["access_token"]
    assert (await api.ask("GET", "/api/v1/sync/snapshot", token=token)).status == 403
    assert await me(api, ADMIN_TOKEN) == 403


async def test_a_role_that_is_taken_away_is_gone_at_once(api: Api) -> None:
    """The token says who, not what."""
    made = await add(api, "bob@example.com", "manager")
    token = (await logged_in(api, "bob@example.com"))["access_token"]
    body = {"key": "f", "type": "boolean", "value": True}
    assert (await api.ask("POST", "/api/v1/flags", token=token, json=body)).status == 201
    roles = {"roles": [{"role": "viewer", "project": "*"}]}
    await api.ask("PATCH", f"/api/v1/users/{made['id']}", json=roles)
    assert (await api.ask("DELETE", "/api/v1/flags/f", token=token)).status == 403
    assert (await api.ask("GET", "/api/v1/flags/f", token=token)).status == 200


# Gone on with


async def test_a_refresh_token_is_good_once(api: Api) -> None:
    """Each use gives the next one; another access token, the same session."""
    tokens = await logged_in(api)
    following = (await go_on(api, tokens["refresh_token"])).json
    assert following["session"] == tokens["session"]
    assert following["refresh_token"] != tokens["refresh_token"]
    assert await me(api, following["access_token"]) == 200
    assert (await go_on(api, following["refresh_token"])).status == 200


async def test_a_refresh_token_that_was_used_ends_the_session(api: Api, redis_url: str) -> None:
    """Somebody else has it: neither of them goes on."""
    stolen = (await logged_in(api))["refresh_token"]
    first = (await go_on(api, stolen)).json
    second = (await go_on(api, first["refresh_token"])).json
    reply = await go_on(api, stolen)
    assert (reply.status, reply.json["code"]) == (401, "refresh_failed")
    assert await me(api, second["access_token"]) == 401
    assert (await go_on(api, second["refresh_token"])).status == 401
    actions = [
        e["action"] for e in (await api.ask("GET", "/api/v1/audit?project=~access")).json["items"]
    ]
    assert "session.reuse" in actions


async def test_a_refresh_token_that_was_made_up_ends_no_session(api: Api) -> None:
    """Whose session it names is no secret: others see ids of sessions, and so may logs."""
    tokens = await logged_in(api)
    session, real = tokens["session"], tokens["refresh_token"]
    others = (await logged_in(api))["refresh_token"].partition(".")[2]
    coded = real.partition(".")[2]
    for made_up in (
        "x" * 43,
        "A" * 43,
        "_" * 43,
        others,
        coded[:-4] + "AAAA",
        "AAAA" + coded[4:],
        TokenMaker(["another secret of thirty-two characters"])
        .make_refresh(session)
        .partition(".")[2],
    ):
        reply = await go_on(api, f"mf_refresh_{session}.{made_up}")
        assert (reply.status, reply.json["code"]) == (401, "refresh_failed")
        assert await me(api, tokens["access_token"]) == 200
    assert (await go_on(api, real)).status == 200
    entries = (await api.ask("GET", "/api/v1/audit?project=~access")).json["items"]
    assert "session.reuse" not in {entry["action"] for entry in entries}


def test_a_refresh_token_is_known_by_any_of_the_secrets() -> None:
    """While they are being changed; and by no other."""
    old, new = "an old secret of 32 characters .", "a new secret of 32 characters .."
    token = TokenMaker([old]).make_refresh("s_0123456789abcdef")
    assert TokenMaker([new, old]).is_issued(token)
    assert not TokenMaker([new]).is_issued(token)
    assert not TokenMaker([]).is_issued(token)
    assert not TokenMaker([old]).is_issued(token.replace("s_0", "s_1"))


async def test_a_lost_answer_costs_no_session(api: Api, redis_url: str) -> None:
    """The token just used is taken again, but not after ten seconds."""
    tokens = await logged_in(api)
    assert (await go_on(api, tokens["refresh_token"])).status == 200
    again = await go_on(api, tokens["refresh_token"])
    assert again.status == 200
    with redis.Redis.from_url(redis_url) as client:
        client.hset(KEYS.refresh(tokens["session"]), "at", int(time.time() * 1000) - 10_001)
    assert (await go_on(api, tokens["refresh_token"])).status == 401
    assert await me(api, again.json["access_token"]) == 401


@pytest.mark.parametrize(
    "token", ["", "mf_refresh_", "mf_refresh_s_0123456789abcdef." + "x" * 43, "x" * 5000, "{}"]
)
async def test_what_is_no_refresh_token_is_refused(api: Api, token: str) -> None:
    """As one that is not good any more."""
    reply = await go_on(api, token)
    assert (reply.status, reply.json["code"]) == (401, "refresh_failed")


async def test_two_uses_at_once_end_in_one_session_that_goes_on(api: Api) -> None:
    """Two tabs: both were the one just used."""
    tokens = await logged_in(api)
    replies = await asyncio.gather(*(go_on(api, tokens["refresh_token"]) for _ in range(2)))
    assert [reply.status for reply in replies] == [200, 200]
    assert await me(api, replies[0].json["access_token"]) == 200


# Ended


async def test_a_session_ends_when_its_person_says_so(api: Api) -> None:
    """The token is not good from then on, and the refresh token neither."""
    tokens = await logged_in(api)
    other = await logged_in(api)
    listed = (await api.ask("GET", SESSIONS, token=tokens["access_token"])).json["items"]
    assert [(s["id"], s["current"]) for s in listed] == [
        (other["session"], False),
        (tokens["session"], True),
    ]
    path = f"{SESSIONS}/{other['session']}"
    assert (await api.ask("DELETE", path, token=tokens["access_token"])).status == 204
    assert await me(api, other["access_token"]) == 401
    reply = await api.ask("POST", "/api/v1/auth/logout", token=tokens["access_token"])
    assert reply.status == 204
    assert await me(api, tokens["access_token"]) == 401
    assert (await go_on(api, tokens["refresh_token"])).status == 401


async def test_nobody_ends_the_session_of_another(api: Api) -> None:
    """It is not there for them."""
    await add(api, "bob@example.com", "admin")
    ada, bob = await logged_in(api), await logged_in(api, "bob@example.com")
    path = f"{SESSIONS}/{ada['session']}"
    assert (await api.ask("DELETE", path, token=bob["access_token"])).status == 404
    assert await me(api, ada["access_token"]) == 200


async def test_another_password_ends_all_other_sessions(api: Api) -> None:
    """And the old one is good for nothing."""
    one, other = await logged_in(api), await logged_in(api)
    new = {"current": PASSWORD, "new": "staple apple window rain"}
    path = "/api/v1/me/password"
    wrong = await api.ask(
        "POST", path, token=one["access_token"], json={**new, "current": "wrong horse battery"}
    )
    assert (wrong.status, wrong.json["code"]) == (401, "wrong_password")
    for bad, said in ((PASSWORD, "as it is now"), ("short", "characters")):
        reply = await api.ask("POST", path, token=one["access_token"], json={**new, "new": bad})
        (problem,) = reply.json["problems"]
        assert (reply.status, problem["pointer"]) == (422, "/new")
        assert said in problem["message"]
    assert await me(api, other["access_token"]) == 200
    assert (await api.ask("POST", path, token=one["access_token"], json=new)).status == 204
    assert await me(api, one["access_token"]) == 200
    assert await me(api, other["access_token"]) == 401
    assert (await login(api)).status == 401
    assert (await login(api, ADA, new["new"])).status == 200


@pytest.mark.parametrize("taken", ["session", "password"])
async def test_what_is_taken_away_while_a_password_is_changed_stays_so(
    api: Api, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    """Hashes take their time; who resets an account meanwhile means it."""
    await add(api, "bob@example.com")
    tokens = await logged_in(api)
    user = (await api.ask("GET", ME, token=tokens["access_token"])).json["id"]
    ways = {"session": ("DELETE", "sessions"), "password": ("POST", "invite")}
    real = Passwords.hash

    async def late(self: Passwords, password: str) -> str:
        hashed = await real(self, password)
        method, what = ways[taken]
        reply = await api.ask(method, f"/api/v1/users/{user}/{what}")
        assert reply.status in (200, 204)
        return hashed

    monkeypatch.setattr(Passwords, "hash", late)
    new = {"current": PASSWORD, "new": "staple apple window rain"}
    path = "/api/v1/me/password"
    reply = await api.ask("POST", path, token=tokens["access_token"], json=new)
    assert (reply.status, reply.json["code"]) == (401, "invalid_token")
    assert (await login(api, ADA, new["new"])).status == 401


async def test_of_too_many_sessions_the_oldest_ends(api: Api) -> None:
    """A script that logs in each minute does not fill the memory."""
    first = await logged_in(api)
    for _ in range(20):
        await logged_in(api)
    assert await me(api, first["access_token"]) == 401


async def test_an_end_reaches_every_replica_in_two_seconds(redis_url: str) -> None:
    """By the log; and when that says nothing, by comparing positions."""
    async with people(redis_url) as one, people(redis_url) as other:
        await add(one)
        tokens, kept = await logged_in(one), await logged_in(one)

        async def is_known() -> bool:
            return await me(other, kept["access_token"]) == 200

        await until(is_known)
        assert await me(other, tokens["access_token"]) == 200

        async def is_refused() -> bool:
            return await me(other, tokens["access_token"]) == 401

        await one.ask("POST", "/api/v1/auth/logout", token=tokens["access_token"])
        await until(is_refused, within_s=2.0)
        with redis.Redis.from_url(redis_url) as client:
            # the notification is lost: the log is as if the next change had never been told
            await one.ask("POST", "/api/v1/auth/logout", token=kept["access_token"])
            client.delete(KEYS.changes)

        async def is_refused_too() -> bool:
            return await me(other, kept["access_token"]) == 401

        await until(is_refused_too, within_s=2.0)


async def test_sessions_outlive_a_restart_and_an_outage(redis_server: RedisServer) -> None:
    """Who is logged in stays so while Redis is away; nobody can log in."""
    async with people(redis_server.url, redis_timeout_s=0.5) as api:
        await add(api)
        tokens = await logged_in(api)
        redis_server.kill()
        assert await me(api, tokens["access_token"]) == 200
        assert (await login(api)).status == 503
        redis_server.restart()
    async with people(redis_server.url) as api:

        async def is_let_in() -> bool:
            return await me(api, tokens["access_token"]) == 200

        await until(is_let_in)
