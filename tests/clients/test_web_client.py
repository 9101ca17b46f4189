"""Item 60: the published OFREP web provider in a real Chromium, its page from another origin.

Every type, every error, polling with 304, event streams, a context change, and a change noticed,
each told by what the page gets.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from proxy.ofrep.streams import Pace
from tests.clients.asking import asked
from tests.clients.cases import CASES, DEFINITIONS, Case, Outcome, simple, with_flag
from tests.clients.conftest import Served, serving, write_definitions
from tests.clients.keyed import PUBLIC, SECRET, running_keyed
from tests.clients.page import Page
from tests.proxy.ofrep.server import DEFINITIONS as SERVED
from tests.proxy.ofrep.server import SERVER_KEY, keys, running_server
from tests.support.processes import running_sidecar

_POLLING = {"changeDetection": "polling", "pollInterval": 200}
_NOTICED_S = 10.0  # bound, not expectation: the file is watched, and polled every few seconds
_CHANGED = "PROVIDER_CONFIGURATION_CHANGED"
_GREEN = with_flag(DEFINITIONS, simple("text", "string", "green"))
_TEXT = Case("", "text", "string", "red", Outcome("blue", "STATIC", "default"))


@pytest.fixture
def served(page: Page, tmp_path: Path) -> Iterator[Served]:
    """A sidecar that pages of that origin may ask."""
    with serving(tmp_path, f"--cors-origins={page.origin}") as running:
        yield running


async def test_60_the_page_gets_what_was_defined(page: Page, served: Served) -> None:
    """Value, reason, variant, error code and metadata come through the provider unharmed."""
    assert await page.start(served.url, {}, cacheMode="disabled") == "READY"
    for case in CASES:
        await page.change(case.context)
        outcome, message = await page.ask(case)
        expected = case.seen_by("web")
        assert (case.name, outcome) == (case.name, expected)
        assert type(outcome.value) is type(expected.value)
        assert bool(message) is (expected.error is not None)


async def test_60_the_second_poll_is_a_304_and_a_change_is_noticed(
    page: Page, served: Served
) -> None:
    """The page can read the ETag and sends it back; only a poll with news tells the page."""
    await page.start(served.url, {"targetingKey": "u-1"}, **_POLLING)
    await page.until("fetched.length > 2")
    first, *polls = await page.fetched()
    assert first["sent"] is None
    assert first["status"] == 200
    assert all(poll == {**first, "sent": first["tag"], "status": 304} for poll in polls)
    assert await page.said(_CHANGED) == []
    assert (await page.ask(_TEXT)).outcome == _TEXT.expected
    served.write(_GREEN)
    await page.until(f"said.some(([event]) => event === {json.dumps(_CHANGED)})")
    assert await page.said(_CHANGED) == [["text"]]
    assert (await page.ask(_TEXT)).outcome.value == "green"


@pytest.mark.parametrize("cache", ["disabled", "network-first", "local-cache-first"])
async def test_60_a_context_change_that_keeps_the_key_gives_the_new_context_s_values(
    page: Page, served: Served, cache: str
) -> None:
    """The provider sends the tag of the old context's answer, which must not be taken for news."""
    other, european = (
        next(case for case in CASES if case.name == name)
        for name in (
            "rules of which none matches",
            "a rule that matches, with its id and the flag's metadata",
        )
    )
    assert other.context["targetingKey"] == european.context["targetingKey"]
    await page.start(served.url, other.context, cacheMode=cache, changeDetection="none")
    assert (await page.ask(other)).outcome == other.expected
    await page.change(european.context)
    # with a cache the provider starts from it, and tells the page when the answer is there
    await page.until(f"evaluate({json.dumps(asked(european))}).value === 'eu'")
    before, after = await page.fetched()
    assert (after["sent"], after["status"]) == (before["tag"], 200)
    assert (await page.ask(european)).outcome.variant == european.expected.variant


