"""A bare aiohttp handler: the least an aiohttp application does to answer a POST.

    python -m tests.bench.bare FILE

It listens on a free port of loopback, writes its address to FILE as JSON, and answers every POST to
one route with one constant body of an evaluation's size, after reading the request's.
"""

import asyncio
import json
import signal
import sys
from pathlib import Path

import uvloop
from aiohttp import web

_BODY = (
    b'{"key":"bench-flag","value":"first","variant":"a","reason":"SPLIT",'
    b'"metadata":{"ruleId":"some"}}'
)


async def _answer(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=_BODY, content_type="application/json")


async def _serve(ready: Path) -> None:
    app = web.Application()
    app.router.add_post("/ofrep/v1/evaluate/flags/{key}", _answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    address = json.dumps({"url": f"http://{host}:{port}"})
    ready.write_text(address)  # noqa: ASYNC240 - nobody is being served yet
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1])))
