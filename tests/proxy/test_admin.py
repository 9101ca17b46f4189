"""Probes, metrics and status over real HTTP."""

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import aiohttp
import pytest
import yarl
from aiohttp import web

from proxy.admin import AdminHandler, AdminSettings, create_admin_app
from proxy.contract.snapshot import SnapshotRefused
from proxy.events.buffer import EventBuffer
from proxy.exposures.buffer import ExposureBuffer
from proxy.holder import Holder
from proxy.lifecycle import Lifecycle
from proxy.listen import bind, urls
from proxy.metrics import Metrics
from proxy.ofrep.current import Current
from proxy.reporting.channel import Channel, ReportSettings
from proxy.sync import SyncStatus
from tests.proxy.ofrep.server import CLIENT_KEY, SERVER_KEY, keys
from tests.support.snapshots import definition, make_snapshot
from tests.support.units import in_segment, long_list, names

Reply = tuple[int, str]


class Admin:
    """A running admin port, and what it reports about."""

    def __init__(self, session: aiohttp.ClientSession, **settings: Any) -> None:
        self.now_s = 0.0
        self.holder = Holder(clock=lambda: self.now_s)
        self.lifecycle = Lifecycle()
        self.url = ""
        self._session = session
        self.status = status = SyncStatus()
        reporting = ReportSettings(control_plane_urls=("http://cp",), key="k", instance="i")
        defaults: dict[str, Any] = {
            "instance": "i-1",
            "ready_without_snapshot": False,
            "startup_grace_s": 3600.0,
            "unready_after_s": 0.0,
        }
        self.handler = AdminHandler(
            AdminSettings(**(defaults | settings)),
            holder=self.holder,
            status=status,
            lifecycle=self.lifecycle,
            metrics=Metrics(self.holder, status, Current()),
            channels=[
                Channel("exposures", "/", ExposureBuffer(10), session, reporting),
                Channel("events", "/", EventBuffer(1000), session, reporting),
            ],
        )

    async def get(self, path: str, **headers: str) -> Reply:
        """Return status and text of an answer."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.get(self.url + path, headers=names) as response:
            return response.status, await response.text()

    async def explain(self, key: str, body: Any = b"", **headers: str) -> Reply:
        """Return status and text of an explanation."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        url = yarl.URL(f"{self.url}/explain/{key}", encoded=True)
        async with self._session.post(url, data=body, headers=names) as response:
            return response.status, await response.text()

    async def offer(self, *, more: Any = None, age_ms: int = 0) -> None:
        """Serve a flag that works and one that does not."""
        broken = definition(fallthrough={"variant": "none"})
        _, body = make_snapshot({"good": True, "bad": broken}, more=more)
        await self.holder.offer(body, "control-plane", age_ms=age_ms)


@asynccontextmanager
async def running_admin(host: str = "127.0.0.1", **settings: Any) -> AsyncIterator[Admin]:
    """Run an admin port."""
    async with aiohttp.ClientSession() as session:
        admin = Admin(session, **settings)
        runner = web.AppRunner(create_admin_app(admin.handler), access_log=None)
        await runner.setup()
        sockets = bind((host,), 0, "--admin-")
        admin.url = urls(sockets)[0]
        await web.SockSite(runner, sockets[0]).start()
        yield admin
        await runner.cleanup()


async def test_it_is_alive_whatever_else() -> None:
    """A probe that depends on more makes an outage of a hiccup."""
    async with running_admin() as admin:
        assert await admin.get("/livez") == (200, "alive\n")
        admin.lifecycle.stopping.set()
        assert (await admin.get("/livez"))[0] == 200


async def test_it_is_ready_once_there_is_a_snapshot() -> None:
    """And no more when it is being stopped."""
    async with running_admin() as admin:
        assert await admin.get("/readyz") == (503, "not ready: no snapshot yet\n")
        await admin.offer()
        assert await admin.get("/readyz") == (200, "ready\n")
        admin.lifecycle.stopping.set()
        assert await admin.get("/readyz") == (503, "not ready: stopping\n")