async def test_60_a_page_that_is_earlier_than_the_flags_waits_for_them(
    page: Page, tmp_path: Path
) -> None:
    """Its first request is held: a provider that fails at the start never asks again."""
    file = tmp_path / "flags.json"
    cors = f"--cors-origins={page.origin}"
    with running_sidecar(tmp_path, "--snapshot", file, cors) as sidecar:
        async with asyncio.TaskGroup() as tasks:
            status = tasks.create_task(page.start(sidecar.ofrep, {}))
            write_definitions(file, DEFINITIONS)
        assert status.result() == "READY"
    assert (await page.ask(_TEXT)).outcome == _TEXT.expected


async def test_60_without_flags_the_page_has_its_defaults(page: Page, tmp_path: Path) -> None:
    """503: an error that the next context mends, not one that ends the provider for good."""
    file = tmp_path / "flags.json"
    arguments = ("--first-snapshot-wait-s=0", f"--cors-origins={page.origin}")
    with running_sidecar(tmp_path, "--snapshot", file, *arguments) as sidecar:
        assert await page.start(sidecar.ofrep, {}) == "ERROR"
        assert (await page.ask(_TEXT)).outcome.value == "red"
        assert [request["status"] for request in await page.fetched()] == [503]
        write_definitions(file, DEFINITIONS)
        async with asyncio.timeout(_NOTICED_S):
            while (await page.ask(_TEXT)).outcome != _TEXT.expected:
                await page.change({})


async def test_60_a_page_that_asks_too_often_keeps_its_values(page: Page, tmp_path: Path) -> None:
    """429: the provider can read for how long to pause, goes stale, and then is served again."""
    with serving(tmp_path, "--rate-limit=1", f"--cors-origins={page.origin}") as served:
        await page.start(served.url, {}, **_POLLING)
        await page.until("fetched.some(({ status }) => status === 429)")
        assert (await page.ask(_TEXT)).outcome == _TEXT.expected
        served.write(_GREEN)
        await page.until(f"evaluate({json.dumps(asked(_TEXT))}).value === 'green'")
        assert "PROVIDER_STALE" in str(await page.browser.run("said"))


async def test_60_a_restart_loses_no_page(page: Page, tmp_path: Path, unused_tcp_port: int) -> None:
    """While nobody answers the values stay; the tag holds after it, and changes go on arriving."""
    arguments = (f"--cors-origins={page.origin}", f"--port={unused_tcp_port}")
    with serving(tmp_path, *arguments) as served:
        await page.start(served.url, {}, **_POLLING)
        await page.until("fetched.length > 1")
    await page.until("state() === 'STALE'")
    assert (await page.ask(_TEXT)).outcome == _TEXT.expected
    with serving(tmp_path, *arguments) as served:
        answered = len(await page.fetched())
        await page.until(f"fetched.length > {answered}")
        assert (await page.fetched())[answered]["status"] == 304
        served.write(_GREEN)
        await page.until(f"evaluate({json.dumps(asked(_TEXT))}).value === 'green'")


async def test_60_an_event_stream_tells_the_page_of_each_change(page: Page, served: Served) -> None:
    """Without being asked for anything: it is what the provider does where a stream is offered."""
    await page.start(served.url, {"targetingKey": "u-1"}, cacheMode="disabled")
    await page.until("fetched.length > 1")  # a change may have come before the stream began
    first, again = await page.fetched()
    assert again == {"sent": first["tag"], "status": 304, "tag": first["tag"]}
    assert await page.said(_CHANGED) == []
    for value in ("green", "yellow", "green"):
        served.write(with_flag(DEFINITIONS, simple("text", "string", value)))
        await page.until(f"evaluate({json.dumps(asked(_TEXT))}).value === {json.dumps(value)}")
    assert await page.said(_CHANGED) == [["text"]] * 3
    assert len(await page.fetched()) == 5


async def test_60_a_page_comes_back_to_its_stream_after_a_restart(
    page: Page, tmp_path: Path, unused_tcp_port: int
) -> None:
    """Nothing was missed, so nothing is fetched; what is published meanwhile is told at once."""
    arguments = (f"--cors-origins={page.origin}", f"--port={unused_tcp_port}")
    with serving(tmp_path, *arguments) as served:
        await page.start(served.url, {}, cacheMode="disabled")
        await page.until("fetched.length > 1")
    await page.until("state() === 'STALE'")
    assert (await page.ask(_TEXT)).outcome == _TEXT.expected
    with serving(tmp_path, *arguments, definitions=_GREEN) as served:
        await page.until(f"evaluate({json.dumps(asked(_TEXT))}).value === 'green'")
    await page.until("state() === 'STALE'")
    fetched = len(await page.fetched())
    with serving(tmp_path, *arguments, definitions=_GREEN) as served:
        await streams_open(served.admin, 1)
        served.write(DEFINITIONS)
        await page.until(f"evaluate({json.dumps(asked(_TEXT))}).value === 'blue'")
        assert len(await page.fetched()) == fetched + 1


