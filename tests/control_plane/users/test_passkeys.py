"""Passkeys: with a real browser's authenticator, and with one that lies in every part of it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
import redis
from aiohttp import web

from control_plane.users.factors import MAX_PASSKEYS
from control_plane.users.passkeys import Passkeys
from tests.control_plane.users.people import ADA, add, logged_in, login, people, verify
from tests.support.api import Api, Reply
from tests.support.authenticator import Authenticator, b64
from tests.support.browser import running_browser

PATH, ALONE = "/api/v1/me/factors/passkeys", "/api/v1/auth/passkey"
ORIGIN = "http://localhost:8000"


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    """A control plane with one person, at a public address."""
    async with people(redis_url, public_url=ORIGIN) as running:
        await add(running)
        yield running


def code_of(reply: Reply) -> tuple[int, str]:
    """Return the status and the code of a refusal."""
    return reply.status, "" if reply.status < 300 else reply.json["code"]


async def set_up(api: Api, token: str, key: Authenticator, name: str = "laptop") -> Reply:
    """Set a passkey up."""
    asked = await api.ask("POST", PATH, token=token)
    assert asked.status == 200, asked.body
    made = key.make(asked.json["options"])
    body = {"challenge": asked.json["challenge"], "name": name, "passkey": made}
    return await api.ask("POST", PATH + "/confirm", token=token, json=body)


@pytest.fixture
async def token(api: Api) -> str:
    """A session of hers."""
    return str((await logged_in(api))["access_token"])


@pytest.fixture
async def key(api: Api, token: str) -> Authenticator:
    """A passkey of hers."""
    made = Authenticator(ORIGIN)
    assert (await set_up(api, token, made)).status == 200
    return made


async def test_a_passkey_is_a_second_factor(api: Api, token: str) -> None:
    """Set up in a session, which it belongs to from then on; shown after the password."""
    key = Authenticator(ORIGIN)
    added = await set_up(api, token, key)
    assert (added.json["factor"], len(added.json["recovery_codes"])) == ("passkey", 10)
    asked = (await login(api)).json
    assert asked["methods"] == ["passkey", "recovery"]
    assert [each["id"] for each in asked["passkey"]["allowCredentials"]] == [b64(key.id)]
    key.flags = 0x01  # a security key without a PIN will do beside a password
    reply = await verify(api, asked["challenge"], passkey=key.sign(asked["passkey"]))
    assert reply.status == 200, reply.body
    shown = (await api.ask("GET", "/api/v1/me/factors", token=reply.json["access_token"])).json
    assert [each["name"] for each in shown["passkeys"]] == ["laptop"]
    assert shown["passkeys"][0]["last_used_at"] is not None


async def test_a_passkey_is_enough_alone(api: Api, key: Authenticator) -> None:
    """Without address or password, if it knew its person."""
    asked = (await api.ask("POST", ALONE, token=None)).json
    assert asked["options"]["allowCredentials"] == []
    assert asked["options"]["userVerification"] == "required"
    reply = await verify(api, asked["challenge"], passkey=key.sign(asked["options"]))
    assert reply.status == 200, reply.body
    path = "/api/v1/me/sessions"
    listed = (await api.ask("GET", path, token=reply.json["access_token"])).json["items"]
    assert listed[0]["methods"] == ["passkey"]
    asked = (await api.ask("POST", ALONE, token=None)).json
    key.flags = 0x01
    reply = await verify(api, asked["challenge"], passkey=key.sign(asked["options"]))
    assert code_of(reply) == (401, "factor_failed")
    reply = await verify(api, asked["challenge"], code="123456")
    assert code_of(reply) == (401, "factor_failed"), "nothing else does"


def forget_attempts(redis_url: str) -> None:
    """Let nobody wait for the failures so far."""
    with redis.Redis.from_url(redis_url) as client:
        client.delete(*client.keys("mf:{~login}:a*"), "none")


async def signed(api: Api, key: Authenticator, alone: bool, **client: Any) -> Reply:
    """Log in with a passkey."""
    if alone:
        asked = (await api.ask("POST", ALONE, token=None)).json
        options = asked["options"]
    else:
        asked = (await login(api)).json
        options = asked["passkey"]
    return await verify(api, asked["challenge"], passkey=key.sign(options, **client))


@pytest.mark.parametrize("alone", [True, False])
async def test_a_passkey_that_lies_is_refused(
    api: Api, key: Authenticator, alone: bool, redis_url: str
) -> None:
    """Of another site, for another one, for something else, signed by another, or cloned."""
    lies: list[dict[str, Any]] = [
        {"origin": "https://localhost:8000"},
        {"origin": "http://localhost:8001"},
        {"origin": "http://localhost.example.com:8000"},
        {"rp": "example.com"},
        {"key": Authenticator(ORIGIN).key},
        {"flags": 0x04},
        {"id": b"another"},
        {"id": b""},
        {"handle": b"u_0000000000000000"},
    ]
    whole = {**vars(key)}
    for lie in lies:
        forget_attempts(redis_url)
        for name, value in lie.items():
            setattr(key, name, value)
        assert code_of(await signed(api, key, alone)) == (401, "factor_failed"), lie
        for name, value in whole.items():
            if name != "count":
                setattr(key, name, value)
    forget_attempts(redis_url)
    assert (await signed(api, key, alone)).status == 200
    for client in ({"type": "webauthn.create"}, {"challenge": b64(bytes(32))}):
        reply = await signed(api, key, alone, **client)
        assert code_of(reply) == (401, "factor_failed"), client
    key.count -= 3
    assert code_of(await signed(api, key, alone)) == (401, "factor_failed"), "its counter went back"


async def test_what_was_signed_once_is_no_answer_again(api: Api, key: Authenticator) -> None:
    """Neither to its challenge nor to another; nor changed in one bit."""
    asked = (await login(api)).json
    answer = key.sign(asked["passkey"])
    signature = bytearray(base64.urlsafe_b64decode(answer["response"]["signature"] + "=="))
    signature[-1] ^= 1
    changed = {**answer, "response": {**answer["response"], "signature": b64(bytes(signature))}}
    reply = await verify(api, asked["challenge"], passkey=changed)
    assert code_of(reply) == (401, "factor_failed")
    assert (await verify(api, asked["challenge"], passkey=answer)).status == 200
    reply = await verify(api, asked["challenge"], passkey=answer)
    assert code_of(reply) in ((401, "challenge_failed"), (401, "factor_failed"))
    other = (await login(api)).json["challenge"]
    assert code_of(await verify(api, other, passkey=answer)) == (401, "factor_failed")


async def test_one_that_does_not_count_is_taken_once_at_a_time(
    redis_url: str, api: Api, key: Authenticator
) -> None:
    """Passkeys that are synchronised always say 0: the challenge is what is used up."""
    asked = (await login(api)).json
    key.count = -1  # signs as 0, as one does that never counts
    answer = key.sign(asked["passkey"])
    async with people(redis_url, public_url=ORIGIN) as other:
        replies = await asyncio.gather(
            *(verify(each, asked["challenge"], passkey=answer) for each in (api, other, api, other))
        )
    assert sorted(reply.status for reply in replies) == [200, 401, 401, 401]


async def test_a_passkey_is_its_persons(api: Api, key: Authenticator, token: str) -> None:
    """Bob shows it to his own challenge, or tries to set it up as his, and is refused."""
    await add(api, "bob@example.com", "admin")
    bob = (await logged_in(api, "bob@example.com"))["access_token"]
    hers = key.handle
    assert code_of(await set_up(api, bob, key)) == (409, "factor_exists")
    own = Authenticator(ORIGIN)
    assert (await set_up(api, bob, own)).status == 200
    key.handle = hers
    asked = (await login(api, "bob@example.com")).json
    reply = await verify(api, asked["challenge"], passkey=key.sign(asked["passkey"]))
    assert code_of(reply) == (401, "factor_failed")
    # his own, said to be hers
    own.handle = hers
    asked = (await api.ask("POST", ALONE, token=None)).json
    reply = await verify(api, asked["challenge"], passkey=own.sign(asked["options"]))
    assert code_of(reply) == (401, "factor_failed")


def _nested() -> bytes:
    return b"\x81" * 11_000 + b"\x00"


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 37, b"\xff" * 200, bytes(32) + b"\xc5" + bytes(4) + _nested()],
    ids=["nothing", "zeros", "ones", "nested"],
)
async def test_what_is_no_passkey_is_refused(
    api: Api, key: Authenticator, token: str, data: bytes
) -> None:
    """Whatever a parser may stumble over."""
    asked = (await login(api)).json
    answer = key.sign(asked["passkey"])
    answer["response"]["authenticatorData"] = b64(data)
    reply = await verify(api, asked["challenge"], passkey=answer)
    assert code_of(reply) == (401, "factor_failed")
    for said in (data, cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data}), _nested()):
        asked = (await api.ask("POST", PATH, token=token)).json
        made = Authenticator(ORIGIN).make(asked["options"])
        made["response"]["attestationObject"] = b64(said)
        body = {"challenge": asked["challenge"], "name": "x", "passkey": made}
        reply = await api.ask("POST", PATH + "/confirm", token=token, json=body)
        assert code_of(reply) == (401, "factor_failed")


async def test_a_passkey_that_was_made_elsewhere_is_not_set_up(api: Api, token: str) -> None:
    """Of another site, or in another session, or twice with one challenge."""
    for lie in ({"origin": "https://example.com"}, {"rp": "example.com"}):
        liar = Authenticator(**{"origin": ORIGIN, **lie})
        assert code_of(await set_up(api, token, liar)) == (401, "factor_failed")
    asked = (await api.ask("POST", PATH, token=token)).json
    made = Authenticator(ORIGIN).make(asked["options"])
    body = {"challenge": asked["challenge"], "name": "x", "passkey": made}
    other = (await logged_in(api))["access_token"]
    path = PATH + "/confirm"
    reply = await api.ask("POST", path, token=other, json=body)
    assert code_of(reply) == (401, "challenge_failed")
    assert (await api.ask("POST", path, token=token, json={**body, "name": ""})).status == 422
    assert (await api.ask("POST", path, token=token, json=body)).status == 200
    assert code_of(await api.ask("POST", path, token=token, json=body)) == (401, "challenge_failed")


async def test_passkeys_are_named_removed_and_bounded(
    api: Api, key: Authenticator, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one takes the recovery codes along; others' are not there."""
    second = await set_up(api, token, Authenticator(ORIGIN), "phone")
    assert second.json["recovery_codes"] is None, "they came with the first"
    path = f"{PATH}/{b64(key.id)}"
    renamed = await api.ask("PATCH", path, token=token, json={"name": "desk"})
    assert renamed.status == 204
    await add(api, "bob@example.com", "admin")
    bob = (await logged_in(api, "bob@example.com"))["access_token"]
    assert (await api.ask("DELETE", path, token=bob)).status == 404
    shown = (await api.ask("GET", "/api/v1/me/factors", token=token)).json["passkeys"]
    assert [each["name"] for each in shown] == ["desk", "phone"]
    monkeypatch.setattr("control_plane.users.factors.MAX_PASSKEYS", 2)
    assert code_of(await api.ask("POST", PATH, token=token)) == (409, "too_many")
    assert MAX_PASSKEYS > 2
    assert (await api.ask("DELETE", path, token=token)).status == 204
    asked = (await login(api)).json
    reply = await verify(api, asked["challenge"], passkey=key.sign(asked["passkey"]))
    assert code_of(reply) == (401, "factor_failed"), "it was removed"
    assert (await api.ask("DELETE", f"{PATH}/{shown[1]['id']}", token=token)).status == 204
    left = (await api.ask("GET", "/api/v1/me/factors", token=token)).json
    assert (left["passkeys"], left["recovery_codes_left"]) == ([], 0)
    assert "access_token" in (await login(api)).json