async def test_why_there_is_no_snapshot_is_told_by_words_that_are_ours() -> None:
    """A refused snapshot is no control plane that is away; what it said is for `/statusz`."""
    async with running_admin(startup_grace_s=0.0) as admin:
        admin.status.fail("connect", "cp.secret.example:8000")
        why = "no snapshot yet: the last error was connect, the log says more"
        assert await admin.get("/readyz") == (503, f"not ready: {why}\n")
        assert await admin.get("/startupz") == (200, f"started, {why}\n")
        status = json.loads((await admin.get("/statusz"))[1])
        assert (status["ready"], status["unready"]) == (False, why)
        for name in ("state_since", "last_error_at"):
            assert datetime.fromisoformat(status["sync"][name]).tzinfo is not None
        assert status["sync"]["connected_since"] is None
        _, body = make_snapshot({"a": True}, schema="9.0-from-elsewhere")
        with pytest.raises(SnapshotRefused):
            await admin.holder.offer(body, "control-plane")
        admin.status.fail("refused", "schema: 9.0-from-elsewhere")
        why = (
            "no snapshot yet: the snapshot from the control plane was refused "
            "(schema: it has another format than this sidecar reads)"
        )
        assert await admin.get("/readyz") == (503, f"not ready: {why}\n")
        assert await admin.get("/startupz") == (200, f"started, {why}\n")
        status, text = await admin.explain("a", "{}")
        assert (status, json.loads(text)) == (503, {"errorDetails": why})
        await admin.offer()
        with pytest.raises(SnapshotRefused):
            await admin.holder.offer(body, "control-plane")
        assert await admin.get("/readyz") == (200, "ready\n")
        assert await admin.get("/startupz") == (200, "started\n")


async def test_age_does_not_make_it_unready_by_default() -> None:
    """All instances would go at once."""
    async with running_admin() as admin:
        await admin.offer(age_ms=10**9)
        assert (await admin.get("/readyz"))[0] == 200


async def test_age_makes_it_unready_when_told_so() -> None:
    """And a confirmation makes it ready again."""
    async with running_admin(unready_after_s=60.0) as admin:
        await admin.offer()
        admin.now_s = 60.0
        assert (await admin.get("/readyz"))[0] == 200
        admin.now_s = 61.0
        assert await admin.get("/readyz") == (
            503,
            "not ready: the snapshot was last confirmed 61 s ago\n",
        )
        assert admin.holder.served is not None
        admin.holder.confirm(admin.holder.served.header.digest)
        assert (await admin.get("/readyz"))[0] == 200


async def test_with_allow_empty_it_is_ready_without_a_snapshot() -> None:
    """Somebody said so."""
    async with running_admin(ready_without_snapshot=True) as admin:
        assert (await admin.get("/readyz"))[0] == 200


async def test_starting_ends_with_the_first_snapshot() -> None:
    """A native sidecar lets the application start then."""
    async with running_admin() as admin:
        assert (await admin.get("/startupz"))[0] == 503
        await admin.offer()
        assert await admin.get("/startupz") == (200, "started\n")


async def test_starting_ends_with_the_grace() -> None:
    """Our outage must not stop every rollout."""
    async with running_admin(startup_grace_s=0.0) as admin:
        assert await admin.get("/startupz") == (200, "started, no snapshot yet\n")
        assert (await admin.get("/readyz"))[0] == 503


async def test_metrics_are_open() -> None:
    """In the format that is asked for."""
    async with running_admin() as admin:
        status, text = await admin.get("/metrics")
        assert status == 200
        assert "matrixflag_build_info" in text
        status, text = await admin.get("/metrics", Accept="application/openmetrics-text")
        assert text.endswith("# EOF\n")


async def test_the_status_tells_how_it_stands() -> None:
    """What is served, how old it is, what is wrong with it."""
    async with running_admin() as admin:
        assert json.loads((await admin.get("/statusz"))[1])["snapshot"] is None
        await admin.offer(more=keys(), age_ms=1500)
        standing = json.loads((await admin.get("/statusz"))[1])
        assert standing["instance"] == "i-1"
        assert standing["ready"] is True
        snapshot = standing["snapshot"]
        assert (snapshot["revision"], snapshot["flags"], snapshot["keys"]) == (1, 2, 3)
        assert (snapshot["source"], snapshot["age_s"]) == ("control-plane", 1.5)
        assert (snapshot["units"], snapshot["blobs"], snapshot["blob_bytes"]) == (0, 0, 0)
        assert snapshot["quarantined_count"] == 1
        (problem,) = snapshot["quarantined"]["bad"]
        assert problem["pointer"] == "/fallthrough/variant"
        for channel in ("exposures", "events"):
            assert standing[channel]["received"] == 0
            assert standing[channel]["last_error"] is None


