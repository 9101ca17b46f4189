"""A new environment while others write."""

import asyncio

from control_plane.environments.model import Environment
from control_plane.environments.service import EnvironmentService
from control_plane.flags.service import FlagService
from control_plane.publishing.replica import Replica
from proxy.contract.authoring import FlagInput
from tests.support.definitions import AUTHOR, any_version

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
