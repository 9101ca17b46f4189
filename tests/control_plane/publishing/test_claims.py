"""What is believed of one key that says something was lost: little, and ever less."""

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest

from control_plane.keys import REPLICA
from control_plane.publishing.changes import just_after
from control_plane.publishing.claims import Claims
from control_plane.publishing.replica import Replica
from control_plane.publishing.state import RecordKind
from control_plane.times import now_rfc3339
from tests.control_plane.publishing.replicas import LIMITS, WAIT_S, dump, restore, until_same
from tests.support.api import running_api, until
from tests.support.definitions import flag_record, put
from tests.support.redis import RedisServer

FLAG = RecordKind.FLAG
PLACE = ("default", "production")
DAY_S = 86_400.0


class Clock:
    """A time of the test's own."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_key_is_believed_three_times_in_the_life_of_a_process() -> None:
    """However long it lasts, and whatever it claims."""
    clock = Clock()
    claims = Claims(clock)
    believed = 0
    for _ in range(10_000):
        if claims.is_heard("k"):
            believed += claims.believe("p", "k", is_impossible=False)
        clock.now_s += DAY_S
    assert believed == 3


def test_what_cannot_be_is_never_believed() -> None:
    """And is looked at less and less often, but of others as ever."""
    clock = Clock()
    claims = Claims(clock)
    looked_at = []
    while clock.now_s < 1_000 + DAY_S:
        if claims.is_heard("liar"):
            assert not claims.believe("p", "liar", is_impossible=True)
            looked_at.append(clock.now_s)
        assert claims.is_heard("honest")
        clock.now_s += 1
    pauses = [after - before for before, after in pairwise(looked_at)]
    assert pauses[:7] == [60, 120, 240, 480, 960, 1920, 3600]
    assert len(looked_at) < 35
    assert claims.refused == {("p", "liar"): len(looked_at)}
    assert claims.believe("p", "honest", is_impossible=False)


def test_of_one_loss_many_tell_and_none_pays_for_it() -> None:
    """A fleet comes back at once; all of its keys are heard the next time too."""
    clock = Clock()
    claims = Claims(clock)
    assert [claims.believe("p", f"k{n}", is_impossible=False) for n in range(4)] == [
        True,
        *[False] * 3,
    ]
    assert claims.believe("other", "k9", is_impossible=False)
    assert not claims.refused
    clock.now_s += 60
    assert claims.is_heard("k1")
    assert claims.believe("p", "k1", is_impossible=False)


async def test_one_key_cannot_have_the_epoch_renewed_for_ever(redis_url: str) -> None:
    """Once at most after a start; then this replica and the others have seen the epoch begin."""
    async with Replica(redis_url, LIMITS) as one, Replica(redis_url, LIMITS) as other:
        assert await one.wait_loaded(WAIT_S)
        assert await other.wait_loaded(WAIT_S)
        await put(one, FLAG, "a", flag_record("a"))
        await until_same(one, other)
        clocks = Clock(), Clock()
        for replica, clock in zip((one, other), clocks, strict=True):
            replica._claims = Claims(clock)
        for number in range(50):
            replica = (one, other)[number % 2]
            epoch = replica.project("default").epoch
            await replica.witness(*PLACE, epoch, 1_000_000 + number, key=f"k{number % 3}")
            for clock in clocks:
                clock.now_s += DAY_S
            await until_same(one, other)
        assert one.epochs_renewed + other.epochs_renewed == 1
        assert sum(one.claims_refused.values()) + sum(other.claims_refused.values()) == 49


async def test_one_key_that_claims_later_epochs_is_believed_three_times(redis_url: str) -> None:
    """Their names and times are anybody's to make up."""
    async with Replica(redis_url, LIMITS) as replica:
        assert await replica.wait_loaded(WAIT_S)
        clock = Clock()
        replica._claims = Claims(clock)
        for number in range(30):
            later = just_after(now_rfc3339(), timedelta(seconds=60 + number))
            await replica.witness(*PLACE, f"made-up-{number}", 1, later, key="liar")
            clock.now_s += DAY_S
        assert replica.epochs_renewed == 3
        assert replica.claims_refused[("default", "liar")] >= 1


async def test_after_a_gap_a_loss_may_have_been_missed(redis_server: RedisServer) -> None:
    """Redis went back while this replica did not look, and others, which are gone, had written."""
    async with Replica(redis_server.url, LIMITS) as replica:
        assert await replica.wait_loaded(WAIT_S)
        first = replica.project("default").epoch
        await replica._mirror.renew("default", first)
        epoch = replica.project("default").epoch
        assert replica._mirror.has_seen_all_of("default")
        await replica._mirror.stop()
        with redis_server.client() as client:
            saved = dump(client)
            async with Replica(redis_server.url) as gone:
                assert await gone.wait_loaded(WAIT_S)
                await put(gone, FLAG, "lost", flag_record("lost"))
                pointer = gone.project("default").snapshots["production"].pointer()
            restore(client, saved)
        redis_server.kill()
        replica._mirror.start()
        async with asyncio.timeout(WAIT_S):
            while replica.failures == 0:  # noqa: ASYNC110 - seen in time
                await asyncio.sleep(0.01)
        redis_server.restart()
        with redis_server.client() as client:
            restore(client, saved)
        assert not replica._mirror.has_seen_all_of("default")
        async with asyncio.timeout(WAIT_S):
            while not replica.redis_ok:  # noqa: ASYNC110 - seen in time
                await asyncio.sleep(0.01)
        assert replica.project("default").epoch == epoch
        await replica.witness(*PLACE, pointer.epoch, pointer.revision, key="honest")
        assert replica.epochs_renewed == 2
        assert replica.project("default").epoch != epoch


async def test_the_key_is_named(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """In the log and in a metric: whoever has it is to be found."""
    async with running_api(redis_url, redis_timeout_s=10.0) as api:
        made = await api.make_key("sidecar")
        replica = api.app[REPLICA]
        await replica._mirror.renew("default", replica.project("default").epoch)
        epoch = replica.project("default").epoch
        headers = {
            "Authorization": f"Bearer {made['key']}",
            "Last-Event-ID": f"{epoch}-1000000",
        }
        url = api.url + "/api/v1/sync/stream"
        async with api.session.get(url, headers=headers) as answer:
            assert answer.status == 200

            async def is_counted() -> bool:
                return bool(replica.claims_refused)

            await until(is_counted)
        assert replica.claims_refused == {("default", made["id"]): 1}
        assert replica.epochs_renewed == 1
        assert made["id"] in caplog.text
        assert made["key"] not in caplog.text