async def test_somebody_proves_it_again_with_a_passkey(
    api: Api, key: Authenticator, token: str
) -> None:
    """By a challenge of the session that asks, once."""
    prove = "/api/v1/me/verify"
    asked = (await api.ask("POST", "/api/v1/me/passkey", token=token)).json
    body = {"challenge": asked["challenge"], "passkey": key.sign(asked["options"])}
    assert (await api.ask("POST", prove, token=token, json=body)).status == 204
    body["passkey"] = key.sign(asked["options"])
    reply = await api.ask("POST", prove, token=token, json=body)
    assert code_of(reply) == (401, "challenge_failed")
    login_challenge = (await login(api)).json
    body = {
        "challenge": login_challenge["challenge"],
        "passkey": key.sign(login_challenge["passkey"]),
    }
    reply = await api.ask("POST", prove, token=token, json=body)
    assert code_of(reply) == (401, "challenge_failed")


@pytest.mark.parametrize("public_url", ["", "http://127.0.0.1:8000", "https://[2001:db8::1]"])
async def test_without_a_public_name_there_are_none(redis_url: str, public_url: str) -> None:
    """It says which setting is missing."""
    async with people(redis_url, public_url=public_url) as api:
        await add(api)
        token = (await logged_in(api))["access_token"]
        for path in (PATH, ALONE):
            reply = await api.ask("POST", path, token=token)
            assert code_of(reply) == (409, "passkeys_unavailable")


