"""What a fresh installation gets, through the API as the user of this machine: keys, a flag."""

from collections.abc import Callable
from typing import Any

import aiohttp
from yarl import URL

from control_plane.dev.data_dir import DevState
from control_plane.dev.errors import DevError
from proxy.contract.sync import SNAPSHOT_PATH

__all__ = ["SAMPLE", "SAMPLE_KEY", "prepare"]

SAMPLE_KEY = "hello-matrix"
SAMPLE: dict[str, Any] = {
    "key": SAMPLE_KEY,
    "name": "Hello, Matrix",
    "description": "A sample, made by `matrixflag dev`. Change it, delete it.",
    "type": "string",
    "value": "Hello!",
    "enabled": True,
    "track": True,
}

_PROJECTS_PATH = "/api/v1/projects"  # any service key reads it, whatever networks a project has
_TIMEOUT = aiohttp.ClientTimeout(total=30)


async def prepare(base_url: str, state: DevState, remember: Callable[[DevState], None]) -> None:
    """Complete the state with keys that work; make the sample flag if there is no flag.

    `remember` is called after each step, so that a failure of the next does not repeat this one.

    Raises:
        DevError: when the API answers something else than it should, with the answer.
    """
    async with aiohttp.ClientSession(base_url, timeout=_TIMEOUT) as api:
        remember(state)
        if not await _key_works(base_url, SNAPSHOT_PATH, state.sidecar_key):
            wanted = {"kind": "sidecar", "environment": "production", "name": "matrixflag dev"}
            state.sidecar_key = (await _call(api, "POST", "/api/v1/keys", wanted, 201))["key"]
            remember(state)
        if not await _key_works(base_url, _PROJECTS_PATH, state.service_key):
            wanted = {"kind": "service", "role": "admin", "name": "matrixflag dev"}
            state.service_key = (await _call(api, "POST", "/api/v1/keys", wanted, 201))["key"]
            remember(state)
        if not state.sampled:
            if not (await _call(api, "GET", "/api/v1/flags?limit=1", None, 200))["items"]:
                await _call(api, "POST", "/api/v1/flags", SAMPLE, 201)
            state.sampled = True
            remember(state)


async def _key_works(base_url: str, path: str, key: str) -> bool:
    """Return whether the key of an earlier run still reads what it is for, in this Redis too."""
    if not key:
        return False
    # `*` matches whatever is current, so that the answer has no body.
    headers = {"Authorization": f"Bearer {key}", "If-None-Match": "*"}
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT, headers=headers) as api,
            api.get(URL(base_url) / path[1:]) as answer,
        ):
            return answer.status in (200, 304)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _failed("GET", path, error) from error


async def _call(
    api: aiohttp.ClientSession, method: str, path: str, body: object, expected: int
) -> Any:
    try:
        async with api.request(method, path, json=body) as answer:
            if answer.status != expected:
                raise DevError(f"{method} {path} answered {answer.status}: {await answer.text()}")
            return await answer.json()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _failed(method, path, error) from error


def _failed(method: str, path: str, error: Exception) -> DevError:
    return DevError(f"{method} {path} failed: {error or type(error).__name__}")
