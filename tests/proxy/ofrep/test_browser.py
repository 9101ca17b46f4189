"""Items 50 and 57 in a real browser: a page of another origin evaluates, polls, and listens."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from proxy.listen import bind, urls
from proxy.ofrep.streams import Pace
from tests.proxy.ofrep.server import (
    CLIENT_KEY,
    DEFINITIONS,
    FLAGS,
    SERVER_KEY,
    keys,
    running_server,
)
from tests.support.browser import running_browser
from tests.support.reference import DOCS
from tests.support.tools import require

PAGE = """<!doctype html><pre id="out">nothing ran</pre><script>
const found = [];
const ask = async (headers, context) => {
  const all = {"Content-Type": "application/json; charset=utf-8", "X-API-Key": KEY, ...headers};
  const body = JSON.stringify({context});
  try {
    const reply = await fetch(URL_, {method: "POST", headers: all, body});
    found.push([reply.status, reply.headers.get("ETag")]);
    return reply.headers.get("ETag");
  } catch (error) {
    found.push([String(error), null]);
  }
};
(async () => {
  const tag = await ask({}, {targetingKey: "u-1"});
  await ask({"If-None-Match": tag}, {targetingKey: "u-1"});
  await ask({"If-None-Match": tag, "Authorization": "Bearer " + KEY}, {plan: "pro"});
  await ask({"X-API-Key": "wrong"}, {});
  await ask({"X-Unknown": "1"}, {});
  document.getElementById("out").textContent = JSON.stringify(found);
})();
</script>"""


async def browse(url: str, profile: Path) -> list[Any]:
    """Return what the page found out, as a browser saw it."""
    process = await asyncio.create_subprocess_exec(
        require("chromium"),
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *(f"--user-data-dir={profile}", "--virtual-time-budget=10000", "--dump-dom", url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = re.search(r'<pre id="out">(.*?)</pre>', output.decode(), re.DOTALL)
    assert text is not None, output.decode()
    found: list[Any] = json.loads(unescape(text[1]))
    return found


@asynccontextmanager
async def serving_page(page: Callable[[], str], hosts: tuple[str, ...]) -> AsyncIterator[list[str]]:
    """Serve one page from some addresses, and yield their origins."""

    async def serve(_request: web.Request) -> web.Response:
        return web.Response(text=page(), content_type="text/html")

    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    sockets = bind(hosts, 0, "--")
    for each in sockets:
        await web.SockSite(runner, each).start()
    try:
        yield urls(sockets)
    finally:
        await runner.cleanup()


@pytest.mark.timeout(180)
async def test_57_a_page_of_an_allowed_origin_polls_and_any_other_cannot(tmp_path: Path) -> None:
    """ETag is readable, 304 and 401 arrive, what was not allowed is kept back by the browser."""
    page = ""
    hosts = ("127.0.0.1", "127.0.0.2")
    async with (
        serving_page(lambda: page, hosts) as (allowed, other),
        running_server(more=keys(), origins=(allowed,)) as server,
    ):
        page = PAGE.replace("URL_", json.dumps(server.url + FLAGS))
        page = page.replace("KEY", json.dumps(SERVER_KEY))
        first, second, third, denied, unknown = await browse(allowed, tmp_path / "a")
        assert first[0] == 200
        assert re.fullmatch('"[0-9a-f]{32}"', first[1])
        assert second == [304, first[1]]
        assert third[0] == 200
        assert third[1] != first[1]
        assert denied == [401, None]
        assert "Failed to fetch" in unknown[0]
        assert all(
            "Failed to fetch" in str(each[0]) for each in await browse(other, tmp_path / "b")
        )


TELLING = """<!doctype html><pre id="out">nothing ran</pre><script>
const userId = "user-1";
(async () => {
  const found = [];
  try {
    const reply = await FETCH
    found.push(reply.status, await reply.json());
  } catch (error) {
    found.push(String(error));
  }
  navigator.sendBeacon(URL_, JSON.stringify({events: [{name: "beacon", unit: userId}]}));
  document.getElementById("out").textContent = JSON.stringify(found);
})();
</script>"""


@pytest.mark.timeout(180)
async def test_a_page_tells_events_as_it_is_documented(tmp_path: Path) -> None:
    """The example itself, with a client key; not from other origins, nor as a beacon."""
    (example,) = re.findall("```js\n(.*?)```", (DOCS / "reporting.md").read_text(), re.DOTALL)
    page = ""
    hosts = ("127.0.0.1", "127.0.0.2")
    async with (
        serving_page(lambda: page, hosts) as (allowed, other),
        running_server(more=keys(), origins=(allowed,)) as server,
    ):
        url = server.url + "/v1/events"
        page = TELLING.replace("FETCH", example).replace("URL_", json.dumps(url))
        page = page.replace("https://flags.example.com/v1/events", url)
        page = page.replace("mf_client_...", CLIENT_KEY)
        status, answer = await browse(allowed, tmp_path / "a")
        assert (status, answer["accepted"]) == (202, 1)
        assert "Failed to fetch" in (await browse(other, tmp_path / "b"))[0]
        assert server.answering.events.buffer is not None
        events = [json.loads(bytes(raw)) for raw in server.answering.events.buffer.take()]
        assert [(event["name"], event["unit"], event["value"]) for event in events] == [
            ("purchase", "user-1", 49.9)
        ]


LISTENING = """<!doctype html><pre id="out">nothing ran</pre><script>
window.told = []; window.errors = [];
const body = JSON.stringify({context: {}});
const headers = {"Content-Type": "application/json", "X-API-Key": KEY};
fetch(URL_ + PATH, {method: "POST", headers, body}).then((reply) => reply.json()).then((bulk) => {
  const [stream] = bulk.eventStreams;
  window.uri = stream.endpoint.requestUri;
  window.source = new EventSource(new URL(window.uri, URL_));
  window.source.onmessage = ({data, lastEventId}) => told.push([JSON.parse(data), lastEventId]);
  window.source.onerror = () => errors.push(window.source.readyState);
}).catch((error) => errors.push(String(error)));
</script>"""


@pytest.mark.timeout(180)
async def test_50_a_page_of_another_origin_listens_with_the_browser_s_own_event_source(
    tmp_path: Path,
) -> None:
    """It is told of changes, comes back with its last event by itself, and ends with its key."""
    pace = Pace(heartbeat_s=0.1)
    origins = ("*",)
    async with running_server(DEFINITIONS, more=keys(), origins=origins, pace=pace) as server:
        page = LISTENING.replace("URL_", json.dumps(server.url)).replace("PATH", json.dumps(FLAGS))
        page = page.replace("KEY", json.dumps(SERVER_KEY))
        async with (
            serving_page(lambda: page, ("127.0.0.1",)) as (origin,),
            running_browser(tmp_path) as it,
        ):
            await it.open(origin)
            await it.until("told.length === 1")
            await server.offer({**DEFINITIONS, "more": DEFINITIONS["bool"]}, keys())
            await it.until("told.length === 2")
            data, name = await it.run("told[1]")
            assert data["type"] == "refetchEvaluation"
            assert data["etag"] == f'"{name}"'
            assert name.startswith(f"{server.revision}-")

            # the same flags under another name: nothing to tell, but to be known by
            (stream,) = server.answering.streams or ()
            await server.offer({**DEFINITIONS, "more": DEFINITIONS["bool"]}, keys())
            async with asyncio.timeout(10):
                while stream.told == name:  # noqa: ASYNC110 - seen in time
                    await asyncio.sleep(0)
            stream.transport.abort()
            await it.until("errors.length === 1 && source.readyState === EventSource.OPEN")
            assert await it.run("told.length") == 2  # as it came back with that name
            await server.offer(DEFINITIONS, keys())
            await it.until("told.length === 3")

            left = {name: entry for name, entry in keys().items() if entry["kind"] == "client"}
            await server.offer(DEFINITIONS, left)
            await it.until("source.readyState === EventSource.CLOSED")
            assert await it.run("told.length") == 3
