"""Tests of quotas on a real Redis."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import redis

from control_plane.limits.model import MAX_LIMIT, Quota
from control_plane.limits.store import QuotaStore
from control_plane.store.connection import Connections, RedisLimits
from control_plane.store.keys import RATE

HOUR_S = 3600


@pytest.fixture
async def two(store_url: str) -> AsyncIterator[tuple[QuotaStore, QuotaStore]]:
    """The quotas as two replicas see them."""
    limits = RedisLimits(connect_s=10, command_s=10, connections=8)  # a busy machine is slow
    both = [Connections(store_url, limits) for _ in range(2)]
    yield QuotaStore(both[0]), QuotaStore(both[1])
    for connections in both:
        await connections.close()


def quota(limit: int, whom: str = "key:k", name: str = "write") -> Quota:
    """Return a quota that hardly comes back while a test runs."""
    return Quota(name, whom, limit, HOUR_S)


async def test_exactly_as_many_pass_as_may(two: tuple[QuotaStore, QuotaStore]) -> None:
    """Of many at once, over two replicas."""
    taken = await asyncio.gather(*(two[n % 2].take([quota(37)]) for n in range(200)))
    passed = [standing for (standing,) in taken if standing.wait_s == 0]
    assert len(passed) == 37
    assert sorted(standing.remaining for standing in passed) == list(range(37))
    refused = [standing for (standing,) in taken if standing.wait_s > 0]
    assert all(s.remaining == 0 and s.wait_s <= HOUR_S / 37 + 1 for s in refused)


async def test_of_several_quotas_all_are_taken_from_or_none(
    two: tuple[QuotaStore, QuotaStore],
) -> None:
    """Who is refused by one has not used up another."""
    small, large = quota(3), quota(10, "192.0.2.1", "address")
    taken = await asyncio.gather(*(two[n % 2].take([small, large]) for n in range(20)))
    assert sum(all(s.wait_s == 0 for s in standings) for standings in taken) == 3
    (after,) = await two[0].take([large])
    assert after.remaining == 10 - 4
    first, second = await two[0].take([small, large])
    assert (first.wait_s > 0, second.wait_s) == (True, 0.0)
    assert second.remaining == 6


async def test_what_was_used_comes_back_one_by_one(
    two: tuple[QuotaStore, QuotaStore], store_url: str
) -> None:
    """Redis' own clock tells when; what is stored says that there is nothing left."""
    fast = Quota("read", "key:k", 600, 60)  # one in 100 ms
    await two[0].take([fast])
    with redis.Redis.from_url(store_url) as client:
        now_us = int(client.time()[0]) * 1_000_000
        client.set(f"{RATE}read:key:k", now_us + 3600 * 1_000_000)  # a clock that went back
        (refused,) = await two[0].take([fast])
        assert 0.09 < refused.wait_s <= 0.1
        assert refused.full_in_s == 60.0
        client.set(f"{RATE}read:key:k", now_us - 3600 * 1_000_000)
    (taken,) = await two[1].take([fast])
    assert (taken.remaining, taken.wait_s) == (599, 0.0)


async def test_clocks_of_replicas_do_not_matter(
    two: tuple[QuotaStore, QuotaStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is an hour ahead gets no more than others."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    monkeypatch.setattr(time, "time_ns", lambda: int((real() + 3600) * 1e9))
    taken = [(await two[n % 2].take([quota(5)]))[0] for n in range(10)]
    assert sum(standing.wait_s == 0 for standing in taken) == 5


async def test_a_quota_goes_when_it_is_whole(
    two: tuple[QuotaStore, QuotaStore], store_url: str
) -> None:
    """Nothing is left of callers that come no more."""
    await two[0].take([quota(60), Quota("read", "key:k", 6_000)])
    with redis.Redis.from_url(store_url) as client:
        assert 0 < client.pttl(f"{RATE}write:key:k") <= 60_000
        assert client.pttl(f"{RATE}read:key:k") in (-2, *range(11))  # in 10 ms, or gone


async def test_it_is_one_round_trip(two: tuple[QuotaStore, QuotaStore], store_url: str) -> None:
    """However many quotas concern a request."""
    quotas = [quota(100), quota(100, "192.0.2.1", "address")]
    await two[0].take(quotas)  # connects, and sends the script
    with redis.Redis.from_url(store_url) as client:

        def sent() -> dict[str, int]:
            stats = client.info("commandstats")
            inside = ("time", "get", "set", "info")  # of the script, and of this test
            return {
                name: counts["calls"]
                for name, counts in stats.items()
                if name.removeprefix("cmdstat_") not in inside
            }

        before = sent()
        for _ in range(10):
            await two[0].take(quotas)
        after = sent()
    assert {n: c - before.get(n, 0) for n, c in after.items() if c != before.get(n, 0)} == {
        "cmdstat_evalsha": 10
    }


@pytest.mark.parametrize("limit", [1, 7, 999, 30_001, MAX_LIMIT])
async def test_a_quota_holds_what_it_says(
    two: tuple[QuotaStore, QuotaStore], store_url: str, limit: int
) -> None:
    """Also where a minute is not a multiple of it: full up to the last one, and no further."""
    one = Quota("read", "key:k", limit)
    interval_us = 60_000_000 // limit
    (first,) = await two[0].take([one])
    assert (first.remaining, first.wait_s) == (limit - 1, 0.0)
    with redis.Redis.from_url(store_url) as client:
        seconds, us = client.time()
        # an hour ahead counts as full to the brim
        client.set(f"{RATE}read:key:k", (seconds + 3600) * 1_000_000 + us)
    (refused,) = await two[0].take([one])
    assert refused.remaining == 0
    assert refused.wait_s == pytest.approx(interval_us / 1e6, abs=1e-6)
