"""Sums of evaluations, through a real evaluation port and the swaps of its snapshots."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.contract.reports import MAX_BATCH_ITEMS
from proxy.contract.usage import MAX_COUNT
from proxy.usage.counts import UsageCounts
from tests.proxy.ofrep.server import ON_OFF, Server, flag, rule, running_server

MINUTE_MS = 60_000
FLAGS = {
    "bool": flag("boolean", ON_OFF),
    "ruled": flag("boolean", ON_OFF, "off", rules=[rule("on", "plan", "pro")]),
    "default": flag("boolean", ON_OFF, enabled=False),
    "broken": flag("boolean", ON_OFF, rules=[rule("on", "x", 1, op="equalz")]),
}


class Watched:
    """A server, its usage, and a clock in hand."""

    def __init__(self, server: Server, max_rows: int) -> None:
        self.server = server
        self.now_ms = 10 * MINUTE_MS + 7
        settle = server.answering.current.settle
        self.usage = UsageCounts(settle, lambda: self.now_ms, max_rows)
        server.holder.subscribe(self.usage.swapped)

    async def sums(self) -> Counter[tuple[str, str | None, str]]:
        """Return the sums since the last time, over minutes."""
        await self.usage.gather()
        found: Counter[tuple[str, str | None, str]] = Counter()
        while rows := self.usage.take():
            for row in rows:
                found[row.flag, row.variant, row.reason] += row.count
        return found


@asynccontextmanager
async def watched(max_rows: int = 1000) -> AsyncIterator[Watched]:
    """Run a server that serves `FLAGS`."""
    async with running_server(None) as server:
        parts = Watched(server, max_rows)
        await server.offer(FLAGS)
        yield parts


async def test_single_and_bulk_evaluations_are_summed_up_once() -> None:
    """By flag, variant and reason; what has no variant has none, an error its code."""
    async with watched() as parts:
        server = parts.server
        for _ in range(3):
            await server.single("ruled", {"plan": "pro"})
        await server.bulk({"plan": "free"})
        await server.bulk({"plan": "free"})
        assert await parts.sums() == {
            ("bool", "on", "STATIC"): 2,
            ("ruled", "on", "TARGETING_MATCH"): 3,
            ("ruled", "off", "DEFAULT"): 2,
            ("default", None, "DISABLED"): 2,
            ("broken", None, "PARSE_ERROR"): 2,
        }
        assert await parts.sums() == {}
        await server.single("bool")
        assert await parts.sums() == {("bool", "on", "STATIC"): 1}


async def test_metrics_count_on_regardless() -> None:
    """They are totals, these are differences."""
    async with watched() as parts:
        for expected in (1, 2):
            await parts.server.single("bool")
            await parts.sums()
            text, _ = await parts.server.metrics.render("")
            series = b'evaluations_total{flag="bool",variant="on",reason="STATIC"} %d'
            assert series % expected in text


async def test_a_swap_loses_no_count() -> None:
    """Of a flag that stays, one that changes and one that goes; each is counted once."""
    async with watched() as parts:
        server = parts.server
        await server.bulk()
        await server.offer({**FLAGS, "bool": flag("boolean", ON_OFF, metadata={"a": 1})})
        await server.bulk()
        await server.offer({"ruled": FLAGS["ruled"]})
        await server.bulk()
        assert await parts.sums() == {
            ("bool", "on", "STATIC"): 2,
            ("ruled", "off", "DEFAULT"): 3,
            ("default", None, "DISABLED"): 2,
            ("broken", None, "PARSE_ERROR"): 2,
        }


async def test_the_minute_is_that_of_the_gathering_before() -> None:
    """So that it is at most one early, and never one that has not been."""
    async with watched() as parts:
        await parts.server.single("bool")
        parts.now_ms = 11 * MINUTE_MS + 3
        await parts.usage.gather()
        await parts.server.single("bool")
        parts.now_ms = 12 * MINUTE_MS
        await parts.usage.gather()
        minutes = [row.minute_ms // MINUTE_MS for row in parts.usage.take()]
        assert minutes == [10, 11]


async def test_without_room_counts_wait_where_they_are() -> None:
    """And are summed up when there is some, also those of flags that left meanwhile."""
    async with watched(max_rows=2) as parts:
        server, usage = parts.server, parts.usage
        await server.bulk()
        await usage.gather()
        assert (len(usage), usage.received, usage.lost) == (2, 2, 0)
        await server.offer({"ruled": FLAGS["ruled"]})
        found = await parts.sums() + await parts.sums() + await parts.sums()
        assert (len(found), set(found.values())) == (4, {1})
        assert (usage.received, usage.lost) == (4, 0)


async def test_what_leaves_without_room_is_lost_and_counted() -> None:
    """Flags that come and go without end must not fill the memory."""
    async with watched(max_rows=2) as parts:
        server, usage = parts.server, parts.usage
        for _ in range(3):
            await server.bulk()
            await server.offer({})
            await server.offer(FLAGS)
        found = await parts.sums() + await parts.sums()
        assert (usage.lost, usage.received - usage.lost) == (3 * 4 - 2, len(found))
        assert found.total() == 2


async def test_a_count_that_is_too_large_to_tell_is_told_as_several() -> None:
    """In two minutes; it may have waited for hours."""
    async with watched() as parts:
        views = parts.server.answering.current.views
        assert views is not None
        answer = views.compiled.flags["bool"].evaluate({}, 0)
        answer.evaluations = MAX_COUNT + 5
        assert [(await parts.sums()).total() for _ in range(3)] == [MAX_COUNT, 5, 0]


async def test_a_batch_is_what_one_may_have() -> None:
    """However many flags there are."""
    many = {f"f-{n}": flag("boolean", ON_OFF) for n in range(MAX_BATCH_ITEMS + 5)}
    async with running_server(None) as server:
        parts = Watched(server, 50_000)
        await server.offer(many)
        await server.bulk()
        await parts.usage.gather()
        assert [len(parts.usage.take()) for _ in range(3)] == [MAX_BATCH_ITEMS, 5, 0]


@pytest.mark.parametrize("swaps", [0, 1, 3])
async def test_evaluations_while_it_gathers_are_counted_once(swaps: int) -> None:
    """Another snapshot, too, may come between two slices."""
    async with watched() as parts:
        server, bulks = parts.server, 0
        for turn in range(4):
            for place, _ in enumerate(parts.usage._gathering()):
                await server.bulk()
                bulks += 1
                server.answering.current.settle()
                if place < swaps:
                    more = flag("boolean", ON_OFF, metadata={"turn": turn, "place": place})
                    await server.offer({**FLAGS, "bool": more})
        assert set((await parts.sums()).values()) == {bulks}