async def test_60_a_page_with_a_key_gets_a_stream_that_knows_it(page: Page, tmp_path: Path) -> None:
    """The browser sends no header with it; the URL says who may listen, and for what."""
    with running_keyed(tmp_path, f"--cors-origins={page.origin}") as keyed:
        header = ("X-API-Key", keyed.client_key)
        await page.start(keyed.url, {}, headers=[header], cacheMode="disabled")
        await page.until("fetched.length > 1")
        await streams_open(keyed.admin, 1)
        keyed.switch_off(PUBLIC)
        await page.until(f"evaluate({json.dumps(asked(PUBLIC))}).reason === 'DISABLED'")
        fetched = len(await page.fetched())
        keyed.revoke(keyed.client_key)
        await page.until(f"fetched.slice({fetched}).some(({{ status }}) => status === 401)")
        await streams_open(keyed.admin, 0)


async def test_60_a_page_gets_a_new_token_when_its_own_is_over(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stream goes on; when it is cut then, the browser is refused, and the provider asks."""
    monkeypatch.setattr("proxy.ofrep.offers.WINDOW_MS", 1_000)
    origins = (page.origin,)
    async with running_server(more=keys(), origins=origins, pace=Pace()) as server:
        header = ("X-API-Key", SERVER_KEY)
        await page.start(server.url, {}, headers=[header], cacheMode="disabled")
        await page.until("fetched.length > 1")
        (stream,) = server.answering.streams or ()
        began_s = time.time()
        async with asyncio.timeout(_NOTICED_S):
            while time.time() < began_s + 2.1:  # noqa: ASYNC110 - the clock tells nobody
                await asyncio.sleep(0.1)
            stream.transport.abort()
            while not server.metrics.requests["stream", 401]:  # noqa: ASYNC110 - a counter
                await asyncio.sleep(0.01)
            while not server.metrics.streams_open:  # noqa: ASYNC110 - a counter
                await asyncio.sleep(0.01)
        changed = {**SERVED, "text": {**SERVED["text"], "variants": {"a": "green"}}}
        await server.offer(changed, keys())
        await page.until(f"evaluate({json.dumps(asked(_TEXT))}).value === 'green'")


async def streams_open(admin: str, count: int) -> None:
    """Return once a sidecar says that it has so many event streams."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(_NOTICED_S):
        while True:
            async with session.get(f"{admin}/metrics") as response:
                if f"matrixflag_event_streams {count}.0" in (await response.text()).splitlines():
                    return
            await asyncio.sleep(0.05)


async def test_60_keys_decide_what_a_page_gets(page: Page, tmp_path: Path) -> None:
    """A client key gets the flags for clients; 401 and 403 end the provider, with its defaults."""
    cors = f"--cors-origins={page.origin}"
    with running_keyed(tmp_path, cors) as keyed:
        bearer = ("Authorization", f"Bearer {keyed.client_key}")
        for header in (bearer, ("X-API-Key", keyed.client_key)):
            assert await page.start(keyed.url, {}, headers=[header]) == "READY"
            assert (await page.ask(PUBLIC)).outcome == PUBLIC.expected
            assert (await page.ask(SECRET)).outcome.error == "FLAG_NOT_FOUND"
        for key, status in (("mf_client_wrong", 401), (keyed.sidecar_key, 403)):
            assert await page.start(keyed.url, {}, headers=[("X-API-Key", key)]) == "FATAL"
            assert [request["status"] for request in await page.fetched()] == [status]
            outcome, message = await page.ask(PUBLIC)
            assert outcome == Outcome(False, "ERROR", error="PROVIDER_FATAL")
            assert message
