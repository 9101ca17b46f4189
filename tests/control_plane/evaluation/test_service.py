"""What happens to an answer while others write."""

from typing import Any

import pytest

from control_plane.evaluation import service
from control_plane.publishing.slices import run_in_slices
from proxy.contract.steps import Steps
from tests.support.api import Api

RULE = {"id": "r", "when": {"segment": "many"}, "serve": {"variant": "on"}}
FLAG = {
    "key": "f",
    "type": "boolean",
    "variants": {"on": True, "off": False},
    "environments": {
        "production": {"enabled": True, "fallthrough": {"variant": "off"}, "rules": [RULE]}
    },
}


async def write(api: Api, method: str, path: str, **body: Any) -> None:
    """Write something that is taken."""
    reply = await api.ask(method, f"/api/v1/{path}", **body)
    assert reply.status in (200, 201), reply.body


@pytest.mark.parametrize("steps_before", [0, 1, 2])
async def test_a_list_that_changes_meanwhile_is_the_one_of_when_it_was_asked(
    api: Api, monkeypatch: pytest.MonkeyPatch, steps_before: int
) -> None:
    """A segment's old blobs go with a write; the answer being worked out still has them."""
    units = [f"u-{number}" for number in range(3_000)]
    await write(api, "POST", "segments", json={"key": "many", "included": units})
    await write(api, "POST", "flags", json=FLAG)
    others = "".join(f'{{"include":"v-{number}"}}\n' for number in range(3_000))
    written: list[bool] = []

    async def interrupted(steps: Steps[Any]) -> Any:
        """Run work, and after some steps of the first one let somebody write."""
        if not written:
            for _ in range(steps_before):
                next(steps)
            written.append(True)
            headers = {"Content-Type": "application/x-ndjson"}
            await write(api, "PUT", "segments/many/units", data=others, headers=headers)
        return await run_in_slices(steps)

    monkeypatch.setattr(service, "run_in_slices", interrupted)
    asked = {"context": {"targetingKey": "u-1"}}
    reply = await api.ask("POST", "/api/v1/evaluate/f", json=asked)
    assert written
    assert reply.json["result"].get("value") is True, reply.body
    reply = await api.ask("POST", "/api/v1/evaluate/f", json=asked)
    assert reply.json["result"]["value"] is False