def test_pages_of_the_same_host_that_may_call_may_ask() -> None:
    """No other origin of those that CORS names, and never all of them."""
    origins = ("https://app.flags.example.com", "https://flags.example.com:8443")
    foreign = ("*", "https://example.com", "https://evil-flags.example.com")
    party = Passkeys("https://flags.example.com", (*origins, *foreign))
    assert party._origins == ["https://flags.example.com", *origins]


# With a browser

_PAGE = """<!doctype html><title>passkeys</title><script>
const json = (path, token, body) => fetch(API + path, {
  method: "POST", body: body === undefined ? undefined : JSON.stringify(body),
  headers: {
    "content-type": "application/json", ...(token ? {authorization: "Bearer " + token} : {}),
  },
}).then((answer) => answer.json());
async function setUp(token) {
  const {challenge, options} = await json("/api/v1/me/factors/passkeys", token);
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
  const passkey = (await navigator.credentials.create({publicKey})).toJSON();
  return json("/api/v1/me/factors/passkeys/confirm", token, {challenge, name: "browser", passkey});
}
async function alone() {
  const {challenge, options} = await json("/api/v1/auth/passkey");
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  const passkey = (await navigator.credentials.get({publicKey})).toJSON();
  return json("/api/v1/auth/verify", null, {challenge, passkey});
}
async function second(email, password) {
  const asked = await json("/api/v1/auth/login", null, {email, password});
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(asked.passkey);
  const passkey = (await navigator.credentials.get({publicKey})).toJSON();
  return json("/api/v1/auth/verify", null, {challenge: asked.challenge, passkey});
}
</script>"""


