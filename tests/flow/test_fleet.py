"""docs/fleet.md as it stands: its commands are run against a control plane and a sidecar."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.app import running
from proxy.settings import ProxySettings
from tests.support.api import ADMIN_TOKEN, Api, running_api, until
from tests.support.reference import DOCS

PAGE = (DOCS / "fleet.md").read_text()
SETTINGS = {"MATRIXFLAG_INSTANCE": "shop-7f9c", "MATRIXFLAG_LABELS": "region=eu"}


@pytest.fixture
async def api(redis_url: str) -> AsyncIterator[Api]:
    """A control plane, and a sidecar that has told what it serves."""
    async with running_api(redis_url) as api:
        key = await api.make_key("sidecar")
        environ = {"MATRIXFLAG_CONTROL_PLANE_URL": api.url, "MATRIXFLAG_KEY": key["key"]}
        ports = {"port": "0", "admin_port": "0"}
        async with running(ProxySettings.load(environ | SETTINGS, ports)):

            async def known() -> bool:
                return bool((await api.ask("GET", "/api/v1/fleet")).json["instances"])

            await until(known)
            yield api


async def paste(api: Api, script: str) -> str:
    """Run what a reader would paste; return what it printed. It succeeds."""
    bin_dir = str(Path(sys.executable).parent)
    environ = {
        "PATH": f"{bin_dir}:{os.environ['PATH']}",
        "MATRIXFLAG_URL": api.url,
        "MATRIXFLAG_TOKEN": ADMIN_TOKEN,
    }
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-e", "-c", script),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode == 0, (script, out, error)
    return out.decode()


def members(document: Any) -> Any:
    """Return the names of a document's members, all the way down."""
    if isinstance(document, dict):
        return {name: members(value) for name, value in document.items() if name != "labels"}
    if isinstance(document, list):
        return members(document[0]) if document else None
    return None


async def test_the_story_of_the_page_is_true(api: Api) -> None:
    """Each command succeeds, in order; answers have the members that are shown."""
    blocks = re.findall(r"^```(sh|json)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len([kind for kind, _ in blocks if kind == "sh"]) == 4
    printed = ""
    compared = 0
    for kind, text in blocks:
        if kind == "sh":
            printed = await paste(api, text)
        else:
            assert members(json.loads(text)) == members(json.loads(printed))
            compared += 1
    assert compared == 2
    (item,) = (await api.ask("GET", "/api/v1/fleet")).json["items"]
    assert (item["instance"], item["labels"], item["state"]) == (
        "shop-7f9c",
        {"region": "eu"},
        "current",
    )
    assert "1 current, 0 behind, 0 unconfirmed, 0 missing" in await paste(api, "matrixflag fleet")


async def test_who_stops_is_gone(api: Api, tmp_path: Path) -> None:
    """A sidecar that is ended in order says so as the last thing it does."""
    key = await api.make_key("sidecar")
    environ = {"MATRIXFLAG_CONTROL_PLANE_URL": api.url, "MATRIXFLAG_KEY": key["key"]}

    async def count(expected: int) -> bool:
        return bool((await api.ask("GET", "/api/v1/fleet")).json["instances"] == expected)

    async with running(ProxySettings.load(environ, {"port": "0", "admin_port": "0"})):
        await until(lambda: count(2))
    assert await count(1)