async def test_the_status_tells_long_lists() -> None:
    """What is held of them, and what a snapshot waits for; no unit, nor its hash."""
    units = long_list(names(9_000))
    flag, segment = in_segment(units)

    async def blobs(*_: object) -> Mapping[str, bytes]:
        return units.blobs

    async with running_admin() as admin:
        _, body = make_snapshot({"a": flag}, more=segment)
        await admin.holder.offer(body, "control-plane", blobs=blobs)
        standing = json.loads((await admin.get("/statusz"))[1])
    snapshot, sync = standing["snapshot"], standing["sync"]
    held = (snapshot["units"], snapshot["blobs"], snapshot["blob_bytes"])
    assert held == (9_000, 4, 108_000)
    assert (sync["blobs"], sync["blobs_missing"]) == ({}, 0)


async def test_the_status_shows_no_keys() -> None:
    """Not even their hashes."""
    async with running_admin() as admin:
        await admin.offer(more=keys())
        text = (await admin.get("/statusz"))[1]
        assert admin.holder.served is not None
        assert not any(hash_ in text for hash_ in admin.holder.served.compiled.keys)


async def test_a_page_that_rebinds_its_name_is_no_local_peer() -> None:
    """Its Host gives it away."""
    async with running_admin() as admin:
        for host in ("evil.example", "evil.example:8014", "127.0.0.1.evil.example", "[", ""):
            status, text = await admin.get("/statusz", Host=host)
            assert status == 401, host
            assert "errorDetails" in text
        for host in ("localhost", "127.0.0.1:8014", "[::1]:8014", "LOCALHOST:1"):
            assert (await admin.get("/statusz", Host=host))[0] == 200, host


@pytest.mark.parametrize(
    ("key", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        (f"Bearer {CLIENT_KEY}", 403),
        (f"Bearer {SERVER_KEY}", 200),
    ],
)
async def test_others_need_a_server_key(key: str | None, status: int) -> None:
    """Keys of flags and problems in them are not for browsers."""
    async with running_admin() as admin:
        await admin.offer(more=keys())
        headers = {"Host": "sidecar.example"} | ({} if key is None else {"Authorization": key})
        assert (await admin.get("/statusz", **headers))[0] == status


async def test_without_keys_others_are_refused() -> None:
    """There is none they could have; nothing is open by accident."""
    async with running_admin() as admin:
        await admin.offer()
        status, text = await admin.get("/statusz", Host="sidecar.example")
        assert status == 401
        assert "allow-anonymous" not in text, "that is for evaluations"


async def test_other_methods_are_405() -> None:
    """With what is allowed."""
    async with running_admin() as admin, aiohttp.ClientSession() as session:
        for path in ("/livez", "/readyz", "/startupz", "/metrics", "/statusz"):
            async with session.post(admin.url + path, data=b"x" * 10_000) as response:
                assert response.status == 405
                assert "GET" in response.headers["Allow"]


async def test_an_explanation_says_what_and_why() -> None:
    """The result is what an evaluation answers; the body is that of one."""
    germans = {"when": {"attribute": "country", "op": "in", "values": ["DE"]}, "id": "germans"}
    flag = definition(False, rules=[{**germans, "serve": {"variant": "on"}}], track=True)
    async with running_admin() as admin:
        _, body = make_snapshot({"team/a": flag})
        await admin.holder.offer(body, "control-plane")
        status, text = await admin.explain("team/a", b'{"context":{"country":"DE"}}')
        made = json.loads(text)
        assert status == 200
        assert made["because"] == "rule germans matched"
        assert admin.holder.served is not None
        compiled = admin.holder.served.compiled.flags["team/a"]
        answer = compiled.evaluate({"country": "DE"}, 0)
        assert made["result"] == json.loads(answer.body)
        assert answer.evaluations == 0, "nobody was shown anything"
        made = json.loads((await admin.explain("team%2Fa"))[1])
        assert made["steps"][1]["because"] == "the context has no country"


async def test_an_explanation_is_of_the_time_that_is_asked_about() -> None:
    """Now, if none is."""
    window = {"from": "2030-01-01T00:00:00Z"}
    rule = {"when": {"all": []}, "active": window, "serve": {"variant": "on"}}
    async with running_admin() as admin:
        _, body = make_snapshot({"a": definition(False, rules=[rule])})
        await admin.holder.offer(body, "control-plane")
        values = {}
        for at in (None, "2029-12-31T23:59:59.999Z", "2030-01-01T00:00:00Z"):
            made = json.loads((await admin.explain("a", json.dumps({"at": at})))[1])
            values[at] = made["result"]["value"], made["at"]
        assert values["2029-12-31T23:59:59.999Z"] == (False, "2029-12-31T23:59:59.999Z")
        assert values["2030-01-01T00:00:00Z"] == (True, "2030-01-01T00:00:00Z")
        assert values[None][0] is False