async def test_a_browser_sets_a_passkey_up_and_logs_in_with_it(
    redis_url: str, tmp_path: Path
) -> None:
    """Chromium with a virtual authenticator, on a page of localhost: as second factor and alone."""
    page = web.Application()
    text: list[str] = []

    async def serve(request: web.Request) -> web.Response:
        return web.Response(text=text[0], content_type="text/html")

    page.router.add_get("/", serve)
    runner = web.AppRunner(page)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        origin = f"http://localhost:{runner.addresses[0][1]}"
        settings = {"public_url": origin, "cors_origins": (origin,)}
        async with people(redis_url, **settings) as api, running_browser(tmp_path) as browser:
            await add(api)
            token = (await logged_in(api))["access_token"]
            text.append(_PAGE.replace("API +", f"{json.dumps(api.url)} +"))
            await browser.call("WebAuthn.enable")
            made = await browser.call(
                "WebAuthn.addVirtualAuthenticator",
                options={
                    "protocol": "ctap2",
                    "transport": "internal",
                    "hasResidentKey": True,
                    "hasUserVerification": True,
                    "isUserVerified": True,
                },
            )
            await browser.open(origin + "/")
            await browser.until("typeof setUp === 'function'")
            added = await browser.run(f"setUp({json.dumps(token)})")
            assert len(added["recovery_codes"]) == 10, added
            secret = json.dumps("correct horse battery")
            for script in (f"second({json.dumps(ADA)}, {secret})", "alone()"):
                tokens = await browser.run(script)
                me = await api.ask("GET", "/api/v1/me", token=tokens["access_token"])
                assert me.json["email"] == ADA
            await browser.call(
                "WebAuthn.setUserVerified",
                authenticatorId=made["authenticatorId"],
                isUserVerified=False,
            )
            refused = await browser.run("alone().catch((error) => error.name)")
            assert refused == "NotAllowedError"
    finally:
        await runner.cleanup()
