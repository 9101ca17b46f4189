"""Flags through the service, on two replicas."""

import asyncio

import msgspec
import pytest

from control_plane.errors import Conflict, PreconditionFailed
from control_plane.flags.service import FlagService, new_salt, new_salts
from control_plane.publishing.replica import Replica
from proxy.contract.authoring import FlagInput
from proxy.contract.definitions import FlagDefinition
from proxy.contract.snapshot import read_entry
from proxy.engine import compile_flag
from tests.support.definitions import AUTHOR, any_version

WAIT_S = 20.0
SIMPLE = FlagInput(key="f", type="boolean", value=True, enabled=True)


def only(version: int) -> object:
    """Return a precondition for one version."""

    def check(current: int) -> None:
        if current != version:
            raise PreconditionFailed("another", f'"{current}"')

    return check


async def test_of_two_that_create_the_same_flag_one_does(store_url: str) -> None:
    """The other is told that it is there, whichever replica it asked."""
    async with Replica(store_url) as one, Replica(store_url) as other:
        assert await one.wait_loaded(WAIT_S)
        assert await other.wait_loaded(WAIT_S)
        results = await asyncio.gather(
            *(
                FlagService(replica).create("default", "production", SIMPLE, AUTHOR)
                for replica in (one, other, one, other)
            ),
            return_exceptions=True,
        )
        refused = [result for result in results if isinstance(result, Conflict)]
        assert [error.code for error in refused] == ["flag_exists"] * 3


async def test_of_two_that_change_the_same_version_one_does(store_url: str) -> None:
    """`If-Match` holds between replicas, because it is looked at again after a lost race."""
    async with Replica(store_url) as one, Replica(store_url) as other:
        assert await one.wait_loaded(WAIT_S)
        assert await other.wait_loaded(WAIT_S)
        await FlagService(one).create("default", "production", SIMPLE, AUTHOR)
        async with asyncio.timeout(WAIT_S):
            while "f" not in other.project("default").flags:  # noqa: ASYNC110 - another replica
                await asyncio.sleep(0.01)
        results = await asyncio.gather(
            *(
                FlagService(replica).replace(
                    *("default", "production", "f"),
                    FlagInput(description=str(number)),
                    {"description"},
                    AUTHOR,
                    only(1),  # type: ignore[arg-type]
                    rebucket=False,
                )
                for number, replica in enumerate((one, other, one, other))
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(result, PreconditionFailed) for result in results) == 3
        assert one.project("default").flags["f"].version == 2


async def test_what_a_ramp_moves_is_counted_at_the_time_of_the_change(redis_url: str) -> None:
    """To the millisecond that the record and the history carry."""
    async with Replica(redis_url) as replica:
        assert await replica.wait_loaded(WAIT_S)
        times = iter(["2026-12-01T00:00:00.000Z", "2026-12-01T00:00:33.333Z"])
        service = FlagService(replica, now=times.__next__)
        await service.create("default", "production", SIMPLE, AUTHOR)
        ramp = {"variant": "off", "else": "on"}
        ramp |= {"start": "2026-12-01T00:00:00Z", "end": "2026-12-01T00:01:40Z"}
        serve = {"fallthrough": {"variant": None, "ramp": ramp}}
        written = await service.patch(
            *("default", "production", "f", {"environments": {"production": serve}}),
            lambda data: msgspec.json.decode(data, type=FlagInput),
            AUTHOR,
            any_version,
            rebucket=False,
        )
        assert [place.buckets for place in written.moved] == [33_333]
        assert written.resource.updated_at == "2026-12-01T00:00:33.333Z"


async def test_what_is_published_compiles(redis_url: str) -> None:
    """With the sidecar's own compiler, from the line itself."""
    async with Replica(redis_url) as replica:
        assert await replica.wait_loaded(WAIT_S)
        service = FlagService(replica)
        await service.create("default", "production", SIMPLE, AUTHOR)
        await service.patch(
            *("default", "production", "f"),
            {"tags": ["t"]},
            lambda body: msgspec.json.decode(body, type=FlagInput),
            AUTHOR,
            any_version,
            rebucket=False,
        )
        line = replica.project("default").snapshots["production"].line("flag", "f")
        definition = msgspec.json.decode(read_entry(line or b"").definition, type=FlagDefinition)
        compiled = compile_flag("f", definition, {})
        assert compiled.problems == ()
        assert compiled.evaluate({}, 0).value is True


def test_salts_are_many_and_valid() -> None:
    """32 hexadecimal digits each, no two alike."""
    salts = [new_salt(), *new_salts(1_000)]
    assert len(set(salts)) == 1_001
    assert {len(salt) for salt in salts} == {32}
    assert all(int(salt, 16) >= 0 for salt in salts)


@pytest.mark.parametrize("count", [0, 1])
def test_few_salts_are_as_many_as_asked_for(count: int) -> None:
    """None for none."""
    assert len(list(new_salts(count))) == count
