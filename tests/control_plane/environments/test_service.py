"""A new environment while others write."""

import asyncio

from control_plane.environments.model import Environment, EnvironmentInput
from control_plane.environments.service import EnvironmentService
from control_plane.flags.service import FlagService
from control_plane.publishing.replica import Replica
from proxy.contract.authoring import FlagInput
from proxy.contract.snapshot import read_snapshot
from proxy.contract.steps import finish
from tests.control_plane.publishing.replicas import body, until_same
from tests.support.definitions import AUTHOR, any_version
from tests.support.signing import signer, trusting

WAIT_S = 20.0


async def test_flags_that_change_meanwhile_are_copied_as_they_then_are(store_url: str) -> None:
    """What was worked out before the step is worked out again where it no longer holds."""
    async with Replica(store_url) as one, Replica(store_url) as other:
        assert await one.wait_loaded(WAIT_S)
        assert await other.wait_loaded(WAIT_S)
        flags = FlagService(one)
        for number in range(200):
            document = FlagInput(key=f"f-{number}", type="boolean", value=True, enabled=True)
            await flags.create("default", "production", document, AUTHOR)

        async def change(number: int) -> None:
            await flags.replace(
                *("default", "production", f"f-{number}"),
                FlagInput(value=False),
                {"value"},
                AUTHOR,
                any_version,
                rebucket=False,
            )

        made = EnvironmentService(other).create("default", Environment("qa"), AUTHOR)
        await asyncio.gather(made, *(change(number) for number in range(0, 200, 10)))
        async with asyncio.timeout(WAIT_S):
            while one.project("default").head != other.project("default").head:  # noqa: ASYNC110 - another replica
                await asyncio.sleep(0.01)
        state = one.project("default")
        for number in range(200):
            configs = state.flags[f"f-{number}"].flag.environments
            assert configs.keys() == {"development", "production", "qa", "staging"}
        # Before or after: whichever came first, both are there.
        assert state.flags["f-10"].version == 3
        assert state.flags["f-11"].version == 2
        assert state.flags["f-10"].flag.environments["production"].fallthrough.variant == "off"
        assert state.snapshots["qa"].body() == other.project("default").snapshots["qa"].body()


async def test_replicas_publish_the_same_maximum_age(store_url: str) -> None:
    """The one that was asked, one that followed, and one that starts later, in the same bytes."""

    def any_state(_resource: object) -> None:
        return

    sign = signer("one")
    async with Replica(store_url, sign=sign) as one, Replica(store_url, sign=sign) as other:
        assert await one.wait_loaded(WAIT_S)
        assert await other.wait_loaded(WAIT_S)
        service = EnvironmentService(one)
        for max_age_s in (60, None, 3600):
            document = EnvironmentInput(max_age_s=max_age_s)
            await service.replace("default", "production", document, AUTHOR, any_state)
        await until_same(one, other)
        async with Replica(store_url, sign=sign) as late:
            assert await late.wait_loaded(WAIT_S)
            assert body(one) == body(other) == body(late)
        read = finish(read_snapshot(body(one), verify=trusting("one").verify))
        assert (read.header.max_age_s, read.header.revision) == (3600, 4)
