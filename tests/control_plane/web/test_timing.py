"""Tests of the timing of requests."""

from control_plane.keys import METRICS
from tests.support.api import Api


def rendered(api: Api) -> str:
    """Return the metrics of a control plane."""
    return api.app[METRICS].render().decode()


async def test_routes_are_labels_and_keys_are_not(api: Api) -> None:
    """The number of series must not grow with what is asked for."""
    for n in range(3):
        await api.ask("GET", f"/api/v1/keys/none-{n}")
        await api.ask("GET", f"/none-such/{n}")
    text = rendered(api)
    assert 'route="/api/v1/keys/{id}",status="404"} 3.0' in text
    assert 'route="unmatched",status="404"} 3.0' in text
    assert "none-1" not in text


async def test_streams_are_not_timed(api: Api) -> None:
    """They last as long as the sidecar does."""
    key = (await api.make_key("sidecar"))["key"]
    headers = {"Authorization": f"Bearer {key}"}
    async with api.session.get(api.url + "/api/v1/sync/stream", headers=headers) as stream:
        assert stream.status == 200
    await api.ask("GET", "/livez")
    assert "sync/stream" not in rendered(api)