async def test_a_terminal_gets_an_explanation_as_text() -> None:
    """By the header, or by the query, which wins."""
    async with running_admin() as admin:
        await admin.offer()
        for key, accept in (("good", "text/plain"), ("good?text=1", "*/*")):
            status, text = await admin.explain(key, Accept=accept)
            assert status == 200
            assert text.startswith("good\n  value    true\n")
            assert "▶ fallthrough" in text
        assert (await admin.explain("good?text=0", Accept="text/plain"))[1].startswith("{")


async def test_flags_that_are_too_old_are_explained_and_said_to_be() -> None:
    """What they say once they are confirmed; the status tells how old they may get."""
    async with running_admin() as admin:
        _, body = make_snapshot({"good": True}, max_age_s=60)
        header = (await admin.holder.offer(body, "control-plane", age_ms=61_000)).header
        made = json.loads((await admin.explain("good"))[1])
        assert (made["stale"], made["result"]["value"]) == (True, True)
        _, text = await admin.explain("good", Accept="text/plain")
        assert "Not answered now: the flags are too old" in text
        status = json.loads((await admin.get("/statusz"))[1])["snapshot"]
        assert (status["stale"], status["max_age_s"], status["age_s"] > 60) == (True, 60, True)
        assert (await admin.get("/readyz"))[0] == 200
        admin.holder.confirm(header.digest)
        assert "stale" not in json.loads((await admin.explain("good"))[1])
        status = json.loads((await admin.get("/statusz"))[1])["snapshot"]
        assert (status["stale"], status["max_age_s"]) == (False, 60)


async def test_a_quarantined_and_an_unknown_flag_are_explained() -> None:
    """What is wrong with the one, what the other may be called."""
    async with running_admin() as admin:
        await admin.offer()
        made = json.loads((await admin.explain("bad"))[1])
        assert made["problems"][0]["pointer"] == "/fallthrough/variant"
        made = json.loads((await admin.explain("goood"))[1])
        assert (made["result"]["errorCode"], made["nearest"]) == ("FLAG_NOT_FOUND", ["good"])


@pytest.mark.parametrize(
    ("body", "details"),
    [
        (b"x", "the body is not JSON"),
        (b"[]", "the body is an array, not an object"),
        (b'{"context":1}', "context is an integer, not an object"),
        (b'{"at":"tomorrow"}', "at is no date and time of RFC 3339 with a zone"),
        (b'{"at":5}', "at is no date and time of RFC 3339 with a zone"),
        (b'{"contxt":{}}', "the member 'contxt' is unknown, there are 'context' and 'at'; did you"),
        (b'{"context":{},"definition":{}}', "the member 'definition' is unknown, there are 'con"),
    ],
)
async def test_a_question_that_makes_no_sense_is_400(body: bytes, details: str) -> None:
    """In the shape of all errors of this port."""
    async with running_admin() as admin:
        await admin.offer()
        status, text = await admin.explain("good", body)
        assert status == 400
        assert json.loads(text)["errorDetails"].startswith(details)


async def test_a_question_is_bounded() -> None:
    """A megabyte is more than a context has."""
    async with running_admin() as admin:
        await admin.offer()
        status, text = await admin.explain("good", io.BytesIO(b" " * 1_048_577))
        assert (status, set(json.loads(text))) == (413, {"errorDetails"})


async def test_nothing_is_explained_before_the_first_snapshot() -> None:
    """Come again."""
    async with running_admin() as admin:
        status, text = await admin.explain("good")
        assert (status, json.loads(text)) == (503, {"errorDetails": "no snapshot yet"})


@pytest.mark.parametrize(
    ("key", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        (f"Bearer {CLIENT_KEY}", 403),
        (f"Bearer {SERVER_KEY}", 200),
    ],
)
async def test_others_need_a_server_key_for_explanations(key: str | None, status: int) -> None:
    """They say what definitions say: rules, units, salts."""
    async with running_admin() as admin:
        await admin.offer(more=keys())
        headers = {"Host": "sidecar.example"} | ({} if key is None else {"Authorization": key})
        answered, text = await admin.explain("good", **headers)
        assert answered == status
        if status != 200:
            assert set(json.loads(text)) == {"errorDetails"}


async def test_explanations_are_asked_by_post() -> None:
    """A context is no part of an address."""
    async with running_admin() as admin:
        assert (await admin.get("/explain/good"))[0] == 405
