"""Flags that are too old, seen by those who ask: no value, a reason, and back again."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.contract.snapshot import SnapshotHeader
from proxy.ofrep.streams import Pace
from tests.proxy.ofrep.listening import listening
from tests.proxy.ofrep.server import (
    CLIENT_KEY,
    DEFINITIONS,
    Server,
    keys,
    running_server,
)
from tests.support.snapshots import make_snapshot

MAX_AGE_S = 60
OLD_MS = MAX_AGE_S * 1000 + 500
NO_VALUE = {"variant": "", "reason": "DISABLED", "metadata": {"stale": True}}


class Ages:
    """A server's snapshot, made old and new by what its source says of it."""

    def __init__(self, server: Server, more: Any = None) -> None:
        self.server = server
        self.more = more
        self.revision = 100

    async def age(self) -> SnapshotHeader:
        """Serve the same flags as a new revision that is too old already."""
        self.revision += 1
        header, body = make_snapshot(
            DEFINITIONS, more=self.more, revision=self.revision, max_age_s=MAX_AGE_S
        )
        served = await self.server.holder.offer(body, "control-plane", age_ms=OLD_MS)
        assert served.defaults is not None
        return header

    def confirm(self) -> None:
        """Hear that they are current."""
        served = self.server.holder.served
        assert served is not None
        assert self.server.holder.confirm(served.header.digest)
        assert self.server.holder.served is not None
        assert self.server.holder.served.defaults is None


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """An evaluation port with event streams, whose flags may be at most a minute old."""
    pace = Pace(heartbeat_s=0.05, together_s=0.01)
    async with running_server(pace=pace) as running:
        yield running


@pytest.fixture
def ages(server: Server) -> Ages:
    """Its snapshots."""
    return Ages(server)


async def test_every_flag_leaves_the_decision_to_the_application(
    server: Server, ages: Ages
) -> None:
    """Also on connections whose requests are known by their bytes; one that is not there is not."""
    context = {"targetingKey": "u-1", "plan": "pro"}
    for _ in range(3):
        fresh = [(await server.single(key, context)).body for key in ("bool", "ruled", "split")]
        await ages.age()
        for _ in range(2):
            for key in ("bool", "text", "ruled", "split", "broken", "off-with-variant", "tracked"):
                reply = await server.single(key, context)
                assert (reply.status, reply.json) == (200, {"key": key, **NO_VALUE})
            assert (await server.single("nobody", context)).status == 404
        ages.confirm()
        again = [(await server.single(key, context)).body for key in ("bool", "ruled", "split")]
        assert again == fresh


async def test_a_bulk_answer_says_the_same_and_has_another_tag(server: Server, ages: Ages) -> None:
    """A page that holds the flags as they were gets a new answer, and the old tag comes back."""
    context = {"targetingKey": "u-1"}
    fresh = await server.bulk(context)
    await ages.age()
    stale = await server.bulk(context, If_None_Match=fresh.headers["ETag"])
    assert stale.status == 200
    assert stale.json["flags"] == [{"key": item["key"], **NO_VALUE} for item in fresh.json["flags"]]
    same = await server.bulk({"targetingKey": "u-2"}, If_None_Match=stale.headers["ETag"])
    assert same.status == 304, "it is nobody's own"
    ages.confirm()
    back = await server.bulk(context, If_None_Match=stale.headers["ETag"])
    assert (back.status, back.json) == (200, fresh.json)
    assert back.headers["ETag"] == fresh.headers["ETag"]


async def test_who_may_see_what_stays(server: Server) -> None:
    """A client key shows the keys of no other flags, and evaluates none."""
    key = {"Authorization": f"Bearer {CLIENT_KEY}"}
    await server.offer(DEFINITIONS, more=keys())
    fresh = (await server.bulk(None, **key)).json
    await Ages(server, keys()).age()
    stale = (await server.bulk(None, **key)).json
    assert [f["key"] for f in stale["flags"]] == [f["key"] for f in fresh["flags"]]
    assert (await server.single("bool", None, **key)).status == 404
    assert (await server.single("text", None, Authorization="Bearer wrong")).status == 401


async def test_nobody_is_exposed_to_a_code_default(server: Server, ages: Ages) -> None:
    """But what a page showed before, and reports now, it did show."""
    buffer = server.recorder.buffer
    assert buffer is not None
    await ages.age()
    for _ in range(2):
        await server.single("tracked", {"targetingKey": "u-1"})
    assert buffer.received == 0
    used = {"flag": "tracked", "variant": "on", "unit": "u-2"}
    body = json.dumps({"exposures": [used]}).encode()
    headers = {"Content-Type": "application/json"}
    reply = await server.send("POST", "/v1/exposures", body, headers)
    assert reply.json == {"accepted": 1, "ignored": 0, "rejected": []}
    assert [exposure.unit for exposure in buffer.take(10)] == ["u-2"]


async def test_pages_are_told_to_ask_again(server: Server, ages: Ages) -> None:
    """When flags are too old, and when they are not any more; each time under another name."""
    async with listening(server.url, "/ofrep/v1/streams") as stream:
        names = [(await stream.event()).id]
        for _ in range(2):
            await ages.age()
            event = await stream.event()
            assert event.data["type"] == "refetchEvaluation"
            bulk = await server.bulk(None, f"?flagConfigEtag={names[-1]}")
            assert bulk.json["flags"][0]["reason"] == "DISABLED"
            ages.confirm()
            back = await stream.event()
            assert back.data["type"] == "refetchEvaluation"
            names += [event.id, back.id]
    assert len(set(names)) == 5


async def test_evaluations_are_counted_through_it_all(server: Server, ages: Ages) -> None:
    """Once each, and counters never go back."""
    for _ in range(3):
        await server.single("bool")
        await ages.age()
        await server.single("bool")
        await server.single("bool")
        ages.confirm()
        await server.single("bool")
    text = (await server.metrics.render(""))[0].decode()
    of_bool = [line for line in text.splitlines() if 'flag="bool"' in line]
    assert sorted(of_bool) == [
        'matrixflag_evaluations_total{flag="bool",variant="",reason="DISABLED"} 6',
        'matrixflag_evaluations_total{flag="bool",variant="on",reason="STATIC"} 6',
    ]
    assert "matrixflag_snapshot_stale 0.0" in text
    assert "matrixflag_snapshot_went_stale_total 3.0" in text
    assert "matrixflag_snapshot_max_age_seconds 60.0" in text
    assert "matrixflag_snapshot_swaps_total 4.0" in text
    await ages.age()
    text = (await server.metrics.render(""))[0].decode()
    assert "matrixflag_snapshot_stale 1.0" in text
    age_s = float(text.partition("\nmatrixflag_snapshot_age_seconds ")[2].partition("\n")[0])
    assert age_s >= MAX_AGE_S
