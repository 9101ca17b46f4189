"""Tests of the limit of wrong credentials, over HTTP and by a clock of the test's own."""

import asyncio
import secrets
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from control_plane.errors import TooManyRequests, Unauthorized
from control_plane.limits import credentials
from control_plane.limits.credentials import CountingGuard
from control_plane.networks import networks
from control_plane.web.routing import Permission, Route
from tests.control_plane.limits.test_service import WAIT, metric
from tests.support.api import Api, running_api

SNAPSHOT = "/api/v1/sync/snapshot"
REFUSED = 'matrixflag_api_rate_limited_total{limit="credentials"}'
BEHIND: dict[str, Any] = {"trusted_proxies": networks("127.0.0.0/8")}


def wrong() -> str:
    return "mf_sidecar_" + secrets.token_urlsafe(32)


async def statuses(api: Api, count: int, **options: Any) -> list[int]:
    """Return how requests with wrong credentials are answered, one after another."""
    return [(await api.ask("GET", SNAPSHOT, token=wrong(), **options)).status for _ in range(count)]


async def test_only_wrong_credentials_are_too_many(redis_url: str) -> None:
    """Whoever guesses is answered 429; all others from there as if nothing was."""
    async with running_api(redis_url, **WAIT, rate_limit_credentials=5) as api:
        sidecar = (await api.make_key("sidecar"))["key"]
        service = (await api.make_key("service", role="viewer"))["key"]
        person = await api.log_in("ada@example.com", {"role": "viewer", "project": "*"})
        assert await statuses(api, 7) == [401] * 5 + [429] * 2
        reply = await api.ask("GET", SNAPSHOT, token=wrong())
        assert reply.json["code"] == "credentials_throttled"
        assert "the credential is not known" in reply.json["detail"]
        assert int(reply.headers["Retry-After"]) == 60
        assert metric(api, REFUSED) == 3
        for path, token in (
            (SNAPSHOT, sidecar),
            ("/api/v1/flags", service),
            ("/api/v1/flags", person),
            ("/api/v1/keys", "an-administrators-token"),
            ("/health", None),
        ):
            assert (await api.ask("GET", path, token=token)).status == 200, path
        assert (await api.ask("GET", "/api/v1/flags", token=None)).status == 401
        for credential in ("ADMIN", "eyJhbGciOiJub25lIn0.e30.", "Bearer", "mf_service_" + "x" * 43):
            assert (await api.ask("GET", "/api/v1/flags", token=credential)).status == 429


@pytest.mark.parametrize("header", ["X-API-Key", "Cookie"])
async def test_each_way_to_send_a_credential_counts(redis_url: str, header: str) -> None:
    """Also a cookie, whose token nobody made."""
    async with running_api(redis_url, **WAIT, rate_limit_credentials=2) as api:
        value = "matrixflag_access=eyJ.e30.x" if header == "Cookie" else wrong()
        headers = {header: value, "X-Matrixflag-Csrf": "x"}
        answers = [
            (await api.ask("GET", "/api/v1/flags", token=None, headers=headers)).status
            for _ in range(3)
        ]
        assert answers == [401, 401, 429]


async def test_addresses_have_limits_of_their_own(redis_url: str) -> None:
    """Of IPv6 each /64; what a client writes into a header itself is no address."""
    settings: dict[str, Any] = {"rate_limit_credentials": 2, **BEHIND, **WAIT}
    async with running_api(redis_url, **settings) as api:
        for address, expected in (
            ("192.0.2.1", [401, 401, 429]),
            ("192.0.2.2", [401]),
            ("2001:db8::1", [401, 401]),
            ("2001:db8::2:3", [429]),
            ("2001:db8:0:1::1", [401]),
            ("192.0.2.2, 192.0.2.1", [429]),
        ):
            headers = {"X-Forwarded-For": address}
            assert await statuses(api, len(expected), headers=headers) == expected, address
    async with running_api(redis_url, **WAIT, rate_limit_credentials=2) as api:
        answers = [
            (await statuses(api, 1, headers={"X-Forwarded-For": f"192.0.2.{n}"}))[0]
            for n in range(3)
        ]
        assert answers == [401, 401, 429]


async def test_no_limit_is_none(redis_url: str) -> None:
    """As 0 is elsewhere."""
    async with running_api(redis_url, **WAIT, rate_limit_credentials=0) as api:
        answers = await asyncio.gather(*(statuses(api, 350) for _ in range(2)))
        assert {status for each in answers for status in each} == {401}


def guard_at(clock: list[float], limit: int) -> tuple[CountingGuard, list[str]]:
    """Return a guard that lets nobody in, by a clock, and what it counts."""

    def closed(_request: web.Request, _route: Route) -> None:
        raise Unauthorized("wrong")

    refused: list[str] = []
    return CountingGuard(closed, limit, refused.append, lambda: clock[0]), refused


async def _nothing(_request: web.Request) -> web.StreamResponse:
    raise NotImplementedError


ROUTE = Route(
    method="GET", path="/", handler=_nothing, summary="s", permission=Permission.READ, tag="t"
)


class _Transport(asyncio.Transport):
    """A connection from an address."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 1)})


def ask(guard: CountingGuard, address: str = "192.0.2.1") -> int:
    """Ask with a wrong credential, and return the status."""
    request = make_mocked_request(
        "GET",
        "/",
        {"Authorization": "Bearer x"},
        transport=_Transport(address),
        app=web.Application(),
    )
    try:
        guard(request, ROUTE)
    except (Unauthorized, TooManyRequests) as error:
        return error.status
    raise AssertionError("let in")


def test_what_is_used_comes_back_evenly() -> None:
    """And no more than all of it, however long nobody came."""
    clock = [1000.0]
    guard, refused = guard_at(clock, 6)
    assert [ask(guard) for _ in range(8)] == [401] * 6 + [429] * 2
    clock[0] += 10.1
    assert [ask(guard) for _ in range(2)] == [401, 429]
    clock[0] += 100_000
    assert [ask(guard) for _ in range(7)] == [401] * 6 + [429]
    assert refused == ["credentials"] * 4


def test_many_addresses_take_no_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are remembered are the last."""
    monkeypatch.setattr(credentials, "_MAX_ADDRESSES", 10)
    guard, _ = guard_at([1000.0], 1)
    assert [ask(guard, f"198.51.100.{n}") for n in range(200)] == [401] * 200
    assert len(guard._whole_at_s) == 10
    assert ask(guard, "198.51.100.199") == 429


def test_who_is_refused_is_remembered_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who goes on guessing does not come to be the one heard of longest ago."""
    monkeypatch.setattr(credentials, "_MAX_ADDRESSES", 10)
    guard, _ = guard_at([1000.0], 1)
    assert ask(guard) == 401
    for n in range(50):
        assert ask(guard, f"198.51.100.{n}") == 401
        assert ask(guard) == 429, n


def test_all_of_a_limit_is_there_at_any_time() -> None:
    """Sums of times are not exact; a clock that has gone on for long shows it."""
    for began_s in (0.1, 1000.1, 123_456.7, 9_876_543.21):
        for limit in (1, 7, 600):
            guard, _ = guard_at([began_s], limit)
            answers = [ask(guard) for _ in range(limit + 1)]
            assert answers == [401] * limit + [429], (began_s, limit)
